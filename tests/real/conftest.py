"""Fixtures of the tests on real servers."""

from collections.abc import Iterator

import pytest
from real.controlplane import Cluster, with_chart

from realparts.stack import Stack


@pytest.fixture(scope="module")
def cluster(stack: Stack) -> Iterator[Cluster]:
    """A control plane with the chart's policies and RBAC at their default values."""
    with with_chart(stack) as cluster:
        yield cluster
