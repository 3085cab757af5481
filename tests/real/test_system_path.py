"""The whole path with the system registry: push, register, annotate, pull by the kubelet, revoke, refusal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from nodes import need_node
from real.systemregistry import SystemRegistry
from real.wholepath import World

from realparts.build import binary
from realparts.images import archive_of_pause
from realparts.product import NAMESPACE, Product
from realparts.pulling import manifest_status
from realparts.stack import Stack
from realparts.system_registry import HOST, TOKEN_HOST
from realparts.waiting import eventually
from regcred.vault.platform.system import SystemPlatform

pytestmark = [pytest.mark.real, pytest.mark.node, pytest.mark.timeout(600)]

PROJECT = "trial"
IMAGE = f"{HOST}/{PROJECT}/web:1"
REFERENCE = f"{PROJECT}/main"
OLD_HOST = "old.system.example.com"


@pytest.fixture(scope="module")
def world(stack: Stack) -> Iterator[World]:
    need_node(stack)
    stack.up(["vault", "kubernetes", "aws", "registry", "lambda", "node", "system"])
    stack.start_functions()
    product = Product(stack, instance="sync-system")
    world = World(product, stack)
    eventually(
        lambda: "Terminating" not in world.kubectl("get", "ns"), what="an earlier release gone", seconds=120
    )
    hosts = ("--host", HOST, "--host", TOKEN_HOST, "--host", OLD_HOST)
    role = stack.project_role(PROJECT)
    product.regcred("project", "add", PROJECT, *hosts, "--cluster", "local", "--role-arn", role)
    product.install_chart()
    product.start_sync()
    yield world
    product.stop_sync()
    stack.stop_functions()
    world.kubectl("delete", "namespace", *world.namespaces, "--ignore-not-found", "--wait=false")
    product.helm("uninstall", "regcred", "--ignore-not-found")
    world.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found")


def run(*command: str | Path, env: dict[str, str]) -> str:
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def push(stack: Stack, folder: Path) -> None:
    """Sign in with a Vault token, and push by crane with the credential helper, as a developer does."""
    env = {
        **os.environ,
        **stack.environment(),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(folder),
        "DOCKER_CONFIG": str(folder),
        "VAULT_TOKEN": stack.system.person("dana", f"regcred-admins-{PROJECT}"),
    }
    archive = archive_of_pause(folder / "image.tar", note=IMAGE)
    run("regcred", "system", "login", env=env)
    run(binary("crane"), "append", "--oci-empty-base", "-f", archive, "-t", IMAGE, env=env)
    run(binary("crane"), "mutate", IMAGE, "-t", IMAGE, "--entrypoint=/pause", env=env)


def test_a_pushed_image_is_pulled_by_the_kubelet_until_its_login_is_revoked(
    world: World, tmp_path: Path
) -> None:
    push(world.stack, tmp_path)
    definition = {
        "provider": "system",
        "host": HOST,
        "token_host": TOKEN_HOST,
        "repositories": [f"{PROJECT}/"],
        "probe": f"{PROJECT}/web:1",
    }
    world.product.regcred("registry", "add", REFERENCE, "-f", "-", stdin=json.dumps(definition))
    assert world.entry(REFERENCE)["verified"] == "yes"
    namespace, stranger = (world.namespace(f"trial-{name}", granted=False) for name in ("web", "stranger"))
    world.product.regcred("grant", "add", "--cluster", "local", PROJECT, namespace)
    for name in (namespace, stranger):
        world.deploy(name, "web", [IMAGE], [REFERENCE])
    eventually(lambda: world.runs(namespace), what="the Pod running", seconds=120)
    eventually(lambda: world.refusals(stranger), what="the refusal without a grant", seconds=60)
    assert set(world.secrets(namespace)) == {"regcred.trial.main"}
    user, password = "project-trial", world.password(REFERENCE)
    assert manifest_status(world.stack, IMAGE, user, password) == 200
    world.product.regcred("revoke", REFERENCE, "--yes")
    assert manifest_status(world.stack, IMAGE, user, password) == 401
    world.new_pods(namespace)
    (message,) = eventually(lambda: world.refusals(namespace), what="the kubelet's refusal", seconds=60)
    assert IMAGE in message
    eventually(lambda: not world.secrets(namespace), what="the Secret gone", seconds=60)


@pytest.fixture
def old(world: World, tmp_path: Path) -> Iterator[SystemRegistry]:
    """Debian's Distribution 2.8. It does not support JWK sets, so tokens contain a certificate."""
    stack = world.stack
    world.product.regcred("system", "init", "--key-header", "x5c")
    registry = SystemRegistry(
        stack.vault,
        stack.processes,
        tmp_path,
        stack.internet,
        header="x5c",
        version="2.8",
        token_port=int(stack.system.token_address.rpartition(":")[2]),
        realm=f"https://{TOKEN_HOST}",
    )
    assert registry.registry("old") == OLD_HOST
    yield registry
    stack.processes.stop("registry-old")
    world.product.regcred("system", "init", "--key-header", "kid")


def test_the_kubelet_pulls_from_distribution_2_8_until_the_login_is_revoked(
    world: World, old: SystemRegistry, tmp_path: Path
) -> None:
    stack, image, reference = world.stack, f"{OLD_HOST}/{PROJECT}/web:1", f"{PROJECT}/old"
    person = old.client(stack.system.person("dana", f"regcred-admins-{PROJECT}"))
    login = old.login(SystemPlatform(person).identity_token().get_secret_value())
    archive = archive_of_pause(tmp_path / "image.tar", note=image)
    append = ("append", "--oci-empty-base", "-f", str(archive), "-t", image)
    # The token server keeps its settings for some seconds.
    eventually(lambda: old.crane(login, *append).returncode == 0, what="the push", seconds=60)
    assert old.crane(login, "mutate", image, "-t", image, "--entrypoint=/pause").returncode == 0
    definition = {
        "provider": "system",
        "host": OLD_HOST,
        "token_host": TOKEN_HOST,
        "repositories": [f"{PROJECT}/"],
        "probe": f"{PROJECT}/web:1",
    }
    world.product.regcred("registry", "add", reference, "-f", "-", stdin=json.dumps(definition))
    assert world.entry(reference)["verified"] == "yes"
    namespace = world.namespace("trial-old", granted=False)
    world.product.regcred("grant", "add", "--cluster", "local", PROJECT, namespace)
    world.deploy(namespace, "web", [image], [reference])
    eventually(lambda: world.runs(namespace), what="the Pod running", seconds=120)
    world.product.regcred("revoke", reference, "--yes")
    world.new_pods(namespace)
    eventually(lambda: world.refusals(namespace), what="the kubelet's refusal", seconds=60)
