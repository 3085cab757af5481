"""The system registry with the command line, with container tools and with the provider ``system``."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import rsa
from pydantic import SecretStr
from real.systemregistry import TOKEN_HOST, SystemRegistry, pull, push

from realparts.debian import install
from realparts.internet import Internet
from realparts.procs import Processes
from realparts.state import State
from realparts.vault import Vault
from regcred.adapters.console_vault import ConsoleVault
from regcred.errors import RefusedError
from regcred.registry.interface import IssuedCredential, MintContext
from regcred.registry.providers.system import SystemDefinition, SystemProvider
from regcred.registry_reference import Reference
from regcred.vault.http import Server

pytestmark = pytest.mark.real

ISSUER = "https://11111111-2222-3333-4444-555555555555.tokens.sts.global.api.aws"
ROLE = "arn:aws:iam::123456789012:role/regcred/regcred-payments"


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, key: rsa.RSAPrivateKey) -> Iterator[SystemRegistry]:
    directory = tmp_path_factory.mktemp("system-cli")
    processes = Processes(directory)
    internet = Internet(processes, State(directory))
    vault = Vault(processes, State(directory), internet)
    internet.up()
    vault.up()
    system = SystemRegistry(vault, processes, directory, internet)
    try:
        system.set_up("payments", "shop")
        published = {**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key())), "kid": "k1"}
        (directory / "issuer.json").write_text(json.dumps({"keys": [published]}))
        set_up = regcred(
            system,
            system.vault.root_token,
            *("system", "init", "--host", "main.system.example.com"),
            *("--token-url", f"https://{TOKEN_HOST}", "--issuer", f"{ISSUER}={directory / 'issuer.json'}"),
        )
        assert set_up.returncode == 0, set_up.stderr
        assert "signingalgorithms: [ES256]" in set_up.stdout
        with system.serving():
            system.registry("main")
            yield system
    finally:
        for name in processes.running():
            processes.stop(name)
        processes.sweep()


def environment(system: SystemRegistry, token: str, home: Path | None = None) -> dict[str, str]:
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    folder = home or system.directory
    return {
        **os.environ,
        **system.internet.environment,
        "PATH": programs,
        "HOME": str(folder),
        "DOCKER_CONFIG": str(folder / ".docker"),
        "VAULT_ADDR": system.vault.addr,
        "VAULT_TOKEN": token,
    }


def run(*command: str | Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=240)


def regcred(
    system: SystemRegistry, token: str, *args: str, home: Path | None = None
) -> subprocess.CompletedProcess[str]:
    return run(Path(sys.executable).with_name("regcred"), *args, env=environment(system, token, home))


@pytest.fixture(scope="module")
def layer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("layer")
    (folder / "hello").write_text("hello")
    run("tar", "cf", folder / "layer.tar", "-C", folder, "hello", env=dict(os.environ))
    return folder / "layer.tar"


@pytest.fixture(scope="module")
def image(system: SystemRegistry, layer: Path) -> str:
    host = system.registries["main"]
    admin = system.login(system.person("ann", "regcred-admins-payments"))
    assert push(system, admin, f"{host}/payments/web:1", layer)
    return f"{host}/payments/web:1"


def test_a_second_system_init_changes_nothing(system: SystemRegistry) -> None:
    again = regcred(system, system.vault.root_token, "system", "init", "--host", "main.system.example.com")
    assert "nothing to do" in again.stderr


def test_container_tools_sign_in_by_the_helper_and_no_secret_is_on_disk(
    system: SystemRegistry, image: str, tmp_path: Path, short_path: str
) -> None:
    install("skopeo")
    install("podman")
    token = system.vault_token("rae", "regcred-readers-payments")
    signed_in = regcred(system, token, "system", "login", home=tmp_path)
    assert signed_in.returncode == 0, signed_in.stderr
    written = (tmp_path / ".docker/config.json").read_text()
    assert json.loads(written) == {"auths": {}, "credHelpers": {system.registries["main"]: "regcred"}} or (
        json.loads(written) == {"credHelpers": {system.registries["main"]: "regcred"}}
    )
    env = environment(system, token, tmp_path)
    crane = run(system.program("crane"), "manifest", image, env=env)
    assert crane.returncode == 0, crane.stderr
    skopeo = run("skopeo", "inspect", "--raw", f"docker://{image}", env=env)
    assert skopeo.returncode == 0, skopeo.stderr
    storage = ("--root", str(tmp_path / "root"), "--runroot", short_path, "--storage-driver=vfs")
    podman = run("podman", *storage, "pull", "--quiet", image, env=env)
    assert podman.returncode == 0, podman.stderr
    copied = run("skopeo", "copy", f"docker://{image}", f"docker://{image}-copy", env=env)
    assert copied.returncode != 0
    time.sleep(1.1)  # logins contain times in whole seconds
    before = system.login(system.person("rae"))
    out = regcred(system, token, "system", "logout", home=tmp_path)
    assert out.returncode == 0, out.stderr
    assert system.registries["main"] not in (tmp_path / ".docker/config.json").read_text()
    assert not pull(system, before, image)


def test_a_login_in_the_file_is_readable_only_by_its_owner(
    system: SystemRegistry, image: str, tmp_path: Path
) -> None:
    token = system.vault_token("liv", "regcred-admins-payments")
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker/config.json").write_text('{"auths": {"other.example.com": {"auth": "eDp5"}}}')
    assert regcred(system, token, "system", "login", "--write", home=tmp_path).returncode == 0
    file = tmp_path / ".docker/config.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert "other.example.com" in file.read_text()
    env = {**environment(system, token, tmp_path), "VAULT_TOKEN": "none"}
    assert run("skopeo", "copy", f"docker://{image}", f"docker://{image}-liv", env=env).returncode == 0


def test_the_helper_has_no_login_for_other_hosts(system: SystemRegistry) -> None:
    helper = Path(sys.executable).with_name("docker-credential-regcred")
    env = environment(system, system.vault_token("rae", "regcred-readers-payments"))
    answer = subprocess.run(
        [helper, "get"],
        input="https://index.docker.io/v1/",
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (answer.returncode, answer.stdout) == (1, "credentials not found in native keychain\n")


def test_a_key_is_rotated_with_an_overlap(system: SystemRegistry) -> None:
    root = system.vault.root_token
    before = json.loads(regcred(system, root, "system", "keys", "--format", "jwks").stdout)["keys"]
    assert regcred(system, root, "system", "rotate-keys", "--lead-hours", "1").returncode == 0
    after = json.loads(regcred(system, root, "system", "keys", "--format", "jwks").stdout)["keys"]
    assert [key["kid"] for key in after][: len(before)] == [key["kid"] for key in before]
    assert len(after) == len(before) + 1
    again = regcred(system, root, "system", "rotate-keys")
    assert (again.returncode, "starts to sign at" in again.stderr) == (5, True)
    assert "nothing to withdraw" in regcred(system, root, "system", "rotate-keys", "--retire").stderr


Signed = Callable[..., str]


@pytest.fixture
def signed(key: rsa.RSAPrivateKey) -> Signed:
    """Creates identity tokens of the project's role, as GetWebIdentityToken of AWS STS does."""

    def sign(by: rsa.RSAPrivateKey | None = None, **changes: Any) -> str:
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "sub": ROLE,
            "aud": f"https://{TOKEN_HOST}",
            "iat": now,
            "exp": now + 300,
            "jti": str(time.monotonic_ns()),
        }
        return jwt.encode(claims | changes, by or key, algorithm="RS256", headers={"kid": "k1"})

    return sign


class Identity:
    def __init__(self, signed: Signed) -> None:
        self._signed = signed

    def web_identity_token(self, audience: str, lifetime: timedelta) -> SecretStr:
        return SecretStr(self._signed(aud=audience))


def test_a_project_pulls_with_a_credential_of_its_role_until_the_revocation(
    system: SystemRegistry, image: str, layer: Path, signed: Signed, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in system.internet.environment.items():
        monkeypatch.setenv(name, value)
    definition = SystemDefinition(
        provider="system", host=system.registries["main"], token_host=TOKEN_HOST, repositories=["payments/"]
    )
    context = MintContext(
        Reference("payments", "main"),
        lambda: datetime.now(UTC),
        Identity(signed),
        upstream={},
    )
    first, second = (SystemProvider().mint(definition, context) for _ in range(2))
    logins = [
        (minted.logins[0].username, minted.logins[0].password.get_secret_value())
        for minted in (first, second)
    ]
    assert [pull(system, login, image) for login in logins] == [True, True]
    assert not push(system, logins[0], f"{system.registries['main']}/payments/web:2", layer)
    assert not pull(system, logins[0], f"{system.registries['main']}/shop/web:1")
    SystemProvider().revoke(definition, IssuedCredential.of(first), context)
    assert [pull(system, login, image) for login in logins] == [False, True]
    other = MintContext(
        Reference("shop", "main"),
        lambda: datetime.now(UTC),
        Identity(signed),
        upstream={},
    )
    with pytest.raises(RefusedError):
        SystemProvider().mint(definition, other)


def test_an_identity_token_that_is_not_of_the_project_gets_no_login(
    system: SystemRegistry, signed: Signed
) -> None:
    def ask(token: str, project: str = "payments") -> int:
        return requests.post(
            f"{system.address}/v1/credentials",
            json={"project": project, "repositories": [], "expires_in": 3600},
            headers={"Authorization": f"Bearer {token}"},
            timeout=10,
        ).status_code

    now = int(time.time())
    once = signed()
    assert [ask(once), ask(once)] == [201, 401]
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    wrong = {
        "another key": signed(stranger),
        "another audience": signed(aud="https://vault.example.com"),
        "another issuer": signed(iss="https://evil.example.com"),
        "another role": signed(sub="arn:aws:iam::123456789012:role/regcred/regcred-shop"),
        "the role of that name in another account": signed(sub=ROLE.replace("123456789012", "210987654321")),
        "expired": signed(iat=now - 900, exp=now - 600),
        "too long a life": signed(exp=now + 90000),
        "no token": "x",
    }
    assert {what: ask(token) for what, token in wrong.items()} == dict.fromkeys(wrong, 401)
    assert ask(signed(), "shop") == 401
    assert ask(signed(), "nobody") == 401


def test_while_vault_is_sealed_a_project_gets_a_503_and_can_use_its_token_again(
    system: SystemRegistry, signed: Signed
) -> None:
    token = signed()

    def ask() -> requests.Response:
        return requests.post(
            f"{system.address}/v1/credentials",
            json={"project": "payments", "repositories": [], "expires_in": 3600},
            headers={"Authorization": f"Bearer {token}"},
            timeout=60,
        )

    system.vault.seal()
    try:
        answer = ask()
    finally:
        system.vault.unseal()
    assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)
    assert "sealed" in answer.text
    assert ask().status_code == 201


@pytest.mark.parametrize("copier", ["crane", "skopeo"])
def test_community_images_are_loaded_once_with_their_signatures(
    system: SystemRegistry, image: str, tmp_path: Path, copier: str
) -> None:
    host = system.registries["main"]
    token = system.vault_token("pat", "regcred-platform-admins", "regcred-admins-payments")
    assert regcred(system, token, "system", "login", home=tmp_path).returncode == 0
    env = environment(system, token, tmp_path)
    if copier == "skopeo":
        install("skopeo")
    program = system.program("crane") if copier == "crane" else Path(str(shutil.which("skopeo")))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / copier).symlink_to(program)
    helper = Path(sys.executable).with_name("docker-credential-regcred")
    (tmp_path / "bin" / helper.name).symlink_to(helper)
    alone = {**env, "PATH": str(tmp_path / "bin")}  # so the other program is not found
    crane, name = system.program("crane"), f"community/{copier}:1"
    digest = run(crane, "digest", image, env=env).stdout.strip()
    signature = f"{host}/payments/web:{digest.replace(':', '-')}.sig"
    assert run(crane, "copy", image, signature, env=env).returncode == 0
    (tmp_path / "images.yaml").write_text(
        json.dumps(
            {
                "images": [
                    {"source": image, "as": name},
                    {"source": f"{host}/payments/none:1", "as": "community/none:1"},
                ]
            }
        )
    )
    command = [Path(sys.executable).with_name("regcred"), "system", "load", "-f", tmp_path / "images.yaml"]
    first, second = run(*command, env=alone), run(*command, env=alone)
    assert f"copied: {host}/{name}" in first.stderr
    assert f"exists already: {host}/{name}" in second.stderr
    assert (second.returncode, "1 image of 2 not copied" in second.stderr) == (1, True)
    assert run(crane, "digest", f"{host}/{name}", env=env).stdout.strip() == digest
    copied = f"{host}/community/{copier}:{digest.replace(':', '-')}.sig"
    assert run(crane, "digest", copied, env=env).returncode == 0


def test_old_images_are_deleted_by_age_and_count_after_a_dry_run(
    system: SystemRegistry, layer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = system.registries["main"]
    token = system.vault_token("pat", "regcred-platform-admins", "regcred-admins-payments")
    admin = system.login(system.person("pat", "regcred-platform-admins", "regcred-admins-payments"))
    env = environment(system, token, tmp_path)
    assert regcred(system, token, "system", "login", home=tmp_path).returncode == 0
    for tag in ("1", "2"):
        target = f"{host}/payments/old:{tag}"
        assert push(system, admin, target, layer)
        crane = system.program("crane")
        dated = run(crane, "mutate", "--set-platform", f"linux/arm/v{tag}", "-t", target, target, env=env)
        assert dated.returncode == 0, dated.stderr
    prune = ("system", "prune", "payments", "--keep", "1", "--older-than", "0")
    shown = regcred(system, token, *prune, "--dry-run", home=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert [pull(system, admin, f"{host}/payments/old:{tag}") for tag in ("1", "2")] == [True, True]
    done = regcred(system, token, *prune, home=tmp_path)
    assert done.stdout == shown.stdout
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("payments/old:")]
    assert sorted(pull(system, admin, f"{host}/payments/old:{tag}") for tag in ("1", "2")) == [False, True]
    assert not pull(system, admin, f"{host}/{line}")


def test_a_reader_has_the_right_by_which_the_console_finds_the_host(system: SystemRegistry) -> None:
    def host(token: str) -> str:
        vault = ConsoleVault(Server(system.vault.addr), "regcred")
        return vault.with_token(SecretStr(token)).system_registry()

    assert host(system.vault_token("rae", "regcred-readers-payments")) == "main.system.example.com"
    assert host(system.vault_token("sue")) == ""


def test_nobody_can_export_the_signing_keys_from_vault(system: SystemRegistry) -> None:
    def ask(token: str, method: str, path: str, **body: Any) -> int:
        address = f"{system.vault.addr}/v1/regcred-transit/{path}"
        headers = {"X-Vault-Token": token}
        return requests.request(method, address, json=body, headers=headers, timeout=10).status_code

    admin = system.vault_token("pat", "regcred-platform-admins")
    server = system.root().auth.token.create(policies=["regcred-token"])["auth"]["client_token"]
    for token in (admin, server):
        assert ask(token, "POST", "keys/access/config", exportable=True) == 403
        assert ask(token, "POST", "keys/access/config", allow_plaintext_backup=True) == 403
        assert ask(token, "GET", "export/signing-key/access") == 403
        assert ask(token, "GET", "backup/access") == 403
    assert ask(admin, "POST", "sign/access/sha2-256", input="eA==") == 403
    assert ask(admin, "POST", "keys/access/config", min_decryption_version=1, min_encryption_version=1) == 200
