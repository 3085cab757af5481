"""Sync as in a cluster, against a real API server and a real OpenBao that fail in various ways."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests
from real.controlplane import Cluster, pod, secret_names, workload
from real.syncing import CLUSTER, Audit, World, world_of

from realparts.stack import Stack
from realparts.waiting import eventually
from regcred.clock import utc_now
from regcred.vault.records.index import IndexEntry, State

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]


@pytest.fixture
def world(kubernetes_stack: Stack, cluster: Cluster, tmp_path: Path) -> Iterator[World]:
    with world_of(kubernetes_stack, cluster, tmp_path) as world:
        yield world


def test_a_workload_gets_and_loses_its_secret_without_a_denied_request(world: World) -> None:
    audit = Audit(world.stack)
    sync = world.running()
    space = world.namespace()
    eventually(lambda: world.password(space) == "s3cret-one")
    world.mint("s3cret-two")
    eventually(lambda: world.password(space) == "s3cret-two")
    world.cluster.kubernetes.kubectl("-n", space, "delete", "deployment", "app", "--cascade=foreground")
    eventually(lambda: world.password(space) is None)
    sync.stop()
    assert [entry for entry in audit.requests() if entry[2] in {401, 403}] == []
    assert "s3cret" not in sync.log.read_text()


def test_a_restart_at_rest_writes_nothing_and_reads_one_page_of_each_kind(world: World) -> None:
    space = world.namespace()
    sync = world.running()
    eventually(lambda: world.placed() == {1: {space}})
    sync.stop()
    audit = Audit(world.stack)
    sync = world.running()
    time.sleep(3)
    written = [entry for entry in audit.requests("create", "update", "delete", "patch") if entry[2] != 409]
    assert written == [], "an Event that already exists is refused (409)"
    assert len(audit.requests("list")) <= 10
    before = len(audit.requests())
    time.sleep(3)
    assert len(audit.requests()) == before, "at rest there are only watches"


def test_the_dry_run_prints_the_plan_and_writes_nothing(world: World) -> None:
    space = world.namespace()
    code, output = world.sync().once("--dry-run")
    assert (code, f"create  {space}/{world.name} (version 1)" in output) == (0, True)
    assert world.password(space) is None
    assert world.placed() == {}


def test_without_a_grant_there_is_an_event_with_the_remedy_and_no_secret(world: World) -> None:
    world.running()
    space = world.namespace(granted=False)
    [(reason, note)] = eventually(lambda: world.events(space))
    assert reason == "NotGranted"
    assert f"regcred grant add --cluster local {world.project} {space}" in note
    assert world.password(space) is None


def test_sync_keeps_everything_while_vault_is_sealed_and_catches_up(world: World) -> None:
    sync = world.running()
    space = world.namespace()
    eventually(lambda: world.password(space))
    world.stack.vault.seal()
    try:
        eventually(lambda: sync.metric(f'regcred_vault_document_known{{document="{world.project}"}}') == 0)
        world.cluster.kubernetes.kubectl("-n", space, "delete", "deployment", "app", "--cascade=foreground")
        world.annotate(space, "second")
        time.sleep(2)
        assert world.password(space) == "s3cret-one"
        assert sync.metric(
            f'regcred_credential_expiry_timestamp_seconds{{project="{world.project}",registry="main"}}'
        )
    finally:
        world.stack.vault.unseal()
    world.mint("s3cret-two")
    eventually(lambda: world.password(space) == "s3cret-two")


def test_sync_survives_a_restart_of_the_api_server(world: World) -> None:
    sync = world.running()
    first = world.namespace()
    eventually(lambda: world.password(first))
    world.stack.kubernetes.restart_apiserver(down_for=2)
    second = world.namespace()
    eventually(lambda: world.password(second))
    world.mint("s3cret-two")
    eventually(lambda: (world.password(first), world.password(second)) == ("s3cret-two", "s3cret-two"))
    eventually(sync.ready)


def test_a_sync_killed_between_two_writes_continues_and_knows_all_its_secrets(world: World) -> None:
    spaces = [world.namespace() for _ in range(25)]
    sync = world.sync()
    sync.start()
    eventually(lambda: any(world.password(space) for space in spaces))
    sync.kill()
    made = {space for space in spaces if world.password(space)}
    known = {space for names in world.placed().values() for space in names}
    assert made <= known, "the ledger contains each Secret before it is created"
    sync = world.running()
    eventually(lambda: all(world.password(space) for space in spaces))
    eventually(lambda: world.placed() == {1: set(spaces)})


def test_a_workload_that_is_deleted_while_sync_is_down_leaves_no_secret(world: World) -> None:
    space = world.namespace()
    sync = world.sync()
    sync.start()
    eventually(lambda: world.password(space))
    sync.kill()
    world.cluster.kubernetes.kubectl("-n", space, "delete", "deployment", "app", "--cascade=foreground")
    world.running()
    eventually(lambda: world.password(space) is None)


def test_a_grant_and_a_revocation_act_within_five_seconds_at_the_default_interval(world: World) -> None:
    """The time is from the response of Vault until the Secret exists or is gone, with some tolerance."""
    sync = world.running(REGCRED_POLL_SECONDS="30")
    space = world.namespace(granted=False)
    eventually(lambda: "NotGranted" in [reason for reason, _ in world.events(space)])
    world.spaces.append(space)
    world.grant()
    eventually(lambda: world.password(space), seconds=6.5)
    eventually(lambda: "CredentialPlaced" in [reason for reason, _ in world.events(space)])
    audit = Audit(world.stack)
    time.sleep(6)
    assert audit.requests() == [], "at rest sync sends no request to the API server"
    entry = IndexEntry(state=State.REVOKED, version=1, changed_at=utc_now())
    world.mount.store.merge_index(world.project, {"main": entry})
    eventually(lambda: world.password(space) is None, seconds=6.5)
    sync.stop()


def test_the_secret_of_a_removed_registry_is_removed(world: World) -> None:
    world.running()
    space = world.namespace()
    eventually(lambda: world.password(space))
    world.mount.index(world.ref, state=State.REMOVED, version=1)
    eventually(lambda: world.password(space) is None)
    eventually(lambda: "NoSuchRegistry" in [reason for reason, _ in world.events(space)])


def _forbid(world: World) -> None:
    world.mount.store.change_project(world.project, lambda old: old.model_copy(update={"clusters": []}))
    world.stack.up(["vault", "kubernetes"])


def _empty(world: World) -> None:
    path = f"credentials/{world.project}/_index"
    world.mount.kv.write(path, {"document": ""}, cas=world.mount.kv.version(path))


def _break(world: World) -> None:
    path = f"credentials/{world.project}/_index"
    world.mount.kv.write(path, {"document": '{"registries":'}, cas=world.mount.kv.version(path))


def _lose(world: World) -> None:
    world.mount.kv.delete(f"credentials/{world.project}/_index")


@pytest.mark.parametrize("harm", [_forbid, _empty, _break, _lose])
def test_an_index_that_cannot_be_read_removes_nothing_and_raises_the_alarm(world: World, harm: Any) -> None:
    sync = world.running()
    space = world.namespace()
    eventually(lambda: world.password(space))
    known = f'regcred_vault_document_known{{document="{world.project}"}}'
    assert sync.metric(known) == 1
    harm(world)
    eventually(lambda: sync.metric(known) == 0)
    time.sleep(2)
    assert world.password(space) == "s3cret-one"
    sync.stop()
    code, output = world.sync().once()
    assert code == 1
    assert world.project in output
    assert world.password(space) == "s3cret-one"


def test_the_brake_holds_removals_after_lost_annotations_until_confirmed(world: World) -> None:
    spaces = [world.namespace() for _ in range(8)]
    sync = world.running()
    eventually(lambda: all(world.password(space) for space in spaces))
    sync.stop()
    for space in spaces:
        world.cluster.annotate("Deployment", space, "app", {"registry.regcred.dev/main": None})
    sync = world.running()
    eventually(lambda: sync.metric("regcred_removals_held") == 8)
    assert all(world.password(space) for space in spaces)
    eventually(
        lambda: (
            world.mount.store.status(CLUSTER, world.project).value.registries["main"].held
            == dict.fromkeys(spaces, "unneeded")
        )
    )
    sync.stop()
    code, output = world.sync().once()
    assert code == 1
    assert "8 of 8 Secrets would be removed at once" in output
    assert all(world.password(space) for space in spaces)
    for space in spaces:  # a Pod that names a Secret delays its removal
        world.cluster.kubernetes.kubectl("-n", space, "delete", "deployment", "app", "--cascade=foreground")
    code, output = world.sync().once("--confirm-removals")
    assert code == 0, output
    assert not any(world.password(space) for space in spaces)


def test_an_admin_confirms_in_vault_what_the_brake_of_a_running_sync_holds(world: World) -> None:
    spaces = [world.namespace() for _ in range(8)]
    sync = world.running()
    eventually(lambda: all(world.password(space) for space in spaces))
    sync.stop()
    for space in spaces:
        world.cluster.kubernetes.kubectl("-n", space, "delete", "deployment", "app", "--cascade=foreground")
    sync = world.running()
    eventually(lambda: sync.metric("regcred_removals_held") == 8)
    store, now = world.mount.store, utc_now()
    store.change_cluster(CLUSTER, lambda old: old.confirming({world.project: 7}, now))
    time.sleep(2)
    assert all(world.password(space) for space in spaces)
    store.change_cluster(CLUSTER, lambda old: old.confirming({world.project: 8}, now))
    eventually(lambda: not any(world.password(space) for space in spaces))
    eventually(lambda: sync.metric("regcred_removals_held") == 0)


def test_withdrawn_grants_act_at_once_in_any_number(world: World) -> None:
    spaces = [world.namespace() for _ in range(8)]
    world.running()
    eventually(lambda: all(world.password(space) for space in spaces))
    world.grant({})
    eventually(lambda: not any(world.password(space) for space in spaces), seconds=10)


def test_a_secret_of_the_same_name_is_left_to_its_owner(world: World) -> None:
    space = world.namespace(workload_too=False)
    world.create_foreign_secret(space)
    world.running()
    world.annotate(space)
    [(_, note)] = eventually(
        lambda: [entry for entry in world.events(space) if entry[0] == "SecretNameTaken"]
    )
    assert world.name in note
    assert world.password(space) == "theirs"
    eventually(lambda: world.placed() == {})


def test_serviceaccount_mode_keeps_the_entries_of_others_in_order(world: World) -> None:
    world.cluster.install({"serviceAccountMode.allowed": True})
    try:
        space = world.namespace(workload_too=False, labels={"regcred.dev/mode": "serviceaccount"})
        account = {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": "robot", "namespace": space},
            "imagePullSecrets": [{"name": "zulu"}, {"name": "alpha"}],
        }
        world.cluster.create(account)
        world.running()
        item = workload("Deployment", space, template={"registry.regcred.dev/main": world.ref})
        item["spec"]["template"]["spec"]["serviceAccountName"] = "robot"
        world.cluster.create(item)

        def names() -> list[str]:
            found = world.cluster.get("ServiceAccount", space, "robot")
            return [entry["name"] for entry in found["imagePullSecrets"]]

        eventually(lambda: names() == ["zulu", "alpha", world.name], seconds=90)
        eventually(lambda: world.password(space))
        late = world.cluster.create(pod(space, "late", account="robot"))
        assert secret_names(late) == ["zulu", "alpha", world.name]
        audit = Audit(world.stack)
        add_as_openshift(world, space, "robot", "robot-dockercfg-x")
        assert names() == ["zulu", "alpha", world.name, "robot-dockercfg-x"]
        world.cluster.kubernetes.kubectl("-n", space, "delete", "pod", "late", "--now")
        world.cluster.kubernetes.kubectl("-n", space, "delete", "deployment", "app", "--cascade=foreground")
        eventually(lambda: names() == ["zulu", "alpha", "robot-dockercfg-x"])
        eventually(lambda: world.password(space) is None)
        written = ("patch", "serviceaccounts", requests.codes.ok)
        assert audit.requests("patch").count(written) == 1
    finally:
        world.cluster.install()


def add_as_openshift(world: World, space: str, account: str, name: str) -> None:
    """Add a name to a ServiceAccount as OpenShift does for its own registry: apply the whole list, by force.

    Contract: github.com/openshift/openshift-controller-manager
    pkg/internalregistry/controllers/service_account_controller.go.
    """
    found = world.cluster.get("ServiceAccount", space, account)
    body = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": account, "resourceVersion": found["metadata"]["resourceVersion"]},
        "imagePullSecrets": [*found["imagePullSecrets"], {"name": name}],
    }
    path = f"/api/v1/namespaces/{space}/serviceaccounts/{account}?fieldManager=openshift&force=true"
    world.stack.kubernetes.request("PATCH", path, body, content_type="application/apply-patch+yaml")


def test_the_serviceaccount_of_a_bare_pod_gets_the_name_in_serviceaccount_mode(world: World) -> None:
    world.cluster.install({"serviceAccountMode.allowed": True})
    try:
        space = world.namespace(workload_too=False, labels={"regcred.dev/mode": "serviceaccount"})
        about = {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": "robot", "namespace": space},
        }
        world.cluster.create(about)
        annotations = {"registry.regcred.dev/main": world.ref}
        world.cluster.create(pod(space, "bare", account="robot", annotations=annotations))
        world.running()

        def named() -> bool:
            return {"name": world.name} in world.cluster.get("ServiceAccount", space, "robot").get(
                "imagePullSecrets", []
            )

        eventually(named, seconds=90)
    finally:
        world.cluster.install()


def test_a_pod_that_was_created_before_its_secret_names_it_and_finds_it(world: World) -> None:
    space = world.namespace(workload_too=False)
    early = world.cluster.create(pod(space, "early", annotations={"registry.regcred.dev/main": world.ref}))
    assert secret_names(early) == [world.name]
    assert world.password(space) is None
    world.running()
    eventually(lambda: world.password(space) == "s3cret-one")


def test_a_workload_older_than_the_policies_gets_its_secret_and_an_event_to_restart(world: World) -> None:
    space = world.namespace(workload_too=False)
    with world.cluster.without_policies():
        world.annotate(space)
    world.running()
    eventually(lambda: world.password(space))
    [(reason, note)] = eventually(lambda: world.events(space))
    assert reason == "RestartNeeded"
    assert f"kubectl -n {space} rollout restart deployment/app" in note


def test_a_malformed_annotation_of_a_template_gives_an_event(world: World) -> None:
    world.running()
    space = world.namespace(workload_too=False)
    world.cluster.create(workload("Deployment", space, template={"registry.regcred.dev/main": "a/b/c"}))
    [(reason, note)] = eventually(lambda: world.events(space))
    assert reason == "MalformedReference"
    assert "registry.regcred.dev/main" in note


@pytest.fixture
def rollouts(world: World) -> Iterator[str]:
    with world.cluster.rollouts() as kind:
        yield kind


def test_a_custom_kind_of_workload_is_watched(world: World, rollouts: str) -> None:
    world.running(REGCRED_WORKLOAD_KINDS=rollouts)
    space = world.namespace(workload_too=False)
    metadata = {"name": "app", "namespace": space}
    template = {
        "metadata": {"annotations": {"registry.regcred.dev/main": world.ref}},
        "spec": {"containers": []},
    }
    rollout = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Rollout",
        "metadata": metadata,
        "spec": {"template": template},
    }

    def created() -> bool:
        with suppress(requests.HTTPError):  # the API server serves a new kind only after a moment
            return bool(world.cluster.create(rollout))
        return False

    eventually(created)
    eventually(lambda: world.password(space))
    world.cluster.kubernetes.kubectl("-n", space, "delete", "rollout", "app")
    eventually(lambda: world.password(space) is None)


def test_a_kind_that_is_not_served_stops_nothing(world: World) -> None:
    kind = "example.com/v1/widgets/Widget"
    world.cluster.install({"workloadKinds": [kind]})
    try:
        sync = world.running(REGCRED_WORKLOAD_KINDS=kind)
        space = world.namespace()
        eventually(lambda: world.password(space))
        assert "not served" in sync.log.read_text()
    finally:
        world.cluster.install()


def test_a_pod_that_is_stuck_without_the_name_is_evicted_if_enabled(world: World) -> None:
    world.cluster.install({"serviceAccountMode.allowed": True})
    try:
        space = world.namespace(workload_too=False, labels={"regcred.dev/mode": "serviceaccount"})
        item = workload("ReplicaSet", space, template={"registry.regcred.dev/main": world.ref})
        item["spec"]["template"]["spec"]["schedulerName"] = "nobody"  # a kubelet would undo the status
        world.cluster.create(item)
        [old] = eventually(lambda: world.cluster.items("Pod", space))
        assert secret_names(old) == []
        world.cannot_pull(old)
        world.running(REGCRED_EVICT_STUCK_PODS="true")
        eventually(lambda: world.replaced(space))
    finally:
        world.cluster.install()


def test_bad_settings_are_an_error_of_one_line(world: World) -> None:
    code, output = world.sync(REGCRED_MODE="webhook", REGCRED_GRACE_SECONDS="soon").once()
    assert code == 2
    assert output.count("\n") == 1
    assert "REGCRED_MODE" in output
    assert "REGCRED_GRACE_SECONDS" in output
