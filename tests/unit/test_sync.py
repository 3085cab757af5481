"""Single runs of sync, over a cluster and a Vault in memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from datetime import timedelta

import pytest
from fakes.cluster import KINDS, FakeCluster
from fakes.key_value import FakeKeyValue
from fakes.sync_world import (
    CLUSTER,
    NOW,
    Clock,
    Mount,
    deployment,
    namespace,
    options,
    password_in,
    pod,
    until,
)

from regcred import __version__
from regcred.cluster.interface import DeniedError
from regcred.cluster.model import WORKLOADS, Mode, custom_kind
from regcred.errors import MalformedError, MissingError, RefusedError, RegcredError, TransientError
from regcred.sync import Engine, Options, Report, credential_cache, ledger_documents, run_once
from regcred.vault.records.index import State
from regcred.vault.records.status import Placement, Status

REF = "payments/ecr-prod"
NAME = "regcred.payments.ecr-prod"


class World:
    def __init__(self) -> None:
        self.clock = Clock()
        self.cluster = FakeCluster()
        self.kv = FakeKeyValue()
        self.mount = Mount(self.kv, self.clock)
        self.options: Options = options()

    async def sync(self, **how: object) -> Report:
        use = how.pop("options", self.options)
        self.cluster.calls.clear()
        self.kv.calls.clear()
        _, report = await run_once(self.cluster, self.mount.store, use, clock=self.clock, **how)
        return report

    async def plan(self) -> list[str]:
        plan, _ = await run_once(self.cluster, self.mount.store, self.options, clock=self.clock, dry_run=True)
        return plan.lines()

    async def password(self, space: str, name: str = NAME) -> str | None:
        return password_in(await self.cluster.secret(space, name))


@pytest.fixture
async def world() -> World:
    """A namespace ``shop`` with a Deployment that requests ``payments/ecr-prod``, with a grant and a
    credential."""
    world = World()
    await world.cluster.create(namespace("shop"))
    await world.cluster.create(deployment("shop", "web", REF))
    world.mount.grant({"payments": ["shop"]})
    world.mount.mint(REF)
    return world


async def test_a_granted_annotated_workload_gets_its_secret(world: World) -> None:
    report = await world.sync()
    assert str(report) == "1 created"
    secret = await world.cluster.secret("shop", NAME)
    assert secret["type"] == "kubernetes.io/dockerconfigjson"
    assert secret["annotations"]["regcred.dev/version"] == "1"
    assert secret["annotations"]["argocd.argoproj.io/sync-options"] == "Prune=false"
    assert password_in(secret) == "s3cret-one"
    assert world.mount.placed(REF) == {1: {"shop"}}


async def test_the_status_contains_the_version_and_mode_of_sync(world: World) -> None:
    await world.sync()
    status = world.mount.store.status(world.mount.cluster, "payments")
    assert status
    assert (status.value.sync_version, status.value.mode) == (__version__, "none")


async def test_a_missing_vault_token_does_not_count_as_a_missing_namespace(world: World) -> None:
    await world.sync()
    world.mount.mint(REF, "s3cret-two")
    world.kv.faults["read", "credentials/payments/ecr-prod"] = MissingError("the token file can't be read")
    report = await world.sync()
    assert any("the token file can't be read" in line for line in report.failures)
    assert world.mount.placed(REF) == {1: {"shop"}}


async def test_a_second_run_writes_nothing(world: World) -> None:
    await world.sync()
    report = await world.sync()
    assert str(report) == "nothing to do"
    assert world.cluster.writes() == []
    assert not [call for call in world.kv.calls if call[0] == "write"]
    assert not [call for call in world.kv.calls if call == ("read", "credentials/payments/ecr-prod")]


async def test_a_rotation_needs_one_read_and_one_write_per_namespace(world: World) -> None:
    names = [f"team-{n}" for n in range(30)]
    for name in names:
        await world.cluster.create(namespace(name))
        await world.cluster.create(deployment(name, "web", REF))
    world.mount.grant({"payments": ["shop", *names]})
    await world.sync()
    uid = (await world.cluster.secret("team-7", NAME))["uid"]
    world.mount.mint(REF, "s3cret-two")
    report = await world.sync()
    assert str(report) == "31 updated"
    assert len(world.cluster.writes()) == 31
    assert world.kv.calls.count(("read", "credentials/payments/ecr-prod")) == 1
    assert {await world.password(name) for name in ["shop", *names]} == {"s3cret-two"}
    assert (await world.cluster.secret("team-7", NAME))["uid"] == uid  # updated in place, never recreated
    assert world.mount.placed(REF) == {2: {"shop", *names}}


async def test_annotations_of_a_template_and_of_a_namespace_count_too(world: World) -> None:
    await world.cluster.create(namespace("by-template"))
    await world.cluster.create(deployment("by-template", "helm", template={"registry.regcred.dev/main": REF}))
    await world.cluster.create(namespace("by-namespace", annotations={"registry.regcred.dev/x": REF}))
    world.mount.grant({"payments": ["shop", "by-template", "by-namespace"]})
    await world.sync()
    assert await world.password("by-template")
    assert await world.password("by-namespace")


async def test_without_a_grant_there_is_an_event_and_no_secret(world: World) -> None:
    await world.cluster.create(namespace("other"))
    await world.cluster.create(deployment("other", "web", REF))
    await world.sync()
    assert await world.password("other") is None
    [(reason, about, note)] = await world.cluster.events("other")
    assert (reason, about) == ("NotGranted", "Deployment other/web")
    assert "regcred grant add --cluster c1 payments other" in note
    assert world.mount.refused(REF) == {}, "a namespace without a grant leaves nothing in Vault"


async def test_a_refusal_is_not_repeated_after_a_restart(world: World) -> None:
    world.mount.mint("payments/other")
    await world.cluster.create(deployment("shop", "more", "payments/unknown"))
    await world.sync()
    await world.sync()
    assert world.cluster.writes() == []


async def test_an_event_about_a_missing_grant_is_not_repeated_after_a_restart(world: World) -> None:
    await world.cluster.create(namespace("other"))
    await world.cluster.create(deployment("other", "web", REF))
    await world.sync()
    await world.sync()
    assert len(await world.cluster.events("other")) == 1


async def test_after_a_grant_during_a_restart_the_next_process_sends_an_event(world: World) -> None:
    world.mount.grant({})
    await world.sync()
    world.mount.grant({"payments": ["shop"]})
    await world.sync()
    assert [reason for reason, _, _ in await world.cluster.events("shop")] == [
        "NotGranted",
        "CredentialPlaced",
    ]
    assert world.cluster.calls.count(("events", "NotGranted")) == 1


@pytest.mark.parametrize("restarts", [False, True])
async def test_the_newest_event_is_correct_after_repeated_grants_and_withdrawals(
    world: World, *, restarts: bool
) -> None:
    async def change(engine: Engine, *names: str) -> None:
        world.mount.grant({"payments": list(names)})
        await engine.sources.look_at_grants()
        for _ in range(2):
            await engine.reconcile()
            await engine.drain()

    world.mount.grant({"payments": []})
    await world.sync()
    async with Engine(world.cluster, world.mount.store, world.options, clock=world.clock) as engine:
        await engine.load()
        for kind in engine.kinds():
            await engine.list_kind(kind)
        for names in (["shop"], [], ["shop"], []):
            if restarts:
                world.mount.grant({"payments": names})
                await world.sync()
            else:
                await change(engine, *names)
    reasons = [reason for reason, _, _ in await world.cluster.events("shop")]
    assert reasons == ["NotGranted", *["CredentialPlaced", "NotGranted"] * 2]


async def test_a_denial_that_returns_gets_another_event(world: World) -> None:
    for _ in range(2):
        world.cluster.faults[("apply",)] = DENIED
        for _ in range(2):
            await world.sync()
        world.cluster.faults.clear()
        await world.sync()
        world.mount.mint(REF, "s3cret-two")
    reasons = [reason for reason, _, _ in await world.cluster.events("shop")]
    assert reasons == ["NotWritten", "CredentialPlaced"] * 2


async def test_a_run_counts_only_the_events_that_it_wrote(world: World) -> None:
    world.mount.grant({"payments": []})
    assert str(await world.sync()) == "1 Events"
    assert str(await world.sync()) == "nothing to do"


async def test_a_placed_credential_gets_an_event_only_if_an_event_had_reported_it_missing(
    world: World,
) -> None:
    await world.cluster.create(namespace("other"))
    await world.cluster.create(deployment("other", "web", REF))
    await world.sync()
    assert await world.cluster.events("shop") == []
    await world.cluster.create(deployment("other", "late", "payments/late"))
    world.mount.mint("payments/late")
    world.mount.grant({"payments": ["shop", "other"]})
    await world.sync()
    placed = {
        (about, note)
        for reason, about, note in await world.cluster.events("other")
        if reason == "CredentialPlaced"
    }
    assert placed == {
        (
            "Deployment other/web",
            f"The pull credential of {REF} is in place in namespace other now: Secret {NAME}.",
        )
    }


@pytest.mark.parametrize("error", [RefusedError("no right to list Events"), TransientError("etcd is slow")])
async def test_a_credential_is_placed_even_if_earlier_events_cannot_be_listed(
    world: World, error: RegcredError
) -> None:
    world.mount.grant({})
    await world.sync()
    world.mount.grant({"payments": ["shop"]})
    world.cluster.faults["events", "NotGranted"] = error
    report = await world.sync()
    assert await world.password("shop")
    assert report.failures == []


async def test_a_project_without_grants_causes_no_calls_to_vault(world: World) -> None:
    await world.cluster.create(deployment("shop", "web", "made-up/name"))
    for _ in range(2):
        await world.sync()
        assert not [call for call in world.kv.calls if "made-up" in call[1]]
    assert [reason for reason, _, _ in await world.cluster.events("shop")] == ["NotGranted"]


async def test_another_workload_with_the_same_refusal_gets_an_event_too(world: World) -> None:
    await world.cluster.create(namespace("other"))
    await world.cluster.create(deployment("other", "web", REF))
    await world.sync()
    late = deployment("other", "late", REF)
    late["metadata"]["creationTimestamp"] = "2026-11-24T13:00:00Z"
    await world.cluster.create(late)
    await world.sync()
    assert [about for _, about, _ in await world.cluster.events("other")] == [
        "Deployment other/web",
        "Deployment other/late",
    ]


async def test_a_secret_is_placed_after_a_later_grant(world: World) -> None:
    world.mount.grant({})
    await world.sync()
    world.mount.grant({"payments": ["shop"]})
    await world.sync()
    assert await world.password("shop") == "s3cret-one"
    assert world.mount.refused(REF) == {}


async def test_an_unknown_registry_gets_an_event(world: World) -> None:
    await world.cluster.create(deployment("shop", "typo", "payments/ecr-prd"))
    await world.sync()
    assert ("NoSuchRegistry", "Deployment shop/typo") in [
        event[:2] for event in await world.cluster.events("shop")
    ]


@pytest.mark.parametrize("value", ["a/b/c", "Payments/ecr", "payments", "", "payments/ecr prod"])
async def test_the_event_about_a_malformed_reference_names_key_and_form(world: World, value: str) -> None:
    await world.cluster.create(deployment("shop", "bad", value))
    await world.sync()
    [note] = [
        note for reason, about, note in await world.cluster.events("shop") if reason == "MalformedReference"
    ]
    assert "registry.regcred.dev/r0" in note
    assert "payments/ecr-prod" in note


async def test_the_event_about_a_missing_credential_names_the_reason(world: World) -> None:
    world.mount.index("payments/new", state=State.FAILING, error="the role may not be assumed")
    await world.cluster.create(deployment("shop", "new", "payments/new"))
    await world.sync()
    [note] = [note for reason, _, note in await world.cluster.events("shop") if reason == "NotReady"]
    assert "the role may not be assumed" in note


async def test_a_public_registry_gets_a_normal_event(world: World) -> None:
    world.mount.index("payments/public", state=State.OK)
    await world.cluster.create(deployment("shop", "open", "payments/public"))
    await world.sync()
    [message] = [message for message in world.cluster.messages if message.reason == "NotNeeded"]
    assert not message.warning
    assert "is public" in message.note


async def test_a_failing_registry_keeps_its_last_good_credential(world: World) -> None:
    await world.sync()
    world.mount.index(REF, state=State.FAILING, version=1, error="throttled")
    assert str(await world.sync()) == "nothing to do"
    assert await world.password("shop") == "s3cret-one"


async def test_one_event_warns_before_a_credential_expires(world: World) -> None:
    await world.sync()
    world.clock.move(hours=10)
    await world.sync()
    [note] = [
        note for reason, _, note in await world.cluster.events("shop") if reason == "CredentialExpiring"
    ]
    assert "expires in 2 h" in note or "119 min" in note
    assert await world.password("shop") == "s3cret-one"


async def test_a_dry_run_lists_its_actions_and_writes_nothing(world: World) -> None:
    assert await world.plan() == ["create  shop/regcred.payments.ecr-prod (version 1)"]
    assert world.cluster.writes() == []
    assert not [call for call in world.kv.calls if call[0] == "write" and call[1].startswith("status")]


# Removal only on positive proof


async def test_a_secret_is_removed_after_its_last_workload_and_the_grace(world: World) -> None:
    world.options = options(grace=timedelta(minutes=10))
    await world.sync()
    await world.cluster.remove("Deployment", "shop", "web")
    await world.sync()
    assert await world.password("shop")
    world.clock.move(minutes=9)
    await world.sync()
    assert await world.password("shop")
    world.clock.move(minutes=2)
    assert str(await world.sync()) == "1 removed"
    assert await world.password("shop") is None
    assert world.mount.placed(REF) == {}


async def test_a_workload_that_returns_within_the_grace_restarts_it(world: World) -> None:
    world.options = options(grace=timedelta(minutes=10))
    await world.sync()
    await world.cluster.remove("Deployment", "shop", "web")
    await world.sync()
    await world.cluster.create(deployment("shop", "web", REF))
    await world.sync()
    world.clock.move(minutes=11)
    await world.cluster.remove("Deployment", "shop", "web")
    await world.sync()
    assert await world.password("shop")


async def test_a_live_pod_with_the_secret_delays_its_removal(world: World) -> None:
    await world.sync()
    await world.cluster.create(pod("shop", "old", pull_secrets=(NAME,)))
    await world.cluster.remove("Deployment", "shop", "web")
    assert str(await world.sync()) == "1 put off for live Pods"
    assert await world.password("shop")
    world.clock.move(minutes=1)
    finished = pod("shop", "old", pull_secrets=(NAME,)) | {"status": {"phase": "Succeeded"}}
    await world.cluster.create(finished)
    await world.sync()
    assert await world.password("shop") is None


async def test_the_secret_of_a_removed_registry_is_removed(world: World) -> None:
    await world.sync()
    world.mount.index(REF, state=State.REMOVED, version=1)
    await world.sync()
    assert await world.password("shop") is None
    assert "NoSuchRegistry" in [reason for reason, _, _ in await world.cluster.events("shop")]


async def test_a_revoked_credential_is_removed_at_once_even_if_pods_use_it(world: World) -> None:
    world.options = options(grace=timedelta(hours=1))
    await world.sync()
    await world.cluster.create(pod("shop", "old", pull_secrets=(NAME,)))
    world.mount.index(REF, state=State.REVOKED, version=1)
    await world.sync()
    assert await world.password("shop") is None
    assert "CredentialRevoked" in [reason for reason, _, _ in await world.cluster.events("shop")]
    world.mount.mint(REF, "s3cret-two")
    await world.sync()
    assert await world.password("shop") == "s3cret-two"


async def test_a_withdrawn_grant_removes_the_secret(world: World) -> None:
    await world.sync()
    world.mount.grant({"payments": ["elsewhere"]})
    await world.sync()
    assert await world.password("shop") is None
    assert world.mount.refused(REF) == {}


INDEX = "credentials/payments/_index"
GRANTS = f"platform/clusters/{CLUSTER}"


def _refuse(world: World, path: str) -> None:
    for operation in ("read", "version"):
        world.kv.faults[operation, path] = RefusedError("permission denied (403)")


def _cut_off(world: World, path: str) -> None:
    for operation in ("read", "version"):
        world.kv.faults[operation, path] = TransientError("sealed")


def _empty(world: World, path: str) -> None:
    world.kv.write(path, {"document": ""}, cas=world.kv.version(path))


def _break(world: World, path: str) -> None:
    world.kv.write(path, {"document": '{"registries": {"ecr-prod":'}, cas=world.kv.version(path))


def _delete(world: World, path: str) -> None:
    world.kv.delete(path)


def _drop_the_entry(world: World, path: str) -> None:
    world.kv.write(
        path,
        {"document": '{"registries": {}}' if "_index" in path else '{"grant": {}}'},
        cas=world.kv.version(path),
    )


@pytest.mark.parametrize("harm", [_refuse, _cut_off, _empty, _break, _delete, _drop_the_entry])
@pytest.mark.parametrize("path", [INDEX, GRANTS])
async def test_an_unreadable_or_incomplete_document_removes_nothing_and_is_a_failure(
    world: World, harm, path: str
) -> None:
    await world.sync()
    harm(world, path)
    for _ in range(2):
        world.clock.move(hours=1)
        report = await world.sync()
        assert report.removed == 0
        assert await world.password("shop") == "s3cret-one"
        assert world.mount.placed(REF) == {1: {"shop"}}
    if harm is not _drop_the_entry or path == GRANTS:
        assert report.failures


async def test_a_failed_list_stops_the_run_before_the_plan(world: World) -> None:
    await world.sync()
    world.cluster.faults["list", "CronJob"] = RefusedError("cronjobs is forbidden")
    await world.cluster.remove("Deployment", "shop", "web")
    with pytest.raises(RefusedError, match="cronjobs"):
        await world.sync()
    assert await world.password("shop")


async def test_a_configured_kind_that_is_not_served_blocks_nothing(world: World) -> None:
    rollout = custom_kind("argoproj.io/v1alpha1/rollouts/Rollout")
    report = await world.sync(options=options(kinds=(*WORKLOADS, rollout)))
    assert str(report) == "1 created"
    assert await world.password("shop")


async def test_a_label_for_a_mode_that_is_not_allowed_blocks_no_other_namespace(world: World) -> None:
    world.options = options(Mode.ADMISSION)
    await world.cluster.create(namespace("own-way", labels={"regcred.dev/mode": "serviceaccount"}))
    world.cluster.faults["list", "ServiceAccount"] = RefusedError("serviceaccounts is forbidden")
    report = await world.sync()
    assert await world.password("shop")
    assert report.failures == ["a namespace chose the mode serviceaccount, but serviceaccounts is forbidden"]


async def test_a_dry_run_reports_what_it_could_not_read(world: World) -> None:
    world.kv.faults["version", "platform/clusters"] = RefusedError("permission denied")
    report = await world.sync(dry_run=True)
    assert report.failures == ["permission denied"]


async def test_a_project_without_an_index_does_not_fail_a_dry_run(world: World) -> None:
    """Otherwise one tenant's annotation would fail `helm test` for the whole cluster."""
    world.mount.grant({"payments": ["shop"], "empty": ["shop"]})
    await world.cluster.create(deployment("shop", "other", "empty/registry"))
    assert (await world.sync(dry_run=True)).failures == []


async def test_the_brake_holds_removals_if_annotations_disappear_everywhere(world: World) -> None:
    names = [f"team-{n}" for n in range(10)]
    for name in names:
        await world.cluster.create(namespace(name))
        await world.cluster.create(deployment(name, "web", REF))
    world.mount.grant({"payments": names})
    await world.sync()
    for name in names:
        await world.cluster.create(deployment(name, "web"))
    report = await world.sync()
    assert report.removed == 0
    assert (await world.plan())[-1].startswith("10 of 10 Secrets would be removed at once")
    assert {await world.password(name) for name in names} == {"s3cret-one"}
    status = world.mount.store.status(CLUSTER, "payments")
    assert status.value.registries["ecr-prod"].held == dict.fromkeys(names, "unneeded")
    assert "RemovalHeld" in {message.reason for message in world.cluster.messages}
    confirmed = options(removals_confirmed=True)
    assert (await world.sync(options=confirmed)).removed == 10


async def test_any_number_of_withdrawn_grants_takes_effect_at_once(world: World) -> None:
    names = [f"team-{n}" for n in range(10)]
    for name in names:
        await world.cluster.create(namespace(name))
        await world.cluster.create(deployment(name, "web", REF))
    world.mount.grant({"payments": names})
    await world.sync()
    world.mount.grant({})
    assert (await world.sync()).removed == 10


async def test_a_mass_revoke_is_not_held_by_the_brake(world: World) -> None:
    names = [f"team-{n}" for n in range(10)]
    for name in names:
        await world.cluster.create(namespace(name))
        await world.cluster.create(deployment(name, "web", REF))
    world.mount.grant({"payments": ["shop", *names]})
    await world.sync()
    world.mount.index(REF, state=State.REVOKED, version=1)
    assert (await world.sync()).removed == 11


# Secrets and namespaces of others


async def test_a_foreign_secret_with_our_name_is_reported_and_not_changed(world: World) -> None:
    await world.cluster.create_secret("shop", NAME)
    report = await world.sync()
    assert report.failures
    assert (await world.cluster.secret("shop", NAME))["data"] == "theirs"
    assert "SecretNameTaken" in [reason for reason, _, _ in await world.cluster.events("shop")]
    assert world.mount.placed(REF) == {}
    await world.cluster.remove_secret("shop", NAME)
    await world.sync()
    assert await world.password("shop") == "s3cret-one"


async def test_a_foreign_secret_with_our_name_is_never_deleted(world: World) -> None:
    await world.sync()
    await world.cluster.remove_secret("shop", NAME)
    await world.cluster.create_secret("shop", NAME)
    await world.cluster.remove("Deployment", "shop", "web")
    await world.sync()
    assert (await world.cluster.secret("shop", NAME))["data"] == "theirs"


async def test_a_recreated_namespace_gets_its_secret_again(world: World) -> None:
    await world.sync()
    await world.cluster.remove("Namespace", "", "shop")
    await world.cluster.create(namespace("shop"))
    await world.cluster.create(deployment("shop", "web", REF))
    assert str(await world.sync()) == "1 created"
    assert await world.password("shop")


async def test_a_deleted_namespace_is_removed_from_the_ledger(world: World) -> None:
    await world.sync()
    await world.cluster.remove("Namespace", "", "shop")
    await world.sync()
    assert world.mount.placed(REF) == {}


# Failures in the middle


async def test_after_a_crash_between_two_writes_the_ledger_names_both(world: World) -> None:
    await world.cluster.create(namespace("second"))
    await world.cluster.create(deployment("second", "web", REF))
    world.mount.grant({"payments": ["shop", "second"]})
    world.cluster.hanging.add(("apply", "second"))
    killed = asyncio.create_task(world.sync())
    await until(lambda: world.cluster._secrets)
    killed.cancel()
    await asyncio.gather(killed, return_exceptions=True)
    assert world.mount.placed(REF) == {0: {"shop", "second"}}
    world.cluster.hanging.clear()
    await world.sync()
    assert world.mount.placed(REF) == {1: {"shop", "second"}}
    assert await world.password("second")


async def test_a_failing_namespace_blocks_no_other(world: World) -> None:
    await world.cluster.create(namespace("broken"))
    await world.cluster.create(deployment("broken", "web", REF))
    world.mount.grant({"payments": ["shop", "broken"]})
    world.cluster.faults["apply", "broken"] = RefusedError("forbidden by a quota")
    report = await world.sync()
    assert await world.password("shop")
    assert report.failures == ["create broken/regcred.payments.ecr-prod: forbidden by a quota"]
    world.cluster.faults.clear()
    await world.sync()
    assert await world.password("broken")


DENIED = DeniedError("not written: exceeded quota", words="exceeded quota: secrets, used: 9, limited: 9")


@pytest.mark.parametrize("placed", [False, True])
async def test_a_denied_write_gets_one_event_and_is_in_the_status(world: World, *, placed: bool) -> None:
    if placed:
        await world.sync()
        world.mount.mint(REF, "s3cret-two")
    world.cluster.faults[("apply",)] = DENIED
    for _ in range(3):
        assert (await world.sync()).failures
    events = [(reason, note) for reason, _, note in await world.cluster.events("shop")]
    assert [reason for reason, _ in events] == ["NotWritten"]
    assert "exceeded quota: secrets, used: 9, limited: 9" in events[0][1]
    entry = world.mount.store.status(CLUSTER, "payments").value.registries["ecr-prod"]
    assert entry.refused == {"shop": "not-written"}
    assert entry.details == {"shop": "exceeded quota: secrets, used: 9, limited: 9"}
    assert await world.password("shop") == ("s3cret-one" if placed else None)
    world.cluster.faults.clear()
    await world.sync()
    entry = world.mount.store.status(CLUSTER, "payments").value.registries["ecr-prod"]
    assert (entry.refused, entry.details) == ({}, {})
    assert await world.password("shop") == ("s3cret-two" if placed else "s3cret-one")


@pytest.mark.parametrize("placed", [False, True])
@pytest.mark.parametrize("error", [RefusedError("permission denied"), MalformedError("it is no credential")])
async def test_a_credential_that_cannot_be_read_gets_one_event_and_is_in_the_status(
    world: World, error: RegcredError, *, placed: bool
) -> None:
    if placed:
        await world.sync()
        world.mount.mint(REF, "s3cret-two")
    world.kv.faults["read", f"credentials/{REF}"] = error
    for _ in range(3):
        assert (await world.sync()).failures
    [(reason, _, note)] = await world.cluster.events("shop")
    assert reason == "NotWritten"
    assert "can't read the credential of payments/ecr-prod in Vault" in note
    assert str(error) in note
    entry = world.mount.store.status(CLUSTER, "payments").value.registries["ecr-prod"]
    assert entry.refused == {"shop": "not-read"}
    assert entry.details == {"shop": str(error)}
    assert await world.password("shop") == ("s3cret-one" if placed else None)
    world.kv.faults.clear()
    await world.sync()
    entry = world.mount.store.status(CLUSTER, "payments").value.registries["ecr-prod"]
    assert (entry.refused, entry.details) == ({}, {})
    assert await world.password("shop") == ("s3cret-two" if placed else "s3cret-one")


@pytest.mark.parametrize("placed", [False, True])
async def test_another_cause_of_a_denial_gets_another_event_after_a_restart_too(
    world: World, *, placed: bool
) -> None:
    if placed:
        await world.sync()
        world.mount.mint(REF, "s3cret-two")
    for words in ("exceeded quota: few", "every Secret needs the label team", "exceeded quota: few"):
        world.cluster.faults[("apply",)] = DeniedError("denied", words=words)
        await world.sync()
        await world.sync()
    notes = [note for reason, _, note in await world.cluster.events("shop") if reason == "NotWritten"]
    assert [note.partition("answer: ")[2] for note in notes] == [
        "exceeded quota: few",
        "every Secret needs the label team",
    ]


async def test_another_reason_for_an_unwritten_secret_gets_another_event(world: World) -> None:
    world.cluster.faults[("apply",)] = DENIED
    await world.sync()
    world.kv.faults["read", f"credentials/{REF}"] = RefusedError("permission denied")
    await world.sync()
    notes = [note for reason, _, note in await world.cluster.events("shop") if reason == "NotWritten"]
    assert ["exceeded quota" in note for note in notes] == [True, False]
    assert world.mount.refused(REF) == {"shop": "not-read"}


async def test_a_missing_grants_document_causes_no_events_about_missing_grants(
    world: World,
) -> None:
    await world.sync()
    world.kv.delete(f"platform/clusters/{CLUSTER}")
    await world.cluster.create(namespace("other"))
    await world.cluster.create(deployment("other", "web", REF))
    report = await world.sync()
    (failure,) = report.failures
    assert failure.startswith(
        f"there is no document platform/clusters/{CLUSTER}: is the cluster's name right"
    )
    assert await world.cluster.events("other") == []
    assert await world.password("shop") == "s3cret-one"


async def test_a_withdrawn_grant_removes_refusals_from_the_status(world: World) -> None:
    await world.cluster.create(deployment("shop", "api", "payments/unknown"))
    await world.sync()
    assert world.mount.refused("payments/unknown") == {"shop": "no-such-registry"}
    world.mount.grant({"payments": []})
    await world.sync()
    assert world.mount.refused("payments/unknown") == {}
    reasons = {reason for reason, _, note in await world.cluster.events("shop") if "payments/unknown" in note}
    assert reasons == {"NoSuchRegistry", "NotGranted"}


async def test_a_denied_repair_is_repeated(world: World) -> None:
    await world.sync()
    await world.cluster.remove_secret("shop", NAME)
    world.cluster.faults[("apply",)] = DENIED
    await world.sync(repair=True)
    assert world.mount.refused(REF) == {"shop": "not-written"}
    world.cluster.faults.clear()
    await world.sync()
    assert await world.password("shop") == "s3cret-one"
    assert world.mount.refused(REF) == {}


async def test_a_denied_removal_gets_an_event_and_is_tried_again(world: World) -> None:
    await world.sync()
    world.mount.index(REF, state=State.REVOKED, version=1)
    world.cluster.faults[("delete",)] = DENIED
    await world.sync()
    notes = [note for reason, _, note in await world.cluster.events("shop") if reason == "NotWritten"]
    assert len(notes) == 1
    assert "could not be removed" in notes[0]
    assert world.mount.placed(REF) == {1: {"shop"}}
    world.cluster.faults.clear()
    await world.sync()
    assert await world.password("shop") is None


async def test_a_failed_write_of_the_ledger_does_not_stop_the_secrets(world: World) -> None:
    world.kv.faults["write", "status"] = TransientError("sealed")
    report = await world.sync()
    assert await world.password("shop") == "s3cret-one"
    assert "the ledger could not be written" in report.failures[0]


async def test_a_stale_index_does_not_restore_an_older_credential(world: World) -> None:
    world.mount.mint(REF, "s3cret-two")
    await world.sync()
    world.mount.index(REF, state=State.OK, version=1)
    await world.sync()
    assert await world.password("shop") == "s3cret-two"
    assert world.cluster.writes() == []


async def test_an_unreadable_entry_keeps_its_secret_and_blocks_no_other(world: World) -> None:
    world.mount.mint("payments/other")
    await world.sync()
    path = "credentials/payments/_index"
    found = world.kv.read(path)
    index = json.loads(found.fields["document"])
    index["registries"] |= {"ecr-prod": {"state": "asleep"}, "Not_a_label": {}}
    world.kv.write(path, {"document": json.dumps(index)}, cas=found.version)
    await world.cluster.create(deployment("shop", "api", "payments/other"))
    report = await world.sync()
    assert str(report) == "1 created"
    assert await world.password("shop") == "s3cret-one"
    assert world.mount.refused(REF) == {}


async def test_cached_credentials_are_limited_in_bytes_and_all_are_written(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credential_cache, "BODIES", 5_000)
    names = [f"payments/r{number}" for number in range(12)]
    for number, name in enumerate(names):
        world.mount.mint(name, f"{number:02}" + "x" * 1_000)
        await world.cluster.create(deployment("shop", f"app-{number}", name))
    async with Engine(world.cluster, world.mount.store, world.options, clock=world.clock) as engine:
        await engine.load()
        for kind in engine.kinds():
            await engine.list_kind(kind)
        await engine.reconcile()
        await engine.drain()
        kept = sum(len(body.content) for body in engine.sources.credentials._bodies.values())
    assert 0 < kept <= 5_000
    for number in range(len(names)):
        password = await world.password("shop", f"regcred.payments.r{number}")
        assert password == f"{number:02}" + "x" * 1_000


async def test_stale_grants_remove_nothing_for_some_minutes(world: World) -> None:
    world.mount.grant({"payments": ["shop"], "other": []})
    async with Engine(world.cluster, world.mount.store, world.options, clock=world.clock) as engine:
        await engine.load()
        assert engine.sources.grants.allows("shop", "payments")
        world.kv._entries[GRANTS].versions[1] = {"document": '{"grants": {}}'}
        newest, world.kv._entries[GRANTS].newest = world.kv._entries[GRANTS].newest, 1
        assert not await engine.sources.look_at_grants()
        assert engine.sources.grants.allows("shop", "payments")
        world.clock.move(minutes=6)
        assert (
            await engine.sources.look_at_grants()
        )  # after some minutes, sync assumes that Vault was restored
        assert not engine.sources.grants.allows("shop", "payments")
        world.kv._entries[GRANTS].newest = newest


# ServiceAccounts


async def test_serviceaccount_mode_adds_our_names_after_those_of_others(world: World) -> None:
    world.options = options(Mode.SERVICEACCOUNT)
    account = {
        "kind": "ServiceAccount",
        "metadata": {"name": "robot", "namespace": "shop"},
        "imagePullSecrets": [{"name": "zulu"}, {"name": "alpha"}],
    }
    await world.cluster.create(account)
    world.mount.mint("payments/a-first")
    await world.cluster.create(deployment("shop", "web", REF, "payments/a-first", account="robot"))
    await world.sync()
    names = await world.cluster.account_pull_secrets("shop", "robot")
    assert names == ["zulu", "alpha", "regcred.payments.a-first", NAME]
    assert await world.cluster.account_pull_secrets("shop", "default") == []
    assert (await world.sync(), world.cluster.writes())[1] == []


async def test_serviceaccount_mode_removes_the_name_before_the_secret(world: World) -> None:
    world.options = options(Mode.SERVICEACCOUNT)
    await world.sync()
    assert await world.cluster.account_pull_secrets("shop", "default") == [NAME]
    await world.cluster.remove("Deployment", "shop", "web")
    await world.sync()
    assert await world.cluster.account_pull_secrets("shop", "default") == []
    assert await world.password("shop") is None
    assert [call[0] for call in world.cluster.writes()] == ["account", "delete"]


@pytest.mark.parametrize("end", ["allowed", "not needed", "another mode"])
async def test_a_denied_name_gets_one_event_and_is_in_the_status(world: World, end: str) -> None:
    world.options = options(Mode.SERVICEACCOUNT)
    world.cluster.faults[("account",)] = DeniedError("denied", words="hands off robots")
    for _ in range(3):
        assert (await world.sync()).failures
    [(reason, _, note)] = await world.cluster.events("shop")
    assert reason == "NotAttached"
    assert note.endswith("The cluster's answer: hands off robots")
    entry = world.mount.store.status(CLUSTER, "payments").value.registries["ecr-prod"]
    assert (entry.refused, entry.details) == ({"shop": "not-attached"}, {"shop": "hands off robots"})
    world.mount.mint(REF, "s3cret-two")
    await world.sync()
    assert await world.password("shop") == "s3cret-two"
    assert world.mount.refused(REF) == {"shop": "not-attached"}
    assert len(await world.cluster.events("shop")) == 1
    match end:
        case "allowed":
            world.cluster.faults.clear()
        case "not needed":
            await world.cluster.remove("ServiceAccount", "shop", "default")
        case "another mode":
            world.options = options(Mode.NONE)
    await world.sync()
    await world.sync()
    assert world.mount.refused(REF) == {}
    reasons = [reason for reason, _, _ in await world.cluster.events("shop")]
    assert reasons == ["NotAttached", *(["CredentialPlaced"] if end == "allowed" else [])]


async def test_serviceaccount_mode_keeps_names_while_the_brake_holds(world: World) -> None:
    world.options = options(Mode.SERVICEACCOUNT, removals_allowed=0)
    await world.sync()
    await world.cluster.create(deployment("shop", "web"))
    await world.sync()
    assert await world.cluster.account_pull_secrets("shop", "default") == [NAME]


async def test_an_annotated_namespace_applies_to_all_its_serviceaccounts(world: World) -> None:
    world.options = options(Mode.SERVICEACCOUNT)
    await world.cluster.create(namespace("shop", annotations={"registry.regcred.dev/x": REF}))
    await world.cluster.create({"kind": "ServiceAccount", "metadata": {"name": "robot", "namespace": "shop"}})
    await world.sync()
    assert await world.cluster.account_pull_secrets("shop", "robot") == [NAME]


async def test_a_namespace_chooses_another_mode_by_its_label(world: World) -> None:
    world.options = options(Mode.ADMISSION)
    await world.cluster.create(namespace("old", labels={"regcred.dev/mode": "serviceaccount"}))
    await world.cluster.create(deployment("old", "web", REF))
    world.mount.grant({"payments": ["shop", "old"]})
    await world.sync()
    assert await world.cluster.account_pull_secrets("old", "default") == [NAME]
    assert await world.cluster.account_pull_secrets("shop", "default") == []


def stuck_pod(space: str, name: str, *, account: str = "default", pull_secrets: tuple[str, ...] = ()) -> dict:
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1", "uid": "1", "controller": True}
    obj = pod(space, name, pull_secrets=pull_secrets, ownerReferences=[owner])
    obj["spec"]["serviceAccountName"] = account
    obj["status"] = {"containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff"}}}]}
    return obj


async def test_pods_that_are_stuck_without_the_name_are_evicted_if_enabled(
    world: World,
) -> None:
    world.options = options(Mode.SERVICEACCOUNT)
    world.cluster.keep_stuck_pods()
    await world.cluster.create(stuck_pod("shop", "older"))
    await world.cluster.create(stuck_pod("shop", "has-it", pull_secrets=(NAME,)))
    await world.cluster.create(stuck_pod("shop", "other-account", account="robot"))
    report = await world.sync()
    assert world.cluster.evicted == [("shop", "older")]
    assert report.evicted == 1


async def test_stuck_pods_are_not_evicted_by_default(world: World) -> None:
    world.options = options(Mode.SERVICEACCOUNT)
    await world.cluster.create(stuck_pod("shop", "older"))
    await world.sync()
    assert world.cluster.evicted == []


# Repair


async def test_a_repair_restores_a_deleted_secret(world: World) -> None:
    await world.sync()
    await world.cluster.remove_secret("shop", NAME)
    assert str(await world.sync()) == "nothing to do"
    assert str(await world.sync(repair=True)) == "1 repaired"
    assert await world.password("shop") == "s3cret-one"


# Admission


async def test_a_workload_older_than_the_policies_gets_its_secret_and_an_event_to_restart(
    world: World,
) -> None:
    world.options = options(Mode.ADMISSION)
    await world.sync()
    assert await world.password("shop")
    [(reason, _, note)] = await world.cluster.events("shop")
    assert reason == "RestartNeeded"
    assert "kubectl -n shop rollout restart deployment/web" in note


async def test_in_an_excluded_namespace_there_is_no_event_to_restart(world: World) -> None:
    world.options = options(Mode.ADMISSION, excluded=frozenset({"shop"}))
    await world.sync()
    assert await world.password("shop")
    assert await world.cluster.events("shop") == []


async def test_a_label_with_an_unknown_mode_gets_an_event(world: World) -> None:
    await world.cluster.create(namespace("shop", labels={"regcred.dev/mode": "webhook"}))
    await world.sync()
    [note] = [
        note for reason, _, note in await world.cluster.events("shop") if reason == "MalformedReference"
    ]
    assert "label regcred.dev/mode: 'webhook' is none of admission, none, serviceaccount" in note


@pytest.mark.parametrize(
    ("mode", "own", "value"),
    [
        (Mode.ADMISSION, Mode.SERVICEACCOUNT, "serviceAccountMode.allowed=true"),
        (Mode.SERVICEACCOUNT, Mode.ADMISSION, "admissionPolicies.enabled=true"),
    ],
)
async def test_a_mode_that_is_not_allowed_in_the_cluster_gets_an_event_on_the_workload(
    world: World, mode: Mode, own: Mode, value: str
) -> None:
    world.options = options(mode, allowed=frozenset({mode, Mode.NONE}))
    await world.cluster.create(namespace("shop", labels={"regcred.dev/mode": own}))
    if mode is Mode.ADMISSION:
        world.cluster.faults["list", "ServiceAccount"] = RefusedError("serviceaccounts is forbidden")
    report = await world.sync()
    assert report.failures == []
    assert await world.password("shop"), "the Secret is created anyway"
    [(reason, about, note)] = await world.cluster.events("shop")
    assert (reason, about) == ("ModeNotAllowed", "Deployment shop/web")
    assert (
        f"chooses mode {own} with its label regcred.dev/mode, but cluster {CLUSTER} does not allow that mode"
        in note
    )
    assert "kubectl label namespace shop regcred.dev/mode-" in note
    assert value in note
    assert str(await world.sync()) == "nothing to do", "the API server refuses an Event with the same name"


async def test_the_clusters_default_mode_and_none_get_no_event(world: World) -> None:
    world.options = options(Mode.SERVICEACCOUNT, allowed=frozenset({Mode.NONE}))
    await world.cluster.create(namespace("shop", labels={"regcred.dev/mode": "serviceaccount"}))
    await world.sync()
    await world.cluster.create(namespace("shop", labels={"regcred.dev/mode": "none"}))
    await world.sync()
    assert await world.cluster.events("shop") == []


async def test_an_admitted_workload_gets_no_event_to_restart(world: World) -> None:
    world.options = options(Mode.ADMISSION)
    await world.cluster.create(deployment("shop", "web", REF, labels={"regcred.dev/annotated": "true"}))
    await world.sync()
    assert await world.cluster.events("shop") == []


async def test_an_object_of_a_watched_controller_requests_nothing_itself(world: World) -> None:
    owner = [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "1", "controller": True}]
    replica_set = deployment("other", "web-1", REF) | {"kind": "ReplicaSet"}
    replica_set["metadata"]["ownerReferences"] = owner
    await world.cluster.create(namespace("other"))
    await world.cluster.create(replica_set)
    await world.cluster.create(pod("other", "mirror", REF) | {})
    await world.cluster.remove("Pod", "other", "mirror")
    await world.sync()
    assert await world.cluster.events("other") == []


@pytest.mark.no_cover
class TestHostileTenants:
    """However much a tenant requests, each placed Secret stays in the ledger, so that a restarted sync can
    remove it."""

    @pytest.fixture(autouse=True)
    def _events_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("regcred.sync.event_sender.EVENTS_PER_SECOND", 1e6)

    async def request(self, world: World, space: str, names: Iterable[str]) -> None:
        texts = list(names)
        for start in range(0, len(texts), 64):
            await world.cluster.create(deployment(space, f"w{start}", *texts[start : start + 64]))

    async def test_unknown_references_without_a_grant_write_nothing_to_vault(self, world: World) -> None:
        await world.sync()
        before = len(world.kv.read("status/c1/payments").fields["document"])
        await world.cluster.create(namespace("hostile"))
        await self.request(world, "hostile", (f"payments/{'x' * 50}-{n}" for n in range(2_000)))
        await world.sync()
        assert len(world.kv.read("status/c1/payments").fields["document"]) <= before + 8
        assert world.mount.refused("payments/" + "x" * 50 + "-1") == {}
        world.mount.grant({"payments": ["hostile"]})
        await world.sync()
        assert await world.password("shop") is None, (
            "a withdrawn grant still removes the Secret, in a new process"
        )

    async def test_unknown_references_of_a_granted_project_are_limited_in_vault(self, world: World) -> None:
        world.mount.grant({"payments": ["shop", "granted"]})
        await world.cluster.create(namespace("granted"))
        await self.request(world, "granted", (f"payments/made-up-{n}" for n in range(1000)))
        await world.sync()
        status = world.mount.store.status(CLUSTER, "payments").value
        assert sum(len(placement.refused) for placement in status.registries.values()) <= 16
        world.mount.index(REF, state=State.REVOKED, version=1)
        await world.sync()
        assert await world.password("shop") is None, "a revocation still removes the Secret"

    async def test_many_namespaces_of_one_tenant_leave_a_ledger_that_can_be_written(
        self, world: World
    ) -> None:
        names = [f"granted-{n:03}" for n in range(100)]
        world.mount.grant({"payments": ["shop", *names]})
        for name in names:
            await world.cluster.create(namespace(name))
            await self.request(world, name, (f"payments/{name}-{n:057x}"[:72] for n in range(16)))
        report = await world.sync()
        assert report.failures == []
        assert world.mount.placed(REF) == {1: {"shop"}}

    def test_refusals_are_dropped_if_the_status_is_full(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("regcred.vault.records.ledger.PACKED_MAX", 8_000)
        names = [f"{number:063x}" for number in range(500)]
        crowd = {
            f"r-{n}": Placement(
                placed={1: dict.fromkeys(names, "0" * 8)},
                refused={f"{n:05x}{pow(7, m, 2**230):058x}": "clash" for m in range(100)},
            )
            for n in range(16)
        }
        whole = Status(written_at=NOW, registries=crowd)
        fields = whole.fields()
        assert len(fields["document"]) <= 8_000
        read = Status.parse(fields, path="status/c/p")
        assert {name: placement.placed for name, placement in read.registries.items()} == {
            name: placement.placed for name, placement in crowd.items()
        }
        assert not any(placement.refused for placement in read.registries.values())


class TestLedgerOfSeveralDocuments:
    """A ledger that is too large for one document is split into several."""

    NAMES = tuple(f"{pow(7, n, 2**200):062x}"[:62] + "x" for n in range(1, 121))

    @pytest.fixture
    async def crowd(self, world: World, monkeypatch: pytest.MonkeyPatch) -> World:
        monkeypatch.setattr("regcred.vault.records.ledger.PACKED_MAX", 4_000)
        world.mount.grant({"payments": ["shop", *self.NAMES]})
        for name in self.NAMES:
            await world.cluster.create(namespace(name))
            await world.cluster.create(deployment(name, "web", REF))
        report = await world.sync()
        assert report.failures == []
        return world

    async def test_each_placed_secret_is_recorded(self, crowd: World) -> None:
        assert crowd.mount.placed(REF) == {1: {"shop", *self.NAMES}}
        assert crowd.kv.version("status/c1/payments/1")
        assert (await crowd.sync()).failures == []
        assert crowd.mount.placed(REF) == {1: {"shop", *self.NAMES}}

    async def test_a_revocation_removes_each_secret_after_a_restart(self, crowd: World) -> None:
        crowd.mount.index(REF, state=State.REVOKED, version=1)
        assert (await crowd.sync()).failures == []
        assert [name for name in ("shop", *self.NAMES) if await crowd.password(name)] == []
        assert not crowd.mount.placed(REF)

    async def test_a_withdrawn_grant_removes_its_secret_after_a_restart(self, crowd: World) -> None:
        crowd.mount.grant({"payments": ["shop", *self.NAMES[1:]]})
        assert (await crowd.sync()).failures == []
        assert await crowd.password(self.NAMES[0]) is None
        assert crowd.mount.placed(REF) == {1: {"shop", *self.NAMES[1:]}}

    async def test_a_malformed_second_document_is_written_again(self, crowd: World) -> None:
        path = "status/c1/payments/1"
        crowd.kv.write(path, {"document": "x"}, cas=crowd.kv.version(path))
        assert (await crowd.sync()).failures == []
        assert crowd.mount.placed(REF) == {1: {"shop", *self.NAMES}}


class TestInvalidNames:
    """Sync ignores invalid names in documents of Vault and handles the others."""

    async def test_a_status_document_with_an_invalid_project_name_is_ignored(self, world: World) -> None:
        world.kv.write("status/c1/FOO", {"document": "{}"}, cas=0)
        world.kv.write("status/c1/under_score", {"document": "x"}, cas=0)
        report = await world.sync()
        assert report.failures == []
        assert await world.password("shop") == "s3cret-one"

    @pytest.mark.parametrize(
        ("registry", "space"),
        [("A B", "shop"), ("../x", "shop"), ("main", "a/b"), ("main", "UPPER"), ("", "")],
    )
    async def test_a_ledger_entry_with_an_invalid_name_is_ignored(
        self, world: World, registry: str, space: str
    ) -> None:
        placements = {
            registry: Placement(placed={1: {space: "12345678"}}, refused={space: "what"}),
            "ecr-prod": Placement(refused={"shop": "nobody knows this reason"}),
        }
        status = Status(written_at=world.clock(), registries=placements)
        assert {
            (str(reference), namespace)
            for reference, namespace, _ in ledger_documents.entries("payments", status)
        } <= {("payments/ecr-prod", "shop")}
        world.mount.store.write_status(CLUSTER, "payments", status, cas=0)
        report = await world.sync()
        assert report.failures == []
        assert await world.password("shop") == "s3cret-one"
        assert world.mount.placed(REF) == {1: {"shop"}}

    async def test_a_malformed_status_document_is_replaced(self, world: World) -> None:
        world.kv.write("status/c1/payments", {"document": "[]"}, cas=0)
        world.kv.write("status/c1/other", {"more": "x"}, cas=0)
        report = await world.sync()
        assert report.failures == []
        assert await world.password("shop") == "s3cret-one"


# Shapes of objects

ROLLOUT = custom_kind("argoproj.io/v1alpha1/rollouts/Rollout")


def rollout(space: str, name: str, *references: str, **spec: object) -> dict:
    obj = deployment(space, name, *references)
    del obj["spec"]["template"]
    return {**obj, "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "spec": {**obj["spec"], **spec}}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            {"workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}},
            "the pod template of Deployment web",
        ),
        ({}, "the pod template of another object"),
        ({"template": None}, "the pod template of another object"),
        ({"template": "none", "workloadRef": ["odd"]}, "the pod template of another object"),
    ],
)
async def test_the_event_on_a_workload_without_a_pod_template_says_where_to_annotate(
    world: World, monkeypatch: pytest.MonkeyPatch, spec: dict, message: str
) -> None:
    monkeypatch.setitem(KINDS, "Rollout", ROLLOUT)
    world.cluster = FakeCluster((*WORKLOADS, ROLLOUT))
    world.options = options(Mode.SERVICEACCOUNT, kinds=(*WORKLOADS, ROLLOUT))
    await world.cluster.create(namespace("shop"))
    await world.cluster.create(rollout("shop", "canary", REF, **spec))
    await world.sync()
    [note] = [note for reason, _, note in await world.cluster.events("shop") if reason == "NoPodTemplate"]
    assert message in note


async def test_a_workload_whose_referenced_template_has_the_same_reference_gets_no_event(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(KINDS, "Rollout", ROLLOUT)
    world.cluster = FakeCluster((*WORKLOADS, ROLLOUT))
    world.options = options(Mode.SERVICEACCOUNT, kinds=(*WORKLOADS, ROLLOUT))
    await world.cluster.create(namespace("shop"))
    robot = {"kind": "ServiceAccount", "metadata": {"name": "robot", "namespace": "shop"}}
    await world.cluster.create(robot)
    await world.cluster.create(deployment("shop", "web", REF, account="robot"))
    named = {"workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}}
    await world.cluster.create(rollout("shop", "canary", REF, **named))
    await world.sync()
    assert "NoPodTemplate" not in [reason for reason, _, _ in await world.cluster.events("shop")]
    assert await world.cluster.account_pull_secrets("shop", "robot") == [NAME]
