"""Fixtures of the tests on real servers."""

from collections.abc import Iterator

import pytest
from real.controlplane import Cluster

from realparts.stack import Stack


@pytest.fixture(scope="module")
def cluster(stack: Stack) -> Iterator[Cluster]:
    """A control plane with the chart's policies and RBAC at their default values."""
    stack.up(["kubernetes"])
    cluster = Cluster(stack.kubernetes)
    if not stack.kubernetes.get("/api/v1/namespaces/regcred-system").ok:
        cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "regcred-system"}})
    installed = cluster.install()
    yield cluster
    cluster.remove(installed)
    cluster.clean()
