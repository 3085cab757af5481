"""Tests that need a kubelet."""

from __future__ import annotations

import os

import pytest

from realparts.stack import Stack


def need_node(stack: Stack) -> None:
    """Skip the test if no kubelet can run (no root, no cgroups). Under CI=true, fail instead."""
    if reason := stack.node.impossible():
        if os.environ.get("CI") == "true":
            pytest.fail(f"no node can run here: {reason}")
        pytest.skip(f"no node can run here: {reason}")
