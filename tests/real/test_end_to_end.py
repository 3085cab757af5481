"""The whole path on real servers: registry → Lambda → Vault → Secret in a namespace → a Pod that the kubelet
starts."""

import time
from collections.abc import Iterator

import pytest
from real.wholepath import BASIC_HOST, ECR_HOST, PROJECT, World

from realparts.aws import ACCOUNT
from realparts.images import push_pause
from realparts.product import NAMESPACE, Product
from realparts.pulling import manifest_status
from realparts.stack import Stack
from realparts.waiting import eventually

pytestmark = [pytest.mark.real, pytest.mark.node, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def world(whole_stack: Stack) -> Iterator[World]:
    stack = whole_stack
    stack.start_functions()
    product = Product(stack, instance="sync-e2e")
    world = World(product, stack)
    eventually(
        lambda: "Terminating" not in world.kubectl("get", "ns"), what="an earlier release gone", seconds=120
    )
    role = stack.project_role(PROJECT)
    product.regcred(
        "project",
        "add",
        PROJECT,
        "--host",
        BASIC_HOST,
        "--account",
        ACCOUNT,
        "--cluster",
        "local",
        "--role-arn",
        role,
    )
    for repository in ("e2e/web", "e2e/tools"):
        push_pause(stack.registry, repository)
    product.install_chart()
    product.start_sync()
    yield world
    product.stop_sync()
    stack.stop_functions()
    stack.aws.clear_faults()
    stack.aws.set_ecr_token_lifetime(43200)
    world.kubectl("delete", "namespace", *world.namespaces, "--ignore-not-found", "--wait=false")
    product.helm("uninstall", "regcred", "--ignore-not-found")
    world.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found")


def image(host: str, name: str) -> str:
    return f"{host}/e2e/{name}:1"


def test_one_pod_pulls_from_two_private_registries(world, tmp_path):
    ecr, basic = world.register_ecr("two-ecr"), world.register_basic("two-basic", tmp_path)
    namespace = world.namespace("e2e-two")
    world.deploy(namespace, "app", [image(ECR_HOST, "web"), image(BASIC_HOST, "tools")], [ecr, basic])
    eventually(lambda: world.runs(namespace), what="both containers running", seconds=90)
    assert set(world.secrets(namespace)) >= {"regcred.e2e.two-ecr", "regcred.e2e.two-basic"}
    (pod,) = world.pods(namespace)
    assert pod["spec"]["imagePullSecrets"] == [
        {"name": "regcred.e2e.two-basic"},
        {"name": "regcred.e2e.two-ecr"},
    ]


def test_without_a_grant_there_is_no_secret_no_pull_and_an_event_with_the_reason(world):
    ecr = world.register_ecr("ungranted")
    world.namespace("e2e-granted")  # without any grant, sync does not know the grants
    namespace = world.namespace("e2e-ungranted", granted=False)
    world.deploy(namespace, "app", [image(ECR_HOST, "web")], [ecr])
    eventually(lambda: world.refusals(namespace), what="the kubelet's refusal")
    events = eventually(
        lambda: "NotGranted" in (text := world.events(namespace)) and text, what="an Event", seconds=30
    )
    assert "Namespace e2e-ungranted may not use project e2e" in events
    assert world.secrets(namespace) == {}


def test_a_workload_without_the_annotation_is_refused_beside_one_with_it(world):
    ecr = world.register_ecr("beside")
    namespace = world.namespace("e2e-beside")
    world.deploy(namespace, "with", [image(ECR_HOST, "web")], [ecr])
    eventually(lambda: world.runs(namespace), what="the annotated one running", seconds=90)
    world.deploy(namespace, "without", [image(ECR_HOST, "web")], [])
    (message,) = eventually(lambda: world.refusals(namespace), what="the other refused")
    assert "pull" in message


def test_a_pod_that_is_older_than_its_secret_recovers_by_itself(world):
    namespace = world.namespace("e2e-early")
    world.deploy(namespace, "app", [image(ECR_HOST, "web")], [f"{PROJECT}/early"])
    eventually(lambda: world.refusals(namespace), what="the kubelet's refusal")
    (before,) = world.pods(namespace)
    world.register_ecr("early")
    eventually(lambda: world.runs(namespace), what="the same Pod running", seconds=120)
    (after,) = world.pods(namespace)
    assert after["metadata"]["uid"] == before["metadata"]["uid"]


def test_pulls_continue_after_the_first_token_has_expired_and_is_refused(world):
    ecr = world.register_ecr("renewed", seconds=25)
    first = world.password(ecr)
    namespace = world.namespace("e2e-renewed")
    world.deploy(namespace, "app", [image(ECR_HOST, "web")], [ecr])
    eventually(lambda: world.runs(namespace), what="a first pull")
    uid = world.secrets(namespace)["regcred.e2e.renewed"]["metadata"]["uid"]
    world.stack.aws.set_ecr_token_lifetime(43200)
    world.product.regcred("rotate", ecr)
    assert world.password(ecr) != first
    eventually(lambda: pull(world, first) != 200, what="the first token's end")
    world.new_pods(namespace)
    eventually(lambda: world.runs(namespace), what="a pull with the second token", seconds=90)
    assert world.secrets(namespace)["regcred.e2e.renewed"]["metadata"]["uid"] == uid, (
        "the Secret was created again"
    )


def test_an_expired_credential_is_refused_and_pulls_recover_with_the_mints(world):
    ecr = world.register_ecr("expired", seconds=20)
    namespace = world.namespace("e2e-expired")
    world.deploy(namespace, "app", [image(ECR_HOST, "web")], [ecr])
    eventually(lambda: world.runs(namespace), what="a first pull")
    world.stack.aws.fault("GetAuthorizationToken", "refuse")
    try:
        token = world.password(ecr)
        eventually(lambda: pull(world, token) != 200, what="its end")
        world.new_pods(namespace)
        eventually(lambda: world.refusals(namespace), what="the kubelet's refusal")
        failed = world.product.regcred("rotate", ecr, check=False)
        assert failed.returncode != 0
        assert "stays in force" in failed.stderr
        assert "regcred.e2e.expired" in world.secrets(namespace), "a failed mint removed the Secret"
    finally:
        world.stack.aws.clear_faults()
        world.stack.aws.set_ecr_token_lifetime(43200)
    world.product.regcred("rotate", ecr)
    eventually(lambda: world.runs(namespace), what="the Pod running again", seconds=120)


def test_a_refused_mint_leaves_the_last_good_credential_everywhere(world):
    ecr = world.register_ecr("kept")
    namespace = world.namespace("e2e-kept")
    world.deploy(namespace, "app", [image(ECR_HOST, "web")], [ecr])
    eventually(lambda: world.runs(namespace), what="a first pull")
    before, data = world.password(ecr), world.secrets(namespace)["regcred.e2e.kept"]["data"]
    world.stack.aws.fault("GetAuthorizationToken", "refuse")
    try:
        failed = world.product.regcred("rotate", ecr, check=False)
        assert failed.returncode == 3, failed.stderr
        assert world.entry(ecr)["state"] == "failing"
        assert world.password(ecr) == before
        time.sleep(3)  # longer than a poll of sync
        assert world.secrets(namespace)["regcred.e2e.kept"]["data"] == data
        world.new_pods(namespace)
        eventually(lambda: world.runs(namespace), what="pulls going on")
    finally:
        world.stack.aws.clear_faults()
    world.product.regcred("rotate", ecr)
    assert world.entry(ecr)["state"] == "ok"


def test_a_removed_registry_leaves_the_clusters(world):
    ecr = world.register_ecr("removed")
    namespace = world.namespace("e2e-removed")
    world.deploy(namespace, "app", [image(ECR_HOST, "web")], [ecr])
    eventually(lambda: "regcred.e2e.removed" in world.secrets(namespace), what="the Secret")
    world.product.regcred("registry", "remove", ecr, "--yes")
    world.product.sweep()
    eventually(lambda: "regcred.e2e.removed" not in world.secrets(namespace), what="the Secret gone")


def test_a_revoked_static_credential_leaves_the_clusters_at_once(world, tmp_path):
    basic = world.register_basic("leaked", tmp_path)
    namespace = world.namespace("e2e-leaked")
    world.deploy(namespace, "app", [image(BASIC_HOST, "tools")], [basic])
    eventually(lambda: world.runs(namespace), what="a first pull")
    world.product.regcred("revoke", basic, "--yes")
    eventually(
        lambda: "regcred.e2e.leaked" not in world.secrets(namespace), what="the Secret gone", seconds=30
    )
    world.new_pods(namespace)
    eventually(lambda: world.refusals(namespace), what="the kubelet's refusal")


def test_a_secret_is_removed_with_its_workload_but_not_while_a_pod_names_it(world):
    ecr = world.register_ecr("gone")
    namespace = world.namespace("e2e-gone")
    world.deploy(namespace, "app", [image(ECR_HOST, "web")], [ecr])
    eventually(lambda: world.runs(namespace), what="a first pull")
    world.kubectl("-n", namespace, "delete", "deployment", "app", "--cascade=orphan")
    world.kubectl("-n", namespace, "delete", "replicaset", "--all", "--cascade=orphan")
    time.sleep(6)  # longer than the grace and a poll: the orphaned Pod still names the Secret
    assert "regcred.e2e.gone" in world.secrets(namespace)
    world.new_pods(namespace)
    # A new process checks at once. A running one checks after half a minute (tests/unit/test_sync_loop.py).
    world.product.start_sync()
    eventually(lambda: "regcred.e2e.gone" not in world.secrets(namespace), what="the Secret gone")


def test_sync_survives_a_restart_of_the_api_server_end_to_end(world):
    ecr = world.register_ecr("restarted")
    namespace = world.namespace("e2e-restarted")
    world.deploy(namespace, "app", [image(ECR_HOST, "web")], [ecr])
    eventually(lambda: "regcred.e2e.restarted" in world.secrets(namespace), what="the Secret")
    world.stack.kubernetes.restart_apiserver(down_for=3)
    world.product.regcred("rotate", ecr)
    version = str(world.entry(ecr)["version"])

    def in_place() -> bool:
        annotations = world.secrets(namespace)["regcred.e2e.restarted"]["metadata"]["annotations"]
        return bool(annotations["regcred.dev/version"] == version)

    eventually(in_place, what="the new version in place")
    world.deploy(namespace, "second", [image(ECR_HOST, "web")], [ecr])
    eventually(
        lambda: len(world.pods(namespace)) == 2 and world.runs(namespace), what="both running", seconds=90
    )


def test_sync_survives_a_sealed_vault_end_to_end(world):
    ecr = world.register_ecr("sealed")
    first, second = world.namespace("e2e-sealed-1"), world.namespace("e2e-sealed-2")
    world.deploy(first, "app", [image(ECR_HOST, "web")], [ecr])
    eventually(lambda: "regcred.e2e.sealed" in world.secrets(first), what="the Secret")
    world.stack.vault.seal()
    try:
        world.deploy(second, "app", [image(ECR_HOST, "web")], [ecr])
        time.sleep(5)  # failed polls must not remove a Secret
        assert "regcred.e2e.sealed" in world.secrets(first)
    finally:
        world.stack.vault.unseal()
    eventually(lambda: world.runs(second), what="the second one running", seconds=120)
    assert world.runs(first)


def pull(world: World, token: str) -> int:
    """The status with which the registry answers a pull with an ECR token."""
    return manifest_status(world.stack, f"{ECR_HOST}/e2e/web:1", "AWS", token)
