"""Tests of admission. They are a package, so that the chart is removed after the last of them."""
