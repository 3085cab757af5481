"""Tests of admission; a package, so that the control plane with the chart is put back when they are done."""
