"""The command line as a process, on OpenBao with the platform's policies and a Kubernetes API server."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fakes.collector import collecting
from pydantic import SecretStr

from realparts.kubernetes import Kubernetes
from realparts.stack import Stack
from realparts.waiting import eventually
from regcred.cluster.dockerconfig import secret_body
from regcred.credential import Credential, Login
from regcred.registry_reference import Reference
from regcred.vault.http import Server
from regcred.vault.kv2 import connect
from regcred.vault.login import TokenLogin
from regcred.vault.records.credential import CredentialRecord
from regcred.vault.records.index import IndexEntry, State
from regcred.vault.store import Store

pytestmark = pytest.mark.real

PASSWORD = f"upstream-{uuid.uuid4().hex}"
UPSTREAM = json.dumps({"username": "puller", "password": PASSWORD})


@dataclass
class Person:
    """A user at a shell, with a Vault token, a home folder and environment variables.

    The output of each command is appended to a log.
    """

    stack: Stack
    token: str
    home: Path
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "VAULT_ADDR": self.stack.vault.addr,
            "VAULT_TOKEN": self.token,
            **self.variables,
        }

    def __call__(self, line: str, *, stdin: str = "", code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command(line),
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        with (self.stack.logs_dir / "cli.log").open("a") as log:
            log.write(f"regcred {line}\n{done.stdout}{done.stderr}")
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        assert PASSWORD not in done.stdout + done.stderr
        return done


def command(line: str) -> list[str]:
    return [sys.executable, "-m", "regcred.cli", *line.split()]


@pytest.fixture(scope="module")
def project(vault_stack: Stack, tmp_path_factory) -> str:
    """A project that an operator has set up for this file."""
    name = f"p-{uuid.uuid4().hex[:8]}"
    operator = Person(vault_stack, vault_stack.vault.root_token, tmp_path_factory.mktemp("operator"))
    vault_stack.remember_secret(PASSWORD)
    operator("platform apply")
    operator(f"project add {name} --host registry.example.com --cluster local")
    return name


@pytest.fixture
def person(vault_stack: Stack, tmp_path: Path):
    def with_policies(*policies: str, **variables: str) -> Person:
        body = {"policies": list(policies), "ttl": "10m", "display_name": "ann"}
        token = vault_stack.vault.call("POST", "auth/token/create", body)["auth"]["client_token"]
        return Person(vault_stack, token, tmp_path, variables)

    return with_policies


@pytest.fixture
def admin(person, project) -> Person:
    return person(f"regcred-admins-{project}", "default")


@pytest.fixture
def root(vault_stack: Stack, tmp_path: Path) -> Person:
    return Person(vault_stack, vault_stack.vault.root_token, tmp_path)


@pytest.fixture
def store(vault_stack: Stack) -> Store:
    token = SecretStr(vault_stack.vault.root_token)
    return Store(connect(Server(vault_stack.vault.addr), TokenLogin(lambda: token)))


@pytest.fixture
def definition(tmp_path: Path) -> Path:
    path = tmp_path / "registry.yaml"
    path.write_text("provider: basic\nhosts: [registry.example.com]\n")
    return path


def name() -> str:
    return f"r-{uuid.uuid4().hex[:8]}"


def test_a_project_admin_registers_a_registry_and_cannot_read_its_secret(admin, project, definition, store):
    reference = Reference(project, name())
    admin(f"registry add {reference} -f {definition} --secret-file - --no-wait", stdin=UPSTREAM)
    shown = json.loads(admin(f"registry show {reference} -o json").stdout)
    assert shown["upstream_secret"] is True
    assert store.upstream(reference).value.fields["password"].get_secret_value() == PASSWORD
    with pytest.raises(Exception, match="403"):
        admin.stack.vault.call("GET", f"regcred/data/upstream/{reference}", token=admin.token)
    rows = admin(f"status {project}").stdout.splitlines()
    assert any(str(reference) in row and "pending" in row for row in rows)
    admin(f"registry remove {reference} --yes")
    admin(f"registry show {reference}", code=4)


def test_a_project_admin_may_not_change_another_project(admin, definition):
    done = admin(
        f"registry add other/{name()} -f {definition} --secret-file - --no-wait", stdin=UPSTREAM, code=3
    )
    assert done.stderr.startswith("regcred: ")
    assert len(done.stderr.splitlines()) == 1


def test_a_project_admin_must_name_the_project(admin):
    done = admin("status", code=3)
    assert "regcred status PROJECT" in done.stderr


def test_a_platform_admin_grants_and_a_project_admin_may_not(person, admin, project):
    platform_admin = person("regcred-platform-admin", "default")
    platform_admin(f"grant add --cluster local {project} shop")
    granted = json.loads(platform_admin("grant list --cluster local -o json").stdout)
    assert granted["clusters"]["local"]["grants"][project] == ["shop"]
    admin(f"grant add --cluster local {project} mine", code=3)
    platform_admin(f"grant remove --cluster local {project} --yes")


def test_a_rotation_is_requested_awaited_and_reported(admin, root, project, definition, store):
    """While a project admin waits, root runs rotate by `--local`, in place of the function.

    The host of the registry does not exist, which the definition allows. So the credential stays unverified.
    """
    reference = Reference(project, name())
    options = "--secret-file - --no-wait --allow-unverified"
    admin(f"registry add {reference} -f {definition} {options}", stdin=UPSTREAM)
    waiting = subprocess.Popen(
        command(f"rotate {reference} --timeout 50"),
        env=admin.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(1.5)
    root(f"rotate {reference} --local")
    out, err = waiting.communicate(timeout=60)
    assert waiting.returncode == 0, err
    assert f"{reference}: unverified, version 1" in out
    assert store.index(project).value.registries[reference.registry].state is State.OK
    row = next(line for line in admin(f"status {reference}").stdout.splitlines() if str(reference) in line)
    assert row.split()[1:4] == ["unverified", "never", "1"]


def test_a_first_credential_of_a_host_that_does_not_exist_fails(root, project, definition, store):
    reference = Reference(project, name())
    root(f"registry add {reference} -f {definition} --secret-file - --no-wait", stdin=UPSTREAM)
    done = root(f"rotate {reference} --local", code=1)
    assert "could not be verified, so it is not used" in done.stderr
    assert store.credential(reference) is None


def test_a_failed_rotation_ends_with_the_reason(root, project, store, tmp_path):
    reference = Reference(project, name())
    file = tmp_path / "not-allowed.yaml"
    file.write_text("provider: basic\nhosts: [registry.example.com]\n")
    root(f"registry add {reference} -f {file} --secret-file - --no-wait", stdin=UPSTREAM)
    store.change_project(project, lambda policy: policy.model_copy(update={"hosts": []}))
    try:
        done = root(f"rotate {reference} --local", code=3)
    finally:
        store.change_project(
            project, lambda policy: policy.model_copy(update={"hosts": ["registry.example.com"]})
        )
    assert "registry.example.com is not allowed for this project" in done.stderr


def test_at_a_terminal_the_command_asks_and_hides_the_secret(admin, project, store):
    reference = Reference(project, name())
    answers = ["basic", "registry.example.com", "n", "puller", PASSWORD]
    shown, code = at_a_terminal(admin, f"registry add {reference} --no-wait", answers)
    assert code == 0, shown
    assert PASSWORD not in shown
    assert store.upstream(reference).value.fields["password"].get_secret_value() == PASSWORD


def test_at_a_terminal_the_answer_no_changes_nothing(admin, project, definition):
    reference = Reference(project, name())
    admin(f"registry add {reference} -f {definition} --secret-file - --no-wait", stdin=UPSTREAM)
    shown, code = at_a_terminal(admin, f"registry remove {reference}", ["n"])
    assert (code, "nothing was done" in shown) == (1, True)
    admin(f"registry show {reference}")


def test_ctrl_c_during_a_wait_ends_with_one_line(admin, project, definition):
    reference = Reference(project, name())
    admin(f"registry add {reference} -f {definition} --secret-file - --no-wait", stdin=UPSTREAM)
    shown, code = at_a_terminal(admin, f"rotate {reference}", [], interrupt_at="waiting for the outcome")
    assert code == 130
    assert "regcred: interrupted" in shown
    assert "Traceback" not in shown


def at_a_terminal(
    person: Person, line: str, answers: list[str], *, interrupt_at: str = ""
) -> tuple[str, int]:
    """Run a command on a terminal, and type the answers one after the other.

    Args:
        interrupt_at: The text after which Ctrl-C is typed.

    Returns:
        The output and the exit code.
    """
    process, terminal = pty.fork()
    if process == 0:
        os.execve(sys.executable, command(line), {**person.environment, "TERM": "xterm", "COLUMNS": "120"})
    shown, left = b"", list(answers)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        ready, _, _ = select.select([terminal], [], [], 0.6)
        if ready:
            try:
                chunk = os.read(terminal, 65536)
            except OSError:
                break
            if not chunk:
                break
            shown += chunk
            if interrupt_at and interrupt_at.encode() in shown:
                os.write(terminal, b"\x03")
                interrupt_at = ""
        elif left:
            os.write(terminal, f"{left.pop(0)}\n".encode())
    _, status = os.waitpid(process, 0)
    os.close(terminal)
    return shown.decode(), os.waitstatus_to_exitcode(status)


@pytest.mark.parametrize(
    ("variables", "code", "message"),
    [
        ({"VAULT_TOKEN": "s.unknown"}, 3, "permission denied"),
        ({"VAULT_ADDR": "http://127.0.0.1:9"}, 5, "http://127.0.0.1:9"),
        ({"REGCRED_VAULT_MOUNT": "nowhere"}, 3, "no such mount"),
        ({"VAULT_NAMESPACE": "nowhere"}, 3, "namespace"),
    ],
)
def test_each_problem_with_vault_is_an_error_of_one_line(root, vault_stack, variables, code, message):
    if vault_stack.vault.is_hashicorp and "VAULT_NAMESPACE" in variables:
        pytest.skip("HashiCorp Vault Community Edition has no namespaces, and ignores them in requests")
    root.variables = variables
    done = root("status", code=code)
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_sealed_vault_exits_with_the_code_for_a_transient_error(root, vault_stack):
    vault_stack.vault.seal()
    try:
        assert "sealed" in root("status", code=5).stderr
    finally:
        vault_stack.vault.unseal()


def test_the_token_of_vault_login_is_used(root):
    (root.home / ".vault-token").write_text(root.token)
    root.variables = {"VAULT_TOKEN": ""}
    root("project list")


def test_platform_check_finds_a_missing_policy_and_doctor_repairs_it(root):
    project = f"p-{uuid.uuid4().hex[:8]}"
    root("platform apply")
    root(f"project add {project} --host registry.example.com")
    root(f"project add {project} --cluster c-9")
    assert missing(root) == []
    found = json.loads(root(f"doctor {project} -o json").stdout)["findings"]
    texts = [finding["text"] for finding in found if finding["about"] == "platform"]
    # Other tests may have set up objects that the shipped declaration does not contain.
    assert all(text == "Vault matches the declaration" or "not declared" in text for text in texts), texts
    root.stack.vault.call("DELETE", f"sys/policies/acl/regcred-readers-{project}")
    assert missing(root) == [f"regcred-readers-{project}"]
    root("platform check", code=1)
    root(f"doctor {project} --repair")
    assert missing(root) == []


def missing(person: Person) -> list[str]:
    """The declared objects that Vault lacks. Objects of other tests don't count."""
    actions = json.loads(person("platform plan -o json").stdout)["actions"]
    return [action["name"] for action in actions if action["verb"] != "delete"]


@dataclass
class Shop:
    """A namespace with an annotated Pod. It has no scheduler, so that a test can set its status."""

    kubernetes: Kubernetes
    namespace: str
    reference: Reference

    def pod(self, *, reason: str = "", message: str = "") -> None:
        state = {"waiting": {"reason": reason, "message": message}} if reason else {"running": {}}
        status = {
            "name": "app",
            "image": "x",
            "ready": False,
            "restartCount": 0,
            "state": state,
            "imageID": "",
        }
        body = {"status": {"containerStatuses": [status]}}
        path = f"/api/v1/namespaces/{self.namespace}/pods/shop/status"
        self.kubernetes.request("PATCH", path, body, content_type="application/merge-patch+json")


@pytest.fixture
def shop(kubernetes_stack: Stack, project, store) -> Iterator[Shop]:
    kubernetes = kubernetes_stack.kubernetes
    reference = Reference(project, name())
    credential = Credential(
        "basic", (Login("puller", SecretStr(PASSWORD), ("registry.example.com",)),), datetime.now(UTC)
    )
    for _ in range(3):
        record = CredentialRecord.of(credential, reference=reference, fingerprint=uuid.uuid4().hex[:16])
        store.write_credential(reference, record, cas=store.credential_version(reference))
    store.merge_index(
        project,
        {
            reference.registry: IndexEntry(
                state=State.OK,
                version=3,
                hosts=["registry.example.com"],
                expires_at=datetime.now(UTC) + timedelta(hours=6),
                changed_at=datetime.now(UTC),
            )
        },
    )
    namespace = f"shop-{uuid.uuid4().hex[:8]}"
    kubernetes.request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    account = f"/api/v1/namespaces/{namespace}/serviceaccounts/default"
    eventually(lambda: kubernetes.get(account).ok, what="a default ServiceAccount")
    pod = {
        "metadata": {"name": "shop", "annotations": {"registry.regcred.dev/main": str(reference)}},
        "spec": {
            "schedulerName": "nobody",
            "containers": [{"name": "app", "image": "registry.example.com/shop:1"}],
        },
    }
    kubernetes.request("POST", f"/api/v1/namespaces/{namespace}/pods", pod)
    yield Shop(kubernetes, namespace, reference)
    kubernetes.kubectl("delete", "namespace", namespace, "--timeout=60s", "--force", "--grace-period=0")


def test_explain_shows_how_to_grant_a_namespace(root, shop):
    root.variables = {"KUBECONFIG": str(shop.kubernetes.kubeconfig)}
    shop.pod(reason="ErrImagePull", message="401 Unauthorized")
    text = root(f"explain pod {shop.namespace}/shop").stdout
    assert f"regcred grant add --cluster local {shop.reference.project} {shop.namespace}" in text
    assert "ErrImagePull: 401 Unauthorized" in text


def test_explain_finds_a_secret_that_the_pod_does_not_name(root, shop, store):
    root.variables = {"KUBECONFIG": str(shop.kubernetes.kubeconfig)}
    root(f"grant add --cluster local {shop.reference.project} {shop.namespace}")
    body = secret_body(
        shop.reference, SecretStr(f'{{"auths":{{"x":"{PASSWORD}"}}}}'), version=3, expires_at=None
    )
    shop.kubernetes.apply(
        json.loads(body.content)
        | {"metadata": json.loads(body.content)["metadata"] | {"namespace": shop.namespace}}
    )
    found = json.loads(root(f"explain pod shop -n {shop.namespace} -o json").stdout)
    (image,) = found["images"]
    assert image["registry"] == str(shop.reference)
    assert "in the namespace, version 3, but the Pod does not name it" in str(image["checks"])
    assert "replace the Pod" in image["todo"]


def test_a_dry_run_of_sync_shows_its_plan_and_a_run_places_the_secret(root, shop, store):
    root.variables = {"KUBECONFIG": str(shop.kubernetes.kubeconfig)}
    root(f"grant add --cluster local {shop.reference.project} {shop.namespace}")
    line = f"create  {shop.namespace}/{shop.reference.secret_name} (version 3)"
    assert line in root("sync --cluster local --dry-run").stdout
    secret = f"/api/v1/namespaces/{shop.namespace}/secrets/{shop.reference.secret_name}"
    assert shop.kubernetes.get(secret).status_code == 404
    root("sync --cluster local --once")
    assert shop.kubernetes.get(secret).ok
    row = next(row for row in root("status").stdout.splitlines() if str(shop.reference) in row)
    assert "local: 1 namespace" in row


def test_one_trace_shows_a_rotation_from_the_request_to_the_secret(root, shop, definition):
    options = "--secret-file - --no-wait --allow-unverified"
    root(f"registry add {shop.reference} -f {definition} {options}", stdin=UPSTREAM)
    root(f"grant add --cluster local {shop.reference.project} {shop.namespace}")
    with collecting() as collector:
        root.variables = {
            "KUBECONFIG": str(shop.kubernetes.kubeconfig),
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.address,
        }
        root(f"rotate {shop.reference} --local")
        root("sync --cluster local --once")
    ours = {"regcred.project": shop.reference.project, "regcred.registry": shop.reference.registry}
    spans = [span for span in collector.spans() if span.trace == collector.named("request").trace]
    steps = {span.name: span for span in spans}
    assert set(steps) == {
        "request",
        "rotate",
        "call vendor",
        "verify",
        "write credential",
        "write index",
        "sync",
    }
    assert steps["rotate"].parent == steps["request"].id
    assert steps["sync"].parent == steps["rotate"].id
    assert steps["sync"].attributes == {
        **ours,
        "regcred.cluster": "local",
        "regcred.namespace": shop.namespace,
        "regcred.outcome": "create",
    }
    assert PASSWORD.encode() not in b"".join(collector.bodies)


def test_sync_as_a_loop_places_a_granted_secret_and_ends_on_ctrl_c(root, shop):
    root.variables = {"KUBECONFIG": str(shop.kubernetes.kubeconfig), "REGCRED_METRICS_PORT": "0"}
    loop = subprocess.Popen(
        command("sync --cluster local"), env=root.environment, stderr=subprocess.PIPE, text=True
    )
    try:
        root(f"grant add --cluster local {shop.reference.project} {shop.namespace}")
        secret = f"/api/v1/namespaces/{shop.namespace}/secrets/{shop.reference.secret_name}"
        eventually(lambda: shop.kubernetes.get(secret).ok, what="the Secret")
        loop.send_signal(signal.SIGINT)
        _, err = loop.communicate(timeout=20)
    finally:
        loop.kill()
    assert loop.returncode == 0, err
    assert "Traceback" not in err
    assert PASSWORD not in err


def test_explain_without_rights_in_the_cluster_is_an_error_of_one_line(root, shop):
    nobody = shop.kubernetes.kubeconfig_for("nobody")
    root.variables = {"KUBECONFIG": str(nobody)}
    done = root(f"explain pod {shop.namespace}/shop", code=3)
    assert done.stderr.startswith("regcred: ")
    assert len(done.stderr.splitlines()) == 1


def test_the_error_of_explain_without_a_kubeconfig_names_the_variable(root):
    root.variables = {"KUBECONFIG": "/nowhere"}
    assert "KUBECONFIG" in root("explain pod a/b", code=2).stderr
