from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.vendors.aws import Aws
from fakes.vendors.described import describe
from fakes.vendors.network import Network


@pytest.fixture(scope="session")
def _network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    network = Network(tmp_path_factory.mktemp("network"))
    yield network
    network.close()


@pytest.fixture
def network(_network: Network, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Network]:
    """An empty network that receives every HTTPS call of this process.

    Where a vendor publishes a description, requests and responses must match it.
    """
    _network.reset()
    describe(_network)
    for name, value in _network.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    yield _network
    assert _network.problems == []


@pytest.fixture
def aws(network: Network) -> Aws:
    return Aws(network.clock)
