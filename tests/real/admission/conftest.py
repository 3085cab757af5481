"""The control plane that all tests of admission share."""

from collections.abc import Iterator

import pytest
from real.controlplane import Cluster, with_chart

from realparts.stack import Stack


@pytest.fixture(scope="package")
def cluster(stack: Stack) -> Iterator[Cluster]:
    """A control plane with the chart's policies and RBAC at their default values."""
    with with_chart(stack) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def namespace(cluster: Cluster) -> str:
    """A namespace that the tests of a file share."""
    return cluster.namespace()


@pytest.fixture
def fresh(cluster: Cluster) -> str:
    """A namespace that no other test uses."""
    return cluster.namespace()
