"""The contract of :class:`regcred.cluster.interface.Cluster`, on the fake and on a real API server."""

from __future__ import annotations

import asyncio

import pytest
from fakes.sync_world import deployment, namespace, pod, until
from pydantic import SecretStr

from regcred.cluster.dockerconfig import secret_body
from regcred.cluster.interface import ExpiredError, Message, NameTakenError
from regcred.cluster.model import (
    NAMESPACE,
    POD,
    SERVICE_ACCOUNT,
    WORKLOADS,
    Namespace,
    ServiceAccount,
    Workload,
)
from regcred.errors import MissingError
from regcred.registry_reference import Reference

REF = Reference("payments", "ecr-prod")
DEPLOYMENT = WORKLOADS[0]


def body(password: str, version: int):
    text = f'{{"auths":{{"registry.example.com":{{"auth":"{password}"}}}}}}'
    return secret_body(REF, SecretStr(text), version=version, expires_at=None)


async def workloads(cluster, kind, space: str) -> list[Workload]:
    listing = await cluster.list(kind)
    return [item for item in listing.items if item.namespace == space]


async def test_a_list_contains_only_annotated_workloads(cluster, space: str) -> None:
    await cluster.create(
        deployment(space, "annotated", str(REF), template={"registry.regcred.dev/t": "payments/other"})
    )
    await cluster.create(deployment(space, "plain"))
    [found] = await workloads(cluster, DEPLOYMENT, space)
    assert (found.name, found.kind) == ("annotated", DEPLOYMENT)
    assert found.references == (REF, Reference("payments", "other"))
    assert found.service_account == "default"
    assert found.created.endswith("Z")


async def test_a_list_of_namespaces_contains_those_without_annotations(cluster, space: str) -> None:
    listing = await cluster.list(NAMESPACE)
    [found] = [item for item in listing.items if item.name == space]
    assert isinstance(found, Namespace)
    assert found.uid
    assert found.request is None


async def test_finished_pods_are_not_listed(cluster, space: str) -> None:
    await cluster.create(pod(space, "runs", str(REF)))
    done = await cluster.create(pod(space, "done", str(REF)))
    await cluster.create({**done, "status": {"phase": "Succeeded"}})
    assert [found.name for found in await workloads(cluster, POD, space)] == ["runs"]


async def test_a_watch_reports_the_changes_since_the_list(cluster, space: str) -> None:
    listing = await cluster.list(DEPLOYMENT)
    seen = []

    def note(change) -> None:
        if change.name and change.namespace == space:
            seen.append((change.name, change.item and change.item.references))

    async def follow() -> None:
        async for change in cluster.watch(DEPLOYMENT, listing.resource_version, labelled=False):
            note(change)

    following = asyncio.create_task(follow())
    await asyncio.sleep(0.1)
    await cluster.create(deployment(space, "web", str(REF)))
    await cluster.create(deployment(space, "web"))
    await cluster.create(deployment(space, "web", "payments/other"))
    await until(lambda: ("web", (Reference("payments", "other"),)) in seen)
    await cluster.remove("Deployment", space, "web")
    await until(lambda: seen[-1] == ("web", None))
    following.cancel()
    states = [references for _, references in seen]
    assert states[0] == (REF,)
    assert None in states[1:]
    assert (Reference("payments", "other"),) in states
    assert states[-1] is None


async def test_a_labelled_watch_reports_only_admitted_workloads(cluster, space: str) -> None:
    listing = await cluster.list(DEPLOYMENT)
    names = []

    async def follow() -> None:
        async for change in cluster.watch(DEPLOYMENT, listing.resource_version, labelled=True):
            if change.namespace == space and change.item:
                names.append(change.name)
                assert change.item.references == (REF,)
                assert change.item.admitted

    following = asyncio.create_task(follow())
    await asyncio.sleep(0.1)
    await cluster.create(deployment(space, "older", str(REF)))
    await cluster.create(deployment(space, "admitted", str(REF), labels={"regcred.dev/annotated": "true"}))
    await until(lambda: names)
    following.cancel()
    assert set(names) == {"admitted"}


async def test_a_watch_from_a_forgotten_version_has_expired(cluster, space: str) -> None:
    await cluster.forget_history()
    with pytest.raises(ExpiredError):
        await anext(aiter(cluster.watch(DEPLOYMENT, "1", labelled=False)))


async def test_a_secret_is_created_and_replaced_in_place(cluster, space: str) -> None:
    await cluster.apply_secret(space, body("one", 1), first=True)
    first = await cluster.secret(space, REF.secret_name)
    assert first["type"] == "kubernetes.io/dockerconfigjson"
    assert first["labels"] == {"app.kubernetes.io/managed-by": "regcred"}
    assert first["annotations"]["regcred.dev/version"] == "1"
    await cluster.apply_secret(space, body("two", 2), first=False)
    second = await cluster.secret(space, REF.secret_name)
    assert "two" in second["data"]
    assert second["uid"] == first["uid"]


async def test_a_first_projection_replaces_our_own_secret(cluster, space: str) -> None:
    await cluster.apply_secret(space, body("one", 1), first=True)
    await cluster.apply_secret(space, body("two", 2), first=True)
    assert "two" in (await cluster.secret(space, REF.secret_name))["data"]


async def test_a_refresh_creates_a_deleted_secret_again(cluster, space: str) -> None:
    await cluster.apply_secret(space, body("one", 1), first=False)
    assert "one" in (await cluster.secret(space, REF.secret_name))["data"]


@pytest.mark.parametrize("labels", [{}, {"app.kubernetes.io/managed-by": "regcred"}])
async def test_a_first_projection_leaves_a_foreign_secret_alone(
    cluster, space: str, labels: dict[str, str]
) -> None:
    await cluster.create_secret(space, REF.secret_name, labels=labels)
    with pytest.raises(NameTakenError, match=REF.secret_name):
        await cluster.apply_secret(space, body("one", 1), first=True)
    assert "theirs" in (await cluster.secret(space, REF.secret_name))["data"]


async def test_a_foreign_secret_is_not_deleted(cluster, space: str) -> None:
    await cluster.create_secret(space, REF.secret_name)
    with pytest.raises(NameTakenError):
        await cluster.delete_secret(space, REF, placed=True)
    assert await cluster.secret(space, REF.secret_name)


async def test_our_secret_is_deleted_and_a_second_deletion_is_no_error(cluster, space: str) -> None:
    await cluster.apply_secret(space, body("one", 1), first=True)
    await cluster.delete_secret(space, REF, placed=True)
    assert await cluster.secret(space, REF.secret_name) is None
    await cluster.delete_secret(space, REF, placed=True)


async def test_a_secret_in_a_missing_namespace_is_a_missing_error(cluster) -> None:
    for first in (True, False):
        with pytest.raises(MissingError):
            await cluster.apply_secret("nowhere", body("one", 1), first=first)


async def test_live_pods_name_their_pull_secrets(cluster, space: str) -> None:
    await cluster.create(pod(space, "runs", pull_secrets=("a", REF.secret_name)))
    done = await cluster.create(pod(space, "done", pull_secrets=("b",)))
    await cluster.create({**done, "status": {"phase": "Failed"}})
    [found] = await cluster.live_pods(space)
    assert found.name == "runs"
    assert REF.secret_name in found.pull_secrets, "names of others may be left out"
    assert not found.controlled


async def test_pull_secrets_of_others_stay_in_order(cluster, space: str) -> None:
    account = {
        "kind": "ServiceAccount",
        "metadata": {"name": "robot", "namespace": space},
        "imagePullSecrets": [{"name": "zulu"}, {"name": "alpha"}],
    }
    await cluster.create(account)
    names = ("regcred.b.b", "regcred.a.a")
    assert await cluster.set_pull_secrets(space, "robot", add=names, remove=())
    assert await cluster.account_pull_secrets(space, "robot") == [
        "zulu",
        "alpha",
        "regcred.a.a",
        "regcred.b.b",
    ]
    listing = await cluster.list(SERVICE_ACCOUNT)
    assert ServiceAccount(space, "robot", ("regcred.a.a", "regcred.b.b")) in listing.items
    assert not await cluster.set_pull_secrets(space, "robot", add=names, remove=())
    assert await cluster.set_pull_secrets(space, "robot", add=(), remove=("regcred.a.a",))
    assert await cluster.account_pull_secrets(space, "robot") == ["zulu", "alpha", "regcred.b.b"]


async def test_a_serviceaccount_that_was_changed_since_it_was_seen_keeps_the_change(
    cluster, space: str
) -> None:
    account = {"kind": "ServiceAccount", "metadata": {"name": "robot", "namespace": space}}
    await cluster.create(account)
    items = (await cluster.list(SERVICE_ACCOUNT)).items
    [seen] = [item for item in items if (item.namespace, item.name) == (space, "robot")]
    await cluster.create({**account, "imagePullSecrets": [{"name": "zulu"}]})
    for name in ("regcred.a.a", "regcred.b.b"):
        assert await cluster.set_pull_secrets(space, "robot", add=[name], remove=(), known=seen.known)
    assert await cluster.account_pull_secrets(space, "robot") == ["zulu", "regcred.a.a", "regcred.b.b"]


async def test_pull_secrets_of_a_missing_serviceaccount_are_a_missing_error(cluster, space: str) -> None:
    with pytest.raises(MissingError):
        await cluster.set_pull_secrets(space, "nobody", add=("regcred.a.a",), remove=())


async def test_an_event_is_written_once(cluster, space: str) -> None:
    await cluster.create(deployment(space, "web", str(REF)))
    [about] = await workloads(cluster, DEPLOYMENT, space)
    same = Message(about, "NotGranted", "Namespace may not use it.")
    assert [await cluster.create_event(same) for _ in range(2)] == [True, False]
    assert await cluster.events(space) == [
        ("NotGranted", f"Deployment {space}/web", "Namespace may not use it.")
    ]


async def test_an_event_that_is_true_again_is_written_again(cluster, space: str) -> None:
    await cluster.create(deployment(space, "web", str(REF)))
    [about] = await workloads(cluster, DEPLOYMENT, space)
    again = Message(about, "NotGranted", "Namespace may not use it.", again=True)
    assert [await cluster.create_event(again) for _ in range(2)] == [True, True]
    assert len(await cluster.events(space)) == 2
    assert again.name in await cluster.event_names("NotGranted")


async def test_the_names_of_events_are_listed_by_their_reason(cluster, space: str) -> None:
    await cluster.create(deployment(space, "web", str(REF)))
    [about] = await workloads(cluster, DEPLOYMENT, space)
    refused = Message(about, "NotGranted", f"Namespace {space} may not use it.")
    other = Message(about, "NotReady", f"It is not ready in {space}.")
    for one in (refused, other):
        await cluster.create_event(one)
    names = await cluster.event_names("NotGranted")
    assert refused.name in names
    assert other.name not in names


async def test_an_event_about_a_namespace_can_be_written(cluster, space: str) -> None:
    await cluster.create(namespace(space, annotations={"registry.regcred.dev/x": str(REF)}))
    [found] = [item for item in (await cluster.list(NAMESPACE)).items if item.name == space]
    assert found.request.references == (REF,)
    await cluster.create_event(Message(found.request, "NotGranted", f"Namespace {space} may not use it."))


async def test_a_pod_can_be_evicted(cluster, space: str) -> None:
    created = await cluster.create(pod(space, "stuck"))
    assert await cluster.evict(space, "stuck", version=created["metadata"]["resourceVersion"])


async def test_a_pod_that_has_changed_is_not_evicted(cluster, space: str) -> None:
    created = await cluster.create(pod(space, "stuck"))
    assert not await cluster.evict(
        space, "stuck", version=str(int(created["metadata"]["resourceVersion"]) - 1)
    )
