"""dispatch → SQS → rotate → Vault → EventBridge, with the functions in Lambda's runtime emulator."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from real.cloudside import ECR_HOST, HOST, CloudSide

from realparts.aws import ACCOUNT, OTHER_ACCOUNT
from realparts.images import push_pause
from realparts.pulling import manifest_status
from realparts.stack import Stack
from realparts.waiting import eventually
from regcred.registry_reference import Reference
from regcred.vault.records.declared import Action
from regcred.vault.records.index import State

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def cloud(aws_stack: Stack) -> Iterator[CloudSide]:
    push_pause(aws_stack.registry, "team/app")
    side = CloudSide(aws_stack)
    yield side
    side.stop()


def pull(cloud: CloudSide, host: str, login: tuple[str, str]) -> int:
    """The status with which a real registry answers a pull."""
    return manifest_status(cloud.stack, f"{host}/team/app:1", *login)


@pytest.fixture(scope="module")
def rotated(cloud: CloudSide) -> tuple[Reference, Reference]:
    """Two registries, one of ECR and one with a password, that both functions have rotated once."""
    way = cloud.project("way")
    password = cloud.stack.registry.add_user("way", pull=["team/*"])
    ecr = cloud.ecr(f"{way}/ecr", probe="team/app:1")
    plain = cloud.basic(f"{way}/plain", "way", password, probe="team/app:1")
    now = datetime.now(UTC).replace(microsecond=0).isoformat()
    cloud.sweep(time=now)
    cloud.sweep(time=now)
    with cloud.polling():
        eventually(lambda: cloud.entry(ecr) and cloud.entry(plain), what="both rotated")
    return ecr, plain


def test_the_whole_path_from_the_schedule_to_a_credential_that_pulls(
    cloud: CloudSide, rotated: tuple[Reference, Reference]
) -> None:
    ecr, plain = rotated
    entries = [cloud.entry(reference) for reference in (ecr, plain)]
    for entry in entries:
        assert (entry.state, entry.version, entry.verified) == (State.OK, 1, "yes")
    assert ECR_HOST in entries[0].hosts
    assert pull(cloud, ECR_HOST, cloud.login(ecr)) == 200
    assert pull(cloud, HOST, cloud.login(plain)) == 200
    assert sorted(cloud.events(ecr.project, count=2)) == [
        ("CredentialRotated", "ecr"),
        ("CredentialRotated", "plain"),
    ]


def test_a_definition_with_the_role_or_account_of_another_project_is_refused(cloud: CloudSide) -> None:
    """The confused deputy: a definition, or a policy, that names somebody else's role or account."""
    victim = cloud.project("victim")
    thief = cloud.project("thief")
    policy = cloud.store.project(thief).value.model_copy(
        update={"role_arn": cloud.store.project(victim).value.role_arn}
    )
    cloud.store.change_project(thief, lambda _old: policy)
    mine = cloud.ecr(f"{thief}/mine")
    other = cloud.ecr(f"{thief}/other", account=OTHER_ACCOUNT)
    cloud.rotate.invoke(cloud.message(thief, mine="new", other="new"))
    assert cloud.entry(mine).error_kind == "refused"
    assert "external id" in cloud.entry(mine).error
    assert OTHER_ACCOUNT in cloud.entry(other).error
    assert cloud.store.credential(mine) is None


def test_a_refused_mint_keeps_the_last_good_credential(cloud: CloudSide) -> None:
    keep = cloud.project("keep")
    ecr = cloud.ecr(f"{keep}/ecr")
    cloud.rotate.invoke(cloud.message(keep, ecr="new"))
    before = cloud.login(ecr)
    cloud.request(ecr, Action.ROTATE)
    with cloud.fault("GetAuthorizationToken", "refuse"):
        cloud.rotate.invoke(cloud.message(keep, ecr="requested"))
    entry = cloud.entry(ecr)
    assert (entry.state, entry.version, entry.error_kind) == (State.FAILING, 1, "refused")
    assert cloud.login(ecr) == before
    assert cloud.events(keep, count=2) == [("CredentialRotated", "ecr"), ("CredentialFailing", "ecr")]


def test_a_warm_function_keeps_its_vault_token_and_its_projects_session(cloud: CloudSide) -> None:
    warm = cloud.project("warm")
    ecr = cloud.ecr(f"{warm}/ecr")
    cloud.rotate.invoke(cloud.message(warm, ecr="new"))
    before = {
        name: len(cloud.stack.aws.calls(operation=name)) for name in ("GetWebIdentityToken", "AssumeRole")
    }
    cloud.request(ecr, Action.ROTATE)
    cloud.rotate.invoke(cloud.message(warm, ecr="requested"))
    assert cloud.entry(ecr).version == 2
    assert {name: len(cloud.stack.aws.calls(operation=name)) for name in before} == before


def test_two_concurrent_runs_of_rotate_mint_once(cloud: CloudSide) -> None:
    twice = cloud.project("twice")
    ecr = cloud.ecr(f"{twice}/ecr")
    second = cloud.start("rotate", instance="rotate-2")
    before = len(cloud.stack.aws.calls(operation="GetAuthorizationToken"))
    try:
        with cloud.fault("GetAuthorizationToken", "delay", seconds=1), ThreadPoolExecutor() as pool:
            list(pool.map(lambda f: f.invoke(cloud.message(twice, ecr="new")), (cloud.rotate, second)))
    finally:
        cloud.stack.lambda_.stop("rotate-2")
    assert len(cloud.stack.aws.calls(operation="GetAuthorizationToken")) == before + 1
    assert cloud.entry(ecr).version == 1


def test_a_message_is_delivered_again_if_vault_was_sealed_during_its_rotation(cloud: CloudSide) -> None:
    sealed = cloud.project("sealed")
    ecr = cloud.ecr(f"{sealed}/ecr")
    message = cloud.message(sealed, ecr="new")
    assumed = len(cloud.stack.aws.calls(operation="AssumeRole"))
    with cloud.fault("GetAuthorizationToken", "delay", seconds=2), ThreadPoolExecutor() as pool:
        running = pool.submit(cloud.rotate.invoke, message)
        eventually(
            lambda: len(cloud.stack.aws.calls(operation="AssumeRole")) > assumed,
            what="the mint to begin",
            seconds=10,
        )
        cloud.stack.vault.seal()
        try:
            answer = running.result()
            with pytest.raises(Exception, match="sealed"):
                cloud.sweep()
        finally:
            cloud.stack.vault.unseal()
    assert [item["itemIdentifier"] for item in answer["batchItemFailures"]] == [
        message["Records"][0]["messageId"]
    ]
    assert cloud.store.credential(ecr) is None
    rotation = cloud.store.rotation(ecr)
    cloud.store.write_rotation(ecr, rotation.value.model_copy(update={"claim": None}), cas=rotation.version)
    assert cloud.rotate.invoke(message) == {"batchItemFailures": []}
    assert cloud.entry(ecr).state is State.OK


def test_a_removed_registry_loses_its_credential_and_gives_an_event(cloud: CloudSide) -> None:
    gone = cloud.project("gone")
    ecr = cloud.ecr(f"{gone}/ecr")
    cloud.rotate.invoke(cloud.message(gone, ecr="new"))
    cloud.store.remove_definition(ecr)
    cloud.sweep(project=gone)
    with cloud.polling():
        eventually(lambda: cloud.entry(ecr).state is State.REMOVED, what="removal")
    assert cloud.store.credential(ecr) is None
    assert cloud.events(gone, count=2) == [("CredentialRotated", "ecr"), ("CredentialRevoked", "ecr")]


def test_a_revocation_does_not_wait_for_the_bulk_work_of_its_project(cloud: CloudSide) -> None:
    """Lambda runs one instance for each message group with work. One of these two is busy with the bulk."""
    bulk = cloud.project("bulk")
    password = cloud.stack.registry.add_user("bulk", pull=["team/*"])
    leaked = cloud.basic(f"{bulk}/leaked", "bulk", password, probe="team/app:1")
    cloud.rotate.invoke(cloud.message(bulk, leaked="new"))
    assert cloud.store.credential(leaked)
    waiting = [cloud.ecr(f"{bulk}/r{number:02}") for number in range(60)]
    second = cloud.start("rotate", instance="rotate-2")
    minted = len(cloud.stack.aws.calls(operation="GetAuthorizationToken"))
    try:
        with cloud.fault("GetAuthorizationToken", "delay", seconds=4):
            cloud.sweep(project=bulk)
            cloud.stack.lambda_.poll(second, batch_size=1, name="poller-2")
            with cloud.polling():
                eventually(
                    lambda: len(cloud.stack.aws.calls(operation="GetAuthorizationToken")) > minted,
                    what="the bulk to begin",
                )
                cloud.request(leaked, Action.REVOKE)
                requested = time.monotonic()
                cloud.sweep(project=bulk)
                eventually(lambda: cloud.store.credential(leaked) is None, what="the revocation")
                took = time.monotonic() - requested
                left = [reference for reference in waiting if cloud.entry(reference) is None]
    finally:
        cloud.stack.lambda_.stop_polling("poller-2")
        cloud.stack.lambda_.stop("rotate-2")
        cloud.empty_queue()
    print(f"revoked after {took:.1f} s, while {len(left)} registries of the project waited")
    assert cloud.entry(leaked).state is State.REVOKED
    assert len(left) >= 20, f"the revocation came after {took:.1f} s, behind the bulk"
    assert took < 15, "5 s on a machine that is not busy"


@pytest.mark.parametrize("document", ["", "{", '{"registries": {"ecr": {"state": "no such state"}}}'])
def test_an_unreadable_index_removes_nothing_and_stops_no_other_project(
    cloud: CloudSide, document: str
) -> None:
    broken = cloud.project("broken")
    whole = cloud.project("whole")
    ecr, other = cloud.ecr(f"{broken}/ecr"), cloud.ecr(f"{whole}/ecr")
    cloud.rotate.invoke(cloud.message(broken, ecr="new"))
    good = cloud.store.index(broken)
    kv = cloud.store._kv
    kv.write(f"credentials/{broken}/_index", {"document": document}, cas=good.version)
    cloud.request(other, Action.ROTATE)
    try:
        assert cloud.sweep()["unreadable"] == 1
        assert cloud.login(ecr)
    finally:
        kv.write(f"credentials/{broken}/_index", good.value.fields(), cas=good.version + 1)


def test_an_index_that_may_not_be_read_removes_nothing(cloud: CloudSide) -> None:
    """403: the policy of dispatch lost the path."""
    forbidden = cloud.project("forbidden")
    ecr = cloud.ecr(f"{forbidden}/ecr")
    cloud.rotate.invoke(cloud.message(forbidden, ecr="new"))
    vault = cloud.stack.vault
    policy = vault.call("GET", "sys/policies/acl/regcred-dispatch")["data"]["policy"]
    denied = policy + f'\npath "regcred/data/credentials/{forbidden}/_index" {{ capabilities = ["deny"] }}\n'
    vault.call("PUT", "sys/policies/acl/regcred-dispatch", {"policy": denied})
    try:
        assert cloud.sweep()["unreadable"] == 1
    finally:
        vault.call("PUT", "sys/policies/acl/regcred-dispatch", {"policy": policy})
    assert cloud.entry(ecr).state is State.OK
    assert cloud.login(ecr)


def test_the_problem_of_a_definition_is_one_line_in_the_index(cloud: CloudSide) -> None:
    wrong = cloud.project("wrong")
    field = cloud.define(f"{wrong}/ecr", {"provider": "ecr", "region": "eu-west-1"})
    unknown = cloud.define(f"{wrong}/unknown", {"provider": "ercc"})
    cloud.rotate.invoke(cloud.message(wrong, ecr="new", unknown="new"))
    assert "region" in cloud.entry(field).error
    assert "ercc" in cloud.entry(unknown).error
    assert all("\n" not in cloud.entry(reference).error for reference in (field, unknown))


def test_the_error_of_a_misconfigured_function_names_the_variable(cloud: CloudSide) -> None:
    function = cloud.stack.lambda_.start(
        "dispatch", {"REGCRED_VAULT_ROLE": "dispatch"}, instance="misconfigured"
    )
    try:
        with pytest.raises(Exception, match="REGCRED_VAULT_ADDR is not set"):
            function.invoke({})
    finally:
        cloud.stack.lambda_.stop("misconfigured")


LAMBDAS_OWN = {
    "logs:CreateLogStream",
    "logs:PutLogEvents",
    "sqs:DeleteMessage",
    "sqs:GetQueueAttributes",
    "sqs:ReceiveMessage",
}
"""What Lambda itself does with the role of the function: write its log and poll its queue."""

IMPLIED = {
    "sqs:SendMessageBatch": {"sqs:SendMessage"},
    "sts:AssumeRole": {"sts:AssumeRole", "sts:TagSession"},
}
"""Calls whose action has another name, or that need a second action (session tags)."""


@pytest.mark.usefixtures("rotated")
@pytest.mark.parametrize("name", ["dispatch", "rotate"])
def test_a_function_has_exactly_the_rights_that_a_rotation_needs(cloud: CloudSide, name: str) -> None:
    """The functions ran with the policy of the template, and used each of its actions."""
    caller = f"arn:aws:sts::{ACCOUNT}:assumed-role/regcred-{name}/regcred-{name}"
    calls = {f"{call['service']}:{call['operation']}" for call in cloud.stack.aws.calls(caller=caller)}
    used = {action for call in calls for action in IMPLIED.get(call, {call})}
    statements = cloud.policies[name]["Statement"]
    allowed = {action for item in statements for action in _listed(item["Action"])}
    assert used == allowed - LAMBDAS_OWN


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


@pytest.mark.usefixtures("rotated")
def test_no_secret_is_in_the_output_of_the_functions(cloud: CloudSide) -> None:
    output = "".join(function.log.read_text() for function in (cloud.dispatch, cloud.rotate))
    assert '"rotated"' in output
    for secret in set(cloud.secrets):
        assert secret not in output
    assert cloud.stack.vault.root_token not in output
    for line in output.splitlines():
        if line.startswith("{"):
            json.loads(line)
