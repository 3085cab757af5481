"""The clusters that the contract runs on: a fake and a real API server."""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator

import pytest
from fakes.cluster import FakeCluster
from fakes.real_cluster import RealCluster, open_session
from fakes.sync_world import namespace

_COUNT = itertools.count(1)


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.real)])
async def cluster(request: pytest.FixtureRequest) -> AsyncIterator[FakeCluster | RealCluster]:
    """A cluster. All tests share the real one, so each test uses its own namespace."""
    if request.param == "fake":
        yield FakeCluster()
        return
    stack = request.getfixturevalue("kubernetes_stack")
    session = await open_session(stack.kubernetes.kubeconfig)
    yield RealCluster(session, session, silence=5, forget=stack.kubernetes.restart_apiserver)
    await session.close()


@pytest.fixture
async def space(cluster: FakeCluster | RealCluster) -> AsyncIterator[str]:
    """A namespace that no other test uses. A real one is removed in the background, which takes seconds."""
    name = f"contract-{time.time_ns() // 1000}-{next(_COUNT)}"
    await cluster.create(namespace(name))
    yield name
    if isinstance(cluster, RealCluster):
        await cluster.start_removing_namespace(name)
