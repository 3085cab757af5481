"""Grants of project admins count only within the bounds that a platform admin has set."""

from __future__ import annotations

import json

import pytest
from fakes.cluster import FakeCluster
from fakes.key_value import FakeKeyValue
from fakes.sync_world import Clock, Mount, deployment, namespace, options, password_in

from regcred.cli.app import run
from regcred.cli.session import CliSession
from regcred.errors import RefusedError, TransientError
from regcred.sync import run_once
from regcred.vault.records.declared import DelegatedGrants
from regcred.vault.store import Store

NAME = "regcred.shop.main"


class World:
    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self.capture = capture
        self.clock = Clock()
        self.kv = FakeKeyValue()
        self.mount = Mount(self.kv, self.clock)
        self.store = Store(self.kv)
        self.cluster = FakeCluster()
        self.out = self.err = ""

    def regcred(self, line: str, code: int = 0) -> str:
        found = run(line.split(), CliSession(open_store=lambda: self.store, now=self.clock))
        shown = self.capture.readouterr()
        self.out, self.err = shown.out, shown.err
        assert found == code, shown.err
        return shown.out

    async def sync(self) -> list[str]:
        """Run sync once, and return the namespaces that have the Secret."""
        await run_once(self.cluster, self.store, options(), clock=self.clock)
        spaces = ("shop-a", "shop-b", "other")
        return [space for space in spaces if password_in(await self.cluster.secret(space, NAME))]


@pytest.fixture
async def world(capsys: pytest.CaptureFixture[str]) -> World:
    """Three namespaces whose workloads request the project's registry."""
    world = World(capsys)
    for space in ("shop-a", "shop-b", "other"):
        await world.cluster.create(namespace(space))
        await world.cluster.create(deployment(space, "web", "shop/main"))
    world.mount.mint("shop/main")
    world.mount.grant({"search": ["elsewhere"]})
    return world


async def test_project_admins_can_grant_namespaces_within_their_bounds_only(world: World) -> None:
    world.regcred("grant own --cluster c1 shop shop-a other")
    assert "note: outside the bounds of the cluster (none), so without access: other, shop-a;" in world.err
    assert await world.sync() == []  # nobody has set bounds
    world.regcred("grant delegate --cluster c1 shop shop-*")
    assert await world.sync() == ["shop-a"]
    world.regcred("grant own --cluster c1 shop")
    assert "note: outside the bounds of the cluster (shop-*), so without access: other;" in world.err
    world.regcred("grant own --cluster c1 shop shop-b")
    assert await world.sync() == ["shop-a", "shop-b"]
    world.regcred("grant own --cluster c1 shop --remove shop-a")
    assert await world.sync() == ["shop-b"]
    assert world.regcred("grant own --cluster c1 shop").split() == ["other", "shop-b"]
    shown = json.loads(world.regcred("grant own --cluster c1 shop -o json"))
    assert shown == {"cluster": "c1", "project": "shop", "namespaces": ["other", "shop-b"]}


async def test_narrower_bounds_remove_the_secrets_outside_of_them(world: World) -> None:
    world.regcred("grant delegate --cluster c1 shop shop-*")
    world.regcred("grant own --cluster c1 shop shop-a shop-b")
    await world.sync()
    world.regcred("grant delegate --cluster c1 shop shop-b")
    assert await world.sync() == ["shop-b"]
    world.regcred("grant delegate --cluster c1 shop --none")
    assert await world.sync() == []


async def test_grants_of_platform_admins_stay_in_force(world: World) -> None:
    world.regcred("grant delegate --cluster c1 shop shop-*")
    world.regcred("grant add --cluster c1 shop other")
    world.regcred("grant own --cluster c1 shop shop-a")
    assert await world.sync() == ["shop-a", "other"]
    world.regcred("grant remove --cluster c1 shop other --yes")
    assert await world.sync() == ["shop-a"]


@pytest.mark.parametrize("error", [TransientError("gone"), RefusedError("permission denied")])
async def test_while_delegated_grants_cannot_be_read_nothing_is_removed(
    world: World, error: Exception
) -> None:
    world.regcred("grant delegate --cluster c1 shop shop-*")
    world.regcred("grant own --cluster c1 shop shop-a")
    await world.sync()
    for operation in ("read", "version"):
        world.kv.faults[operation, "delegated/"] = error
    assert await world.sync() == ["shop-a"]


async def test_a_malformed_document_affects_no_other_project(world: World) -> None:
    world.regcred("grant delegate --cluster c1 shop shop-*")
    world.regcred("grant delegate --cluster c1 search shop-*")
    world.kv.put("delegated/c1/search", {"document": "{"})
    world.regcred("grant own --cluster c1 shop shop-a")
    assert await world.sync() == ["shop-a"]


@pytest.mark.parametrize("name", ["shop-*", "Shop", ""])
def test_project_admins_can_grant_exact_names_only(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    world = World(capsys)
    assert (
        run(["grant", "own", "--cluster", "c1", "shop", name], CliSession(open_store=lambda: world.store))
        != 0
    )
    assert world.store.delegated("c1", "shop") is None
    with pytest.raises(ValueError, match="namespaces"):
        DelegatedGrants.model_validate({"namespaces": [name]})


def test_delegate_needs_either_names_or_none(capsys: pytest.CaptureFixture[str]) -> None:
    world = World(capsys)
    world.regcred("grant delegate --cluster c1 shop", code=2)
    world.regcred("grant delegate --cluster c1 shop a --none", code=2)
