"""Run the commands of the guides on the local parts, as a reader does.

A comment above each block names this file. Lines that need an AWS account don't run here.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import yaml
from documents import ROOT, blocks, marked
from real.controlplane import Cluster, create_pull_secret, workload

from demo.manifests import deployment
from realparts.aws import ACCOUNT, REGION
from realparts.debian import install
from realparts.internet import python_environment
from realparts.kubernetes import Kubernetes
from realparts.stack import Stack
from realparts.vault import bao, temporary_vault

HOST = "registry.example.com"
NOT_HERE = ("aws ", "sam ", "helm ", "export ", "vault login")
"""Lines that need an AWS account or the reader's own sign-in, and those that test_chart_install.py covers."""

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]


class Reader:
    """A reader who types the commands of a page in their own folder.

    Args:
        stack: The local parts.
        folder: The reader's folder; the programs of the pages are put into its `bin`.
        project: The name to type instead of `payments`.
    """

    def __init__(self, stack: Stack, folder: Path, project: str = "payments") -> None:
        self.stack = stack
        self.folder = folder
        self.project = project
        self.variables: dict[str, str] = {}
        programs = folder / "bin"
        programs.mkdir()
        (programs / "vault").symlink_to(bao())
        self._path = f"{programs}:{stack.directory / 'bin'}:{Path(sys.executable).parent}"

    def type(self, command: str, *, stdin: str = "", codes: Sequence[int] = (0,)) -> str:
        """Run one command, with the reader's names in place of the page's, and return its output."""
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", self._own(command)],
            cwd=self.folder,
            env=python_environment()
            | self.stack.environment()
            | {"PATH": f"{self._path}:{os.environ['PATH']}", "HOME": str(self.folder)}
            | self.variables,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
        )
        assert done.returncode in codes, f"{command}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stdout

    def _own(self, command: str) -> str:
        named = re.sub(r"\bpayments\b", self.project, command)
        return named.replace("eu-central-1", REGION).replace("--cluster c1", "--cluster local")


def commands(page: str) -> list[str]:
    """The commands of the page's blocks that this file runs."""
    lines = [line for block in marked(page, __file__.rpartition("/")[2]) for line in block.commands()]
    return [line.strip() for line in lines if not line.startswith(NOT_HERE)]


@pytest.fixture(scope="module")
def guides(stack: Stack) -> Iterator[Stack]:
    """All parts but the node, with the functions."""
    stack.up(["vault", "kubernetes", "aws", "registry", "lambda"])
    running = stack.processes.pid("lambda-rotate")
    stack.start_functions()
    yield stack
    if not running:
        stack.stop_functions()


@pytest.fixture
def reader(guides: Stack, tmp_path: Path) -> Reader:
    """A reader with a project of their own."""
    return Reader(guides, tmp_path, f"guide-{uuid.uuid4().hex[:8]}")


@pytest.fixture
def namespace(guides: Stack) -> Iterator[Callable[[str], str]]:
    """Creates namespaces with the names in a page. They are deleted after the test."""
    kubernetes = guides.kubernetes
    made: list[str] = []

    def make(name: str) -> str:
        kubernetes.kubectl("create", "namespace", name)
        made.append(name)
        return name

    yield make
    kubernetes.kubectl("delete", "namespace", *made, "--ignore-not-found", "--wait=true")


def deploy_shop(kubernetes: Kubernetes, namespace: str) -> None:
    """Make the Deployment `shop` that the pages annotate."""
    shop = workload("Deployment", namespace, "shop")
    shop["spec"]["replicas"] = 0
    kubernetes.apply(shop)


def make_login(reader: Reader, user: str) -> str:
    """Add a user who may pull `team/app` to the registry, and return the content of `--secret-file`."""
    reader.stack.push_image("team/app")
    password = reader.stack.registry.add_user(user, pull=["team/*"], hosts=[HOST])
    return json.dumps({"username": user, "password": password})


def register_main(reader: Reader) -> None:
    """Add the reader's project and the registry `main`, which most pages begin with."""
    reader.type(f"regcred project add payments --host {HOST} --cluster c1")
    write_definition(reader, "main")
    login = make_login(reader, f"{reader.project}-main")
    reader.type("regcred registry add payments/main -f main.yaml --secret-file -", stdin=login)


def write_definition(reader: Reader, name: str) -> None:
    definition = f"provider: basic\nhosts: [{HOST}]\nprobe: team/app:1\n"
    (reader.folder / f"{name}.yaml").write_text(definition)


def test_the_guide_to_the_first_pull_ends_with_an_annotated_workload(
    guides: Stack, tmp_path: Path, namespace: Callable[[str], str]
) -> None:
    guides.push_image("payments/shop", tag="1.0")
    guides.aws.add_role(
        f"arn:aws:iam::{ACCOUNT}:role/regcred/regcred-payments",
        trusted=guides.lambda_.role("rotate"),
        external_id="payments",
        tags={"project": "payments"},
    )
    deploy_shop(guides.kubernetes, namespace("payments-prod"))
    reader = Reader(guides, tmp_path)
    typed = commands("docs/deploy.md")
    for command in typed:
        shown = reader.type(command)
    assert [command.split()[1] for command in typed] == [
        *("platform", "platform", "project", ">", "registry", "grant", "annotation", "-n", "-n", "status")
    ]
    assert "payments/ecr-prod" in shown
    shop = json.loads(reader.type("kubectl -n payments-prod get deployment/shop -o json"))
    assert shop["metadata"]["annotations"]["registry.regcred.dev/images"] == "payments/ecr-prod"


def test_the_commands_about_vault_set_it_up_and_add_a_group_to_a_project(reader: Reader) -> None:
    reader.type("regcred project add payments")
    group = reader.stack.vault.call("POST", "identity/group", {"type": "external", "name": reader.project})
    for command in commands("docs/vault.md"):
        reader.type(command.replace("<id of your external group>", group["data"]["id"]))
    admins = reader.stack.vault.call("GET", f"identity/group/name/regcred-admins-{reader.project}")
    assert admins["data"]["member_group_ids"] == [group["data"]["id"]]


def test_the_first_steps_of_the_command_line_explain_a_workload(
    reader: Reader, namespace: Callable[[str], str]
) -> None:
    deploy_shop(reader.stack.kubernetes, namespace("payments-prod".replace("payments", reader.project)))
    for command in commands("docs/cli.md"):
        if command.startswith("regcred registry add payments/main"):
            write_definition(reader, "main")
            login = make_login(reader, f"{reader.project}-main")
            reader.type(f"{command} -f main.yaml --secret-file -", stdin=login)
        elif command.startswith("vault kv get"):
            login = make_login(reader, f"{reader.project}-nexus")
            reader.type("vault secrets enable -path=ci kv-v2")
            reader.type("vault kv put ci/nexus -", stdin=login)
            write_definition(reader, "nexus")
            reader.type(command)
        elif command.startswith("eval"):
            assert "regcred" in reader.type(f"{command}; complete -p regcred")
        else:
            reader.type(command)
    reader.type("vault secrets disable ci")
    shown = reader.type("regcred status payments")
    assert "main" in shown
    assert "nexus" in shown


def test_sync_runs_dry_once_and_as_a_loop(reader: Reader, cluster: Cluster) -> None:
    dry, once, loop = commands("docs/sync.md")
    reader.variables = {"REGCRED_METRICS_PORT": "0"}
    reader.type(dry)
    reader.type(once)
    reader.type(f"timeout --signal=TERM 10 {loop}", codes=(0, 124))


def test_a_fleet_is_exported_compared_and_applied(guides: Stack, tmp_path: Path) -> None:
    reader = Reader(guides, tmp_path)
    with temporary_vault() as vault:
        reader.variables = {"VAULT_ADDR": vault.addr, "VAULT_TOKEN": vault.root_token}
        reader.variables["REGCRED_PLATFORM"] = str(ROOT / "infra" / "vault")
        reader.type("regcred platform apply")
        reader.type(f"regcred project add payments --host {HOST}")
        export, diff, apply = commands("docs/fleet.md")[:3]
        reader.type(export)
        reader.type(diff, codes=(0, 6))
        reader.type(f"{apply} --yes")
        reader.type(diff)


def test_the_policy_of_the_exporter_gives_all_metrics_and_no_secret(reader: Reader) -> None:
    register_main(reader)
    (text,) = [block.text for block in blocks() if block.page == "docs/alarms.md" and block.language == "hcl"]
    (reader.folder / "fleet-metrics.hcl").write_text(text)
    write, export = commands("docs/alarms.md")
    everything = reader.type(export)
    lines = [line for line in everything.splitlines() if f'project="{reader.project}"' in line]
    assert any('state="ok"' in line and line.endswith(" 1.0") for line in lines)
    try:
        reader.type(write.replace("fleet-metrics ", f"{reader.project} "))
        token = reader.type(f"vault token create -no-default-policy -policy={reader.project} -field=token")
        reader.variables = {"VAULT_TOKEN": token.strip(), "BAO_TOKEN": token.strip()}
        assert set(lines) <= set(reader.type(export).splitlines())
        reader.type("vault kv get -mount=regcred credentials/payments/main", codes=(2,))
    finally:
        reader.variables = {}
        reader.type(f"vault policy delete {reader.project}")


def test_after_the_removal_nothing_of_regcred_is_in_vault(guides: Stack, tmp_path: Path) -> None:
    install("jq")
    declaration = yaml.safe_load((ROOT / "infra" / "vault" / "platform.yaml").read_text())
    trust = {"public_keys": [guides.kubernetes.service_account_public_key]}
    (tmp_path / "platform.yaml").write_text(yaml.safe_dump(declaration | {"clusters": {"local": trust}}))
    reader = Reader(guides, tmp_path)
    with temporary_vault() as vault:
        for server in ("VAULT", "BAO"):
            reader.variables |= {f"{server}_ADDR": vault.addr, f"{server}_TOKEN": vault.root_token}
        reader.type("regcred platform apply --dir .")
        reader.type("regcred project add payments --cluster c1")
        kinds = ("auth list", "policy list", "secrets list", "list identity/group/name")
        kinds += ("list identity/entity/name", "list sys/quotas/rate-limit")
        for kind in kinds:
            assert "regcred" in reader.type(f"vault {kind}"), kind
        for block in marked("docs/disasters.md", "test_guides.py"):
            reader.type(block.text)
        for kind in kinds:
            assert "regcred" not in reader.type(f"vault {kind}", codes=(0, 2)), kind


def test_a_migration_writes_the_files_that_replace_old_secrets(
    reader: Reader, cluster: Cluster, tmp_path: Path
) -> None:
    space = cluster.namespace()
    create_pull_secret(
        cluster.kubernetes, space, "old", server=HOST, username="robot", password="old-password"
    )
    cluster.patch("ServiceAccount", space, "default", {"imagePullSecrets": [{"name": "old"}]})
    deploy_shop(cluster.kubernetes, space)
    (migrate,) = commands("docs/fleet.md")[3:]
    reader.type(migrate)
    assert f"-n {space}" in (tmp_path / "fleet" / "annotate.sh").read_text()


def test_skopeo_and_podman_use_the_credential_in_vault(reader: Reader, short_path: str) -> None:
    for program in ("skopeo", "podman", "jq"):
        install(program)
    register_main(reader)
    reader.variables = {"XDG_RUNTIME_DIR": short_path, "REGISTRY_AUTH_FILE": f"{short_path}/podman.json"}
    skopeo_login, inspect, podman_login = commands("docs/consuming.md")
    reader.type(skopeo_login)
    assert json.loads(reader.type(inspect))["Name"] == f"{HOST}/team/app"
    assert "Login Succeeded" in reader.type(podman_login)


def test_an_annotated_namespace_is_granted_for_a_tool_that_reads_the_secret_by_name(
    reader: Reader, namespace: Callable[[str], str]
) -> None:
    register_main(reader)
    namespace("flux-system")
    for command in commands("docs/recipes.md"):
        reader.type(command)


def test_the_lines_after_the_demo_show_the_state_of_the_workload(
    guides: Stack, tmp_path: Path, namespace: Callable[[str], str]
) -> None:
    namespace("shop")
    reader = Reader(guides, tmp_path)
    manifests = tmp_path / ".local" / "demo"
    manifests.mkdir(parents=True)
    (manifests / "shop.yaml").write_text(deployment("shop"))
    (tmp_path / ".local" / "env.sh").symlink_to(guides.directory.absolute() / "env.sh")
    source, *rest = commands("docs/start.md")
    for command in rest:
        reader.type(f"{source}; {command}")


def test_a_system_registry_is_set_up_and_its_key_is_rotated(guides: Stack, tmp_path: Path) -> None:
    declaration = yaml.safe_load((ROOT / "infra" / "vault" / "platform.yaml").read_text())
    keys = [guides.kubernetes.service_account_public_key]
    issuer = guides.kubernetes.service_account_issuer
    trust = {"issuer": issuer, "public_keys": keys, "token_service_account": "regcred-token"}
    (tmp_path / "platform.yaml").write_text(
        yaml.safe_dump(declaration | {"system_registry": True, "clusters": {"local": trust}})
    )
    reader = Reader(guides, tmp_path)
    with temporary_vault() as vault:
        reader.variables = {"VAULT_ADDR": vault.addr, "VAULT_TOKEN": vault.root_token}
        reader.variables["REGCRED_PLATFORM"] = "."
        reader.type("regcred platform apply")
        init, keys_to_file, rotate, show, retire = commands("docs/system-registry.md")
        reader.type(init.replace("https://<uuid>.tokens.sts.global.api.aws", "https://issuer.example.com"))
        reader.type(keys_to_file)
        reader.type(rotate)
        published = [
            {key["kid"] for key in json.loads(text)["keys"]}
            for text in ((tmp_path / "jwks.json").read_text(), reader.type(show))
        ]
        assert published[0] < published[1]
        assert "nothing to withdraw" in reader.type(f"{retire} 2>&1")
