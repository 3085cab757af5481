"""The provider `gitea` against a real server: its API, token service and registry, and a real client."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests
from fakes.claims import Held, Vault
from nodes import need_node
from pydantic import SecretStr

from realparts.build import binary
from realparts.gitea import BOT, HOST
from realparts.images import push_pause
from realparts.stack import Stack
from realparts.waiting import eventually
from regcred.cli.app import run
from regcred.credential import Credential
from regcred.errors import RefusedError
from regcred.registry.interface import IssuedCredential, MintContext, Revoked, Verdict
from regcred.registry.parsing import parse
from regcred.registry.providers.gitea import GiteaProvider
from regcred.registry.verify import RegistryVerifier
from regcred.registry_reference import Reference

IMAGE = f"{HOST}/team/app:1"
DEFINITION = parse(
    {"provider": "gitea", "host": HOST, "user": BOT, "repositories": ["team/"], "probe": "team/app:1"},
    where="here",
)


@pytest.fixture(scope="module")
def gitea(stack: Stack) -> Stack:
    stack.up(["gitea"])
    push_pause(stack.gitea, "team/app")
    return stack


@pytest.fixture(autouse=True)
def _internet(gitea: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in gitea.internet.environment.items():
        monkeypatch.setenv(name, value)


class Registry:
    """One registry at Gitea, whose credentials are created in turns."""

    def __init__(self, stack: Stack) -> None:
        self.gitea = stack.gitea
        self.vault = Vault()
        self.now = datetime.now(UTC)
        self.upstream = {"username": BOT, "password": self.gitea.passwords[BOT]}
        self._provider = GiteaProvider()

    def context(self, slot_store: Held | None = None) -> MintContext:
        return MintContext(
            reference=Reference("pay--ments", "main"),
            now=lambda: self.now,
            identity=None,
            upstream={name: SecretStr(value) for name, value in self.upstream.items()},
            in_force=self.vault.credential.revocation_id if self.vault.credential else "",
            slot_store=slot_store or Held(self.vault, lambda: None),
        )

    def rotate(self) -> Credential:
        self.now += timedelta(days=7)
        self.vault.credential = self._provider.mint(DEFINITION, self.context())
        return self.vault.credential

    def revoke(self, credential: Credential) -> Revoked:
        return self._provider.revoke(DEFINITION, IssuedCredential.of(credential), self.context())

    def tokens(self) -> list[str]:
        return [item["name"] for item in self.gitea.api("GET", f"users/{BOT}/tokens", user=BOT)]


@pytest.fixture
def registry(gitea: Stack) -> Iterator[Registry]:
    found = Registry(gitea)
    yield found
    for item in gitea.gitea.api("GET", f"users/{BOT}/tokens", user=BOT):
        gitea.gitea.api("DELETE", f"users/{BOT}/tokens/{item['id']}", user=BOT)


def crane(folder: Path, credential: Credential | None, *words: str) -> subprocess.CompletedProcess[str]:
    text = credential.dockerconfigjson().get_secret_value() if credential else json.dumps({"auths": {}})
    (folder / "config.json").write_text(text)
    environment = {**os.environ, "DOCKER_CONFIG": str(folder), "HOME": str(folder)}
    return subprocess.run(
        [binary("crane"), *words], env=environment, capture_output=True, text=True, check=False
    )


def test_a_minted_token_pulls_and_can_not_push(registry: Registry, tmp_path: Path) -> None:
    credential = registry.rotate()
    assert RegistryVerifier().verify(DEFINITION, credential).verdict is Verdict.CAN_PULL
    pulled = crane(tmp_path, credential, "pull", IMAGE, str(tmp_path / "image.tar"))
    assert pulled.returncode == 0, pulled.stderr
    assert crane(tmp_path, None, "pull", IMAGE, str(tmp_path / "image.tar")).returncode != 0
    pushed = crane(tmp_path, credential, "copy", IMAGE, f"{HOST}/team/app:pushed")
    assert pushed.returncode != 0
    assert "401 Unauthorized: reqPackageAccess" in pushed.stderr


def test_the_slots_take_turns_and_the_old_one_works_until_its_next_turn(registry: Registry) -> None:
    seen = [registry.rotate() for _ in range(4)]
    verdicts = [RegistryVerifier().verify(DEFINITION, item).verdict for item in seen]
    assert verdicts == [Verdict.REFUSED, Verdict.REFUSED, Verdict.CAN_PULL, Verdict.CAN_PULL]
    assert len(registry.tokens()) == 2


def test_a_revocation_ends_both_tokens_and_may_be_repeated(registry: Registry, tmp_path: Path) -> None:
    before, credential = registry.rotate(), registry.rotate()
    assert registry.revoke(credential) is Revoked.YES
    assert registry.revoke(credential) is Revoked.YES
    assert registry.tokens() == []
    for item in (before, credential):
        assert RegistryVerifier().verify(DEFINITION, item).verdict is Verdict.REFUSED
        assert crane(tmp_path, item, "pull", IMAGE, str(tmp_path / "image.tar")).returncode != 0


def test_a_selftest_of_a_definition_passes_and_leaves_nothing_behind(
    registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    in_use = registry.rotate()
    definition, secret = tmp_path / "gitea.yaml", tmp_path / "secret.yaml"
    definition.write_text(json.dumps(DEFINITION.content()))
    secret.write_text(json.dumps(registry.upstream))
    before = registry.tokens()
    code = run(["selftest", "--provider", "gitea", "-f", str(definition), "--secret-file", str(secret)])
    out, err = capsys.readouterr()
    assert code == 0, out + err
    for line in ("mint", "pull", "nothing more", "revoke", "refused after the revocation"):
        assert f"| {line} |" in out
    assert registry.tokens() == before
    assert RegistryVerifier().verify(DEFINITION, in_use).verdict is Verdict.CAN_PULL
    assert registry.upstream["password"] not in out + err


def test_tokens_beyond_one_page_are_all_seen(registry: Registry) -> None:
    for number in range(55):
        registry.gitea.api(
            "POST", f"users/{BOT}/tokens", {"name": f"own-{number}", "scopes": ["read:package"]}, user=BOT
        )
    for _ in range(4):
        registry.rotate()
    ours = list(registry._provider.vendor(DEFINITION, registry.context()).tokens().values())
    assert len([name for name in ours if name.startswith("regcred-pay-ments-main-")]) == 2
    assert len([name for name in ours if name.startswith("own-")]) == 55


def test_a_pull_token_outlives_its_access_token_until_the_bot_is_blocked(registry: Registry) -> None:
    credential = registry.rotate()
    (login,) = credential.logins
    answer = requests.get(
        f"https://{HOST}/v2/token",
        params={"service": "container_registry", "scope": "repository:team/app:pull"},
        auth=(login.username, login.password.get_secret_value()),
        timeout=20,
    )
    headers = {
        "Authorization": f"Bearer {answer.json()['token']}",
        "Accept": "application/vnd.oci.image.manifest.v1+json",
    }
    registry.revoke(credential)

    def status() -> int:
        return requests.get(
            f"https://{HOST}/v2/team/app/manifests/1", headers=headers, timeout=20
        ).status_code

    assert status() == 200, "Gitea has changed: docs/providers.md says that it outlives the revocation"
    gitea = registry.gitea
    gitea.api("PATCH", f"admin/users/{BOT}", {"login_name": BOT, "source_id": 0, "prohibit_login": True})
    try:
        assert status() in {401, 403}
    finally:
        gitea.api("PATCH", f"admin/users/{BOT}", {"login_name": BOT, "source_id": 0, "prohibit_login": False})


def test_the_error_for_a_wrong_password_names_what_to_check(registry: Registry) -> None:
    registry.upstream["password"] = "wrong"
    with pytest.raises(RefusedError, match="check that the user puller exists"):
        registry.rotate()


def pull_state(stack: Stack, namespace: str, name: str) -> str:
    """``running``, or the reason why the kubelet waits."""
    pod = json.loads(stack.kubernetes.kubectl("-n", namespace, "get", "pod", name, "-o", "json").stdout)
    states = [status["state"] for status in pod["status"].get("containerStatuses", [])]
    if not states:
        return ""
    return "running" if "running" in states[0] else states[0].get("waiting", {}).get("reason", "")


def test_the_kubelet_pulls_with_a_minted_token_and_not_without(gitea: Stack, registry: Registry) -> None:
    need_node(gitea)
    gitea.up(["node", "gitea"])
    namespace = "gitea-kubelet"
    config = registry.rotate().dockerconfigjson().get_secret_value()
    gitea.kubernetes.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "login", "namespace": namespace},
        "type": "kubernetes.io/dockerconfigjson",
        "stringData": {".dockerconfigjson": config},
    }
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/default"
    eventually(lambda: gitea.kubernetes.request("GET", path), what="the default ServiceAccount")
    pods = [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "hostNetwork": True,
                "terminationGracePeriodSeconds": 0,
                "containers": [{"name": "main", "image": IMAGE, "imagePullPolicy": "Always"}],
                **more,
            },
        }
        for name, more in (("with", {"imagePullSecrets": [{"name": "login"}]}), ("without", {}))
    ]
    gitea.kubernetes.apply(secret, *pods)
    try:
        eventually(lambda: pull_state(gitea, namespace, "with") == "running", what="the pull", seconds=90)
        refused = {"ErrImagePull", "ImagePullBackOff"}
        eventually(lambda: pull_state(gitea, namespace, "without") in refused, what="the refusal")
    finally:
        gitea.kubernetes.kubectl("delete", "namespace", namespace, "--wait=false")
