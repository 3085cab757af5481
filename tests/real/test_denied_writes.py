"""Sync and a real API server that denies its writes: by a quota, a policy or an immutable Secret."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.sync_world import deployment
from real.controlplane import Cluster
from real.syncing import ADMISSION, CLUSTER, World, policy, quota, world_of

from realparts.stack import Stack
from realparts.waiting import eventually
from regcred.registry_reference import Reference
from regcred.vault.records.index import State

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]


@pytest.fixture
def world(kubernetes_stack: Stack, cluster: Cluster, tmp_path: Path) -> Iterator[World]:
    with world_of(kubernetes_stack, cluster, tmp_path) as world:
        yield world


def reasons(world: World, space: str) -> list[str]:
    return [reason for reason, _ in world.events(space)]


def test_a_quota_is_one_event_and_the_secret_comes_soon_after_it_is_removed(world: World) -> None:
    space = world.namespace(workload_too=False)
    quota(world, space, 0)
    sync = world.running()
    world.annotate(space)
    [(_, note)] = eventually(lambda: [e for e in world.events(space) if e[0] == "NotWritten"])
    assert "exceeded quota" in note
    time.sleep(6)
    assert reasons(world, space) == ["NotWritten"], "one Event"
    eventually(lambda: world.mount.refused(world.ref) == {space: "not-written"})
    status = world.mount.store.status(CLUSTER, world.project)
    assert status
    assert "exceeded quota" in status.value.registries["main"].details[space]
    assert "exceeded quota" in sync.log.read_text()
    world.stack.kubernetes.request("DELETE", f"/api/v1/namespaces/{space}/resourcequotas/few")
    eventually(lambda: world.password(space), seconds=45)
    eventually(lambda: world.mount.refused(world.ref) == {})


def test_no_create_is_lost_while_a_quota_counts(world: World) -> None:
    """The API server counts by compare-and-swap, so concurrent creates can get a 409 Conflict."""
    space = world.namespace(workload_too=False)
    quota(world, space, 1000)
    references = [f"{world.project}/r{n}" for n in range(120)]
    for reference in references:
        world.mount.mint(reference, world.stack.remember_secret("s3cret-many"))
    world.running()
    for half in (0, 1):  # of one object, 64 references count
        world.cluster.create(deployment(space, f"many-{half}", *references[60 * half : 60 * (half + 1)]))
    path = f"/api/v1/namespaces/{space}/secrets"
    eventually(lambda: len(world.stack.kubernetes.request("GET", path)["items"]) == 120, seconds=90)
    eventually(lambda: all(set(world.mount.placed(ref)) == {1} for ref in references), seconds=20)


@pytest.mark.parametrize("reason", [{}, {"reason": "Forbidden"}, {"reason": "RequestEntityTooLarge"}])
def test_the_denial_by_a_policy_is_an_event_with_its_message(world: World, reason: dict[str, str]) -> None:
    space = world.namespace(workload_too=False)
    objects = policy(
        world,
        f"team-{space}",
        space,
        "has(object.metadata.labels) && 'team' in object.metadata.labels",
        **reason,
    )
    try:
        world.running()
        world.annotate(space)
        [(_, note)] = eventually(lambda: [e for e in world.events(space) if e[0] == "NotWritten"])
        assert "every Secret needs the label team" in note
        assert reasons(world, space) == ["NotWritten"], "sync does not take it for a foreign Secret"
    finally:
        for item in reversed(objects):
            kind = item["kind"].lower()
            plural = kind.removesuffix("y") + "ies" if kind.endswith("policy") else f"{kind}s"
            path = f"/apis/{ADMISSION}/{plural}"
            world.stack.kubernetes.request("DELETE", f"{path}/{item['metadata']['name']}")
    eventually(lambda: world.password(space), seconds=45)


def test_a_policy_that_denies_a_renewal_keeps_the_old_credential_and_gives_an_event(world: World) -> None:
    space = world.namespace()
    world.running()
    eventually(lambda: world.password(space) == "s3cret-one")
    objects = policy(
        world, f"team-{space}", space, "has(object.metadata.labels) && 'team' in object.metadata.labels"
    )
    try:
        world.mint("s3cret-two")
        [(_, note)] = eventually(lambda: [e for e in world.events(space) if e[0] == "NotWritten"])
        assert "every Secret needs the label team" in note
        assert world.password(space) == "s3cret-one"
        assert world.placed() == {1: {space}}
        world.mount.index(world.ref, state=State.REVOKED, version=2)
        eventually(lambda: world.password(space) is None, seconds=45)
    finally:
        for plural, item in (
            ("validatingadmissionpolicybindings", objects[1]),
            ("validatingadmissionpolicies", objects[0]),
        ):
            world.stack.kubernetes.request("DELETE", f"/apis/{ADMISSION}/{plural}/{item['metadata']['name']}")


def test_a_secret_that_somebody_made_immutable_is_renewed_and_removed(world: World) -> None:
    space = world.namespace()
    sync = world.running()
    eventually(lambda: world.password(space) == "s3cret-one")
    world.cluster.patch("Secret", space, world.name, {"immutable": True})
    world.mint("s3cret-two")
    eventually(lambda: world.password(space) == "s3cret-two", seconds=45)
    world.cluster.patch("Secret", space, world.name, {"immutable": True})
    world.mount.index(world.ref, state=State.REVOKED, version=2)
    eventually(lambda: world.password(space) is None, seconds=45)
    assert "SecretNameTaken" not in reasons(world, space)
    assert "s3cret" not in sync.log.read_text()


def test_a_foreign_immutable_secret_is_not_changed(world: World) -> None:
    space = world.namespace(workload_too=False)
    world.create_foreign_secret(space)
    world.cluster.patch("Secret", space, world.name, {"immutable": True})
    world.running()
    world.annotate(space)
    eventually(lambda: {"SecretNameTaken", "NotWritten"} & set(reasons(world, space)))
    assert world.password(space) == "theirs"
    ours = Reference.parse(world.ref).secret_name
    world.cluster.kubernetes.kubectl("-n", space, "delete", "secret", ours)
    eventually(lambda: world.password(space) == "s3cret-one")
