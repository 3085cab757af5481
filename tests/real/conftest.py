"""Fixtures of the tests on real servers."""

import tempfile
from collections.abc import Iterator

import pytest
from real.controlplane import Cluster, with_chart

from realparts.stack import Stack


@pytest.fixture(scope="module")
def cluster(stack: Stack) -> Iterator[Cluster]:
    """A control plane with the chart's policies and RBAC at their default values."""
    with with_chart(stack) as cluster:
        yield cluster


@pytest.fixture
def short_path() -> Iterator[str]:
    """A folder whose path has fewer than 50 characters, because podman refuses a longer one."""
    with tempfile.TemporaryDirectory(prefix="podman-", dir="/tmp") as folder:
        yield folder
