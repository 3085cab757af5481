"""The system registry: who may sign in, push and pull, on OpenBao and on Distribution 3 and 2.8."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
import subprocess
import tarfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from real.systemregistry import ISSUER, SERVICE, Login, SystemRegistry, named_key, pull, push

from realparts.debian import install
from realparts.internet import Internet
from realparts.procs import Processes
from realparts.state import State
from realparts.vault import Vault
from regcred.errors import RegcredError
from regcred.token import jose, signing_keys
from regcred.vault.platform.system import TRANSIT, SystemPlatform
from regcred.vault.records.system import ACCESS_KEY
from regcred.vault.transit import TransitSigner
from regcred.wiring.cli.system import OwnSystem

pytestmark = pytest.mark.real


KINDS = [("kid", "3"), ("x5c", "3"), ("x5c", "2.8")]
"""How tokens name their key, and the version of Distribution. 2.8 does not support JWK sets, so it has a
bundle of certificates."""


@pytest.fixture(scope="module", params=KINDS, ids="-".join)
def system(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SystemRegistry]:
    header, version = request.param
    directory = tmp_path_factory.mktemp("system")
    processes = Processes(directory)
    internet = Internet(processes, State(directory))
    vault = Vault(processes, State(directory), internet)
    internet.up()
    vault.up()
    system = SystemRegistry(vault, processes, directory, internet, header=header, version=version)
    try:
        system.set_up("payments", "shop")
        with system.serving():
            yield system
    finally:
        for name in processes.running():
            processes.stop(name)
        processes.sweep()


@pytest.fixture(scope="module")
def host(system: SystemRegistry) -> str:
    return system.registry("main")


@pytest.fixture(scope="module")
def admin(system: SystemRegistry) -> Login:
    return system.login(system.person("ann", "regcred-admins-payments"))


@pytest.fixture(scope="module")
def reader(system: SystemRegistry) -> Login:
    return system.login(system.person("rae", "regcred-readers-payments"))


@pytest.fixture(scope="module")
def layer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("layer")
    (folder / "hello").write_text("hello")
    with tarfile.open(folder / "layer.tar", "w") as tar:
        tar.add(folder / "hello", "hello")
    return folder / "layer.tar"


@pytest.fixture(scope="module")
def image(system: SystemRegistry, host: str, admin: Login, layer: Path) -> str:
    """An image of the project payments."""
    assert push(system, admin, f"{host}/payments/web:1", layer)
    return f"{host}/payments/web:1"


def test_an_admin_pushes_a_reader_pulls_and_a_stranger_does_neither(
    system: SystemRegistry, host: str, image: str, admin: Login, reader: Login, layer: Path
) -> None:
    stranger = system.login(system.person("sam", "regcred-admins-shop"))
    assert [pull(system, login, image) for login in (admin, reader, stranger, None)] == [
        True,
        True,
        False,
        False,
    ]
    assert not push(system, reader, f"{host}/payments/web:2", layer)
    assert not push(system, stranger, f"{host}/payments/web:2", layer)
    assert not push(system, admin, f"{host}/shop/web:1", layer)
    assert not push(system, admin, f"{host}/community/web:1", layer)
    platform = system.login(system.person("pat", "regcred-platform-admins"))
    assert push(system, platform, f"{host}/community/web:1", layer)
    assert pull(system, stranger, f"{host}/community/web:1")


def test_skopeo_pulls_and_pushes_what_its_login_allows(
    system: SystemRegistry, host: str, image: str, admin: Login, reader: Login, tmp_path: Path
) -> None:
    install("skopeo")

    def copy(login: Login | None, source: str, target: str) -> bool:
        done = system.tool(login, "skopeo", "copy", "--quiet", source, target)
        print(source, target, done.stdout, done.stderr)
        return done.returncode == 0

    pulled = f"dir:{tmp_path / 'image'}"
    assert copy(reader, f"docker://{image}", pulled)
    assert not copy(None, f"docker://{image}", f"dir:{tmp_path / 'none'}")
    assert copy(admin, pulled, f"docker://{host}/payments/skopeo:1")
    assert not copy(reader, pulled, f"docker://{host}/payments/skopeo:2")
    assert not copy(admin, pulled, f"docker://{host}/shop/skopeo:1")
    assert pull(system, reader, f"{host}/payments/skopeo:1")


def test_podman_signs_in_pulls_and_pushes_what_its_login_allows(
    system: SystemRegistry,
    host: str,
    image: str,
    admin: Login,
    reader: Login,
    tmp_path: Path,
    short_path: str,
) -> None:
    install("podman")
    options = ("--root", str(tmp_path / "root"), "--runroot", short_path, "--storage-driver=vfs")

    def podman(login: Login | None, *args: str) -> bool:
        done = system.tool(login, "podman", *options, *args)
        print(args[0], done.stdout, done.stderr)
        return done.returncode == 0

    file = ("--authfile", str(tmp_path / "auth.json"))
    assert podman(None, "login", *file, "--username", reader[0], "--password", reader[1], host)
    assert not podman(None, "login", *file, "--username", reader[0], "--password", "x", host)
    assert podman(None, "pull", "--quiet", *file, image)
    assert not podman(None, "pull", "--quiet", f"{host}/payments/web:2")
    assert podman(admin, "push", "--quiet", image, f"{host}/payments/podman:1")
    assert not podman(reader, "push", "--quiet", image, f"{host}/payments/podman:2")
    assert pull(system, reader, f"{host}/payments/podman:1")


@pytest.fixture
def small_volume(system: SystemRegistry) -> Iterator[Path]:
    """A volume of 8 MiB for the registry `small`."""
    folder = system.directory / "small" / "data"
    folder.mkdir(parents=True)
    mounted = mount("-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder))
    if mounted:
        reason = f"needs the right to mount a volume: {mounted}"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    try:
        yield folder
    finally:
        system.processes.stop("registry-small")
        system.registries.pop("small", None)
        # Lazy, because the volume is busy while a kubelet on this machine reads the sizes of all mounts.
        subprocess.run(["umount", "--lazy", folder], check=True)


def mount(*args: str) -> str:
    """Run mount, and return its error text, or nothing after a success."""
    done = subprocess.run(["mount", *args], capture_output=True, text=True, check=False)
    return done.stderr.strip() if done.returncode else ""


def test_a_push_to_a_full_disk_is_refused_with_the_cause_and_pulls_continue(
    system: SystemRegistry, small_volume: Path, admin: Login, layer: Path, tmp_path: Path
) -> None:
    host = system.registry("small")
    assert push(system, admin, f"{host}/payments/web:1", layer)
    (tmp_path / "large").write_bytes(os.urandom(16_000_000))
    with tarfile.open(tmp_path / "large.tar", "w") as tar:
        tar.add(tmp_path / "large", "large")
    large = (
        "append",
        "--oci-empty-base",
        "-f",
        str(tmp_path / "large.tar"),
        "-t",
        f"{host}/payments/large:1",
    )
    refused = system.crane(admin, *large)
    assert refused.returncode != 0
    assert re.search(r"no space left on device|Err:28\b", refused.stderr), (
        refused.stderr
    )  # 2.8 reports only the number
    assert pull(system, admin, f"{host}/payments/web:1")
    assert not mount("-o", "remount,size=64m", str(small_volume))
    assert system.crane(admin, *large).returncode == 0


def ask(system: SystemRegistry, image: str, token: str, *, method: str = "GET") -> int:
    """The status with which the registry answers a request with an access token."""
    name, _, tag = image.partition("/")[2].rpartition(":")
    address = f"http://127.0.0.1:{system.ports['main']}/v2/{name}/manifests/{tag}"
    return requests.request(
        method,
        address,
        headers={"Authorization": f"Bearer {token}", "Accept": "application/vnd.oci.image.manifest.v1+json"},
        data=b"{}" if method == "PUT" else None,
        timeout=10,
    ).status_code


def good_token(system: SystemRegistry, login: Login, scope: str = "repository:payments/web:pull") -> str:
    return str(system.token(login, scope).json()["token"])


def forged(
    token: str, key: Any, algorithm: str, *, header: dict[str, Any] | None = None, **claims: Any
) -> str:
    """A token with changed header and claims, signed by another key."""
    head = {**jwt.get_unverified_header(token), **(header or {})}
    head.pop("alg", None)
    body = jwt.decode(token, options={"verify_signature": False}) | claims
    return jwt.encode(
        body, key, algorithm=algorithm, headers={k: v for k, v in head.items() if v is not None}
    )


def test_a_scope_that_asks_for_more_gets_less(system: SystemRegistry, reader: Login) -> None:
    answer = system.token(
        reader, "repository:payments/web:pull,push,delete", "repository:shop/web:pull registry:catalog:*"
    ).json()
    claims = jwt.decode(answer["token"], options={"verify_signature": False})
    assert claims["access"] == [{"type": "repository", "name": "payments/web", "actions": ["pull"]}]
    assert (claims["iss"], claims["aud"], claims["sub"]) == (ISSUER, SERVICE, "rae")
    assert claims["exp"] - claims["iat"] <= 300


def test_only_a_platform_admin_lists_all_repositories(
    system: SystemRegistry, image: str, admin: Login
) -> None:
    platform = system.login(system.person("pat", "regcred-platform-admins"))

    def listed(login: Login) -> requests.Response:
        token = good_token(system, login, "registry:catalog:*")
        address = f"http://127.0.0.1:{system.ports['main']}/v2/_catalog"
        return requests.get(address, headers={"Authorization": f"Bearer {token}"}, timeout=10)

    assert listed(admin).status_code == 401
    assert "payments/web" in listed(platform).json()["repositories"]


def test_one_token_is_valid_for_its_scopes_and_no_more(
    system: SystemRegistry, image: str, admin: Login
) -> None:
    scopes = ("repository:payments/web:pull", "repository:payments/other:pull,push repository:shop/web:pull")
    token = str(system.token(admin, *scopes).json()["token"])
    host = image.partition("/")[0]
    assert ask(system, image, token) == 200
    assert ask(system, f"{host}/payments/other:1", token) == 404
    assert ask(system, f"{host}/payments/other:1", token, method="PUT") == 400
    assert ask(system, f"{host}/payments/third:1", token) == 401
    assert ask(system, image, token, method="PUT") == 401
    assert ask(system, f"{host}/shop/web:1", token) == 401


def test_tokens_that_the_server_did_not_sign_for_this_registry_are_refused(
    system: SystemRegistry, image: str, admin: Login
) -> None:
    good = good_token(system, admin)
    assert ask(system, image, good) == 200
    stranger = ec.generate_private_key(ec.SECP256R1())
    now = int(time.time())
    public = system.records.keys().keys[0].jwk
    secret = base64.urlsafe_b64decode(public["x"] + "=")
    head, body, signature = good.split(".")
    other = json.loads(base64.urlsafe_b64decode(body + "=="))
    other["access"][0]["name"] = "shop/web"
    swapped = jose.encode(json.dumps(other).encode())
    none = jose.encode(json.dumps({"alg": "none", "typ": "JWT"}).encode())
    own_jwk = jose.jwk(
        stranger.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )
    own = signing_keys.certified(
        1,
        stranger.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode(),
        signs_from=system.now(),
        now=system.now(),
    )
    header = {"alg": "HS256", "typ": "JWT", "kid": system.records.keys().keys[0].kid}
    hs256_input = f"{jose.encode(json.dumps(header).encode())}.{body}"
    cases = {
        "another key": forged(good, stranger, "ES256"),
        "another key that it brings itself": forged(
            good, stranger, "ES256", header={"jwk": own_jwk, "kid": None, "x5c": None}
        ),
        "a certificate of another authority": forged(
            good, stranger, "ES256", header={"x5c": jose.x5c(own.certificate), "kid": None}
        ),
        "a key to be fetched": forged(
            good,
            stranger,
            "ES256",
            header={"jku": "https://token.example.com/jwks.json", "kid": own.kid, "x5c": None},
        ),
        "a certificate to be fetched": forged(
            good, stranger, "ES256", header={"x5u": "https://token.example.com/certificates.pem", "x5c": None}
        ),
        "a path for a key id": forged(
            good, stranger, "ES256", header={"kid": "../../etc/passwd", "x5c": None}
        ),
        "no algorithm": f"{none}.{body}.",
        "no signature": f"{head}.{body}.",
        "HS256 with the public key": (
            f"{hs256_input}.{jose.encode(hmac.new(secret, hs256_input.encode(), hashlib.sha256).digest())}"
        ),
        "changed claims": f"{head}.{swapped}.{signature}",
        "a login": admin[1],
    }
    assert {what: ask(system, image, token) for what, token in cases.items()} == dict.fromkeys(cases, 401)
    signed = system.sign_access
    claims = jwt.decode(good, options={"verify_signature": False})
    wrong = {
        "another audience": {"aud": "another-registry"},
        "another issuer": {"iss": "somebody"},
        "expired": {"exp": now - 120, "nbf": now - 600, "iat": now - 600},
        "not yet": {"nbf": now + 600, "exp": now + 900},
    }
    assert ask(system, image, signed(claims)) == 200
    assert {
        what: ask(system, image, signed(claims | change)) for what, change in wrong.items()
    } == dict.fromkeys(wrong, 401)


def test_an_access_token_is_not_a_login(system: SystemRegistry, admin: Login) -> None:
    assert system.token((admin[0], good_token(system, admin))).status_code == 401


def test_an_invalid_login_is_refused(system: SystemRegistry, admin: Login) -> None:
    user, password = admin
    head, body, signature = password.split(".")
    header, claims = (
        jwt.get_unverified_header(password),
        jwt.decode(password, options={"verify_signature": False}),
    )
    header.pop("alg")
    stranger = ec.generate_private_key(ec.SECP256R1())
    public = system.records.keys().logins[header["kid"]]
    none = jose.encode(json.dumps({**header, "alg": "none"}).encode())
    symmetric = f"{jose.encode(json.dumps({**header, 'alg': 'HS256'}).encode())}.{body}"
    secret = base64.urlsafe_b64decode(public["x"] + "=")
    other = jose.encode(json.dumps(claims | {"sub": "somebody"}).encode())
    now = int(time.time())

    def signed(**changes: Any) -> str:
        return system.sign_login(header, claims | changes)

    assert system.token((user, signed())).status_code == 200
    wrong: dict[str, Login | None] = {
        "nobody": None,
        "no password": (user, ""),
        "another user": ("rae", password),
        "no login": (user, "x"),
        "another signature": (user, f"{head}.{body}.{'A' * len(signature)}"),
        "no signature": (user, f"{head}.{body}."),
        "no algorithm": (user, f"{none}.{body}."),
        "HS256 with the public key": (
            user,
            f"{symmetric}.{jose.encode(hmac.new(secret, symmetric.encode(), hashlib.sha256).digest())}",
        ),
        "changed claims": (user, f"{head}.{other}.{signature}"),
        "another key": (user, forged(password, stranger, "ES256")),
        "another key that it brings itself": (
            user,
            forged(password, stranger, "ES256", header={"jwk": public, "jku": "https://evil.example.com/"}),
        ),
        "an unknown key": (user, system.sign_login({**header, "kid": "../keys"}, claims)),
        "the key of access tokens": (user, system.sign_login(header, claims, by=ACCESS_KEY)),
        "expired": (user, signed(iat=now - 900, exp=now - 60)),
        "without an end": (user, system.sign_login(header, {k: v for k, v in claims.items() if k != "exp"})),
        "another issuer": (user, signed(iss="somebody")),
        "another audience": (user, signed(aud=SERVICE)),
        "another kind of owner": (user, signed(owner="platform")),
        "far too long": (user, password + "A" * 9000),
    }
    answers = {what: system.token(login, "repository:payments/web:pull") for what, login in wrong.items()}
    assert {what: answer.status_code for what, answer in answers.items()} == dict.fromkeys(wrong, 401)
    assert answers["expired"].headers["WWW-Authenticate"].startswith("Basic")
    assert not [what for what, answer in answers.items() if '"token"' in answer.text]


def test_the_oauth2_flow_of_docker_signs_in_and_refreshes(
    system: SystemRegistry, image: str, admin: Login
) -> None:
    form = {
        "grant_type": "password",
        "service": SERVICE,
        "client_id": "docker",
        "access_type": "offline",
        "scope": "repository:payments/web:pull,push",
        "username": admin[0],
        "password": admin[1],
    }
    answer = requests.post(f"{system.address}/token", data=form, timeout=10).json()
    assert answer["scope"] == "repository:payments/web:pull,push"
    assert ask(system, image, answer["access_token"]) == 200
    assert ask(system, image, answer["access_token"], method="PUT") == 400, "it may push, but not this"
    again = {
        "grant_type": "refresh_token",
        "service": SERVICE,
        "client_id": "docker",
        "scope": "repository:payments/web:pull",
        "refresh_token": answer["refresh_token"],
    }
    renewed = requests.post(f"{system.address}/token", data=again, timeout=10)
    assert renewed.json()["scope"] == "repository:payments/web:pull"
    assert ask(system, image, renewed.json()["access_token"]) == 200
    assert ask(system, image, renewed.json()["access_token"], method="PUT") == 401
    for wrong in (
        {"grant_type": "client_credentials"},
        {"grant_type": "refresh_token", "refresh_token": "x"},
        {},
    ):
        assert requests.post(
            f"{system.address}/token", data={"service": SERVICE, **wrong}, timeout=10
        ).status_code in {
            400,
            401,
        }


def test_a_person_who_leaves_the_group_can_no_longer_pull(system: SystemRegistry, image: str) -> None:
    leaver = system.login(system.person("lee", "regcred-readers-payments"))
    assert pull(system, leaver, image)
    system.leave("regcred-readers-payments", "lee")
    assert not pull(system, leaver, image)


def test_a_person_ends_all_logins_and_the_next_one_works(system: SystemRegistry, image: str) -> None:
    identity = system.person("kim", "regcred-readers-payments")
    first, second = system.login(identity), system.login(identity)
    assert pull(system, first, image)
    assert requests.delete(f"{system.address}/v1/logins", auth=first, timeout=10).status_code == 204
    assert [pull(system, login, image) for login in (first, second)] == [False, False]
    time.sleep(1.1)  # logins contain times in whole seconds
    assert pull(system, system.login(identity), image)


def test_an_invalid_identity_token_gets_no_login(system: SystemRegistry) -> None:
    good = system.person("eve")
    head, body, _ = good.split(".")
    for token in (f"{head}.{body}.AAAA", "x", "", "a.b.c"):
        answer = requests.post(
            f"{system.address}/v1/logins", headers={"Authorization": f"Bearer {token}"}, timeout=10
        )
        assert answer.status_code == 401, token


def test_while_vault_is_sealed_a_valid_token_pulls_and_new_requests_get_a_retry_after(
    system: SystemRegistry, image: str, admin: Login
) -> None:
    living = good_token(system, admin)
    identity = {"Authorization": f"Bearer {system.person('ann')}"}
    system.vault.seal()
    try:
        assert ask(system, image, living) == 200
        began = time.monotonic()
        answer = system.token(admin, "repository:payments/web:pull")
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) >= 1
        assert "sealed" in answer.text
        address = f"{system.address}/v1/logins"
        for other in (
            requests.post(address, headers=identity, timeout=60),
            requests.delete(address, auth=admin, timeout=60),
            requests.get(f"{system.address}/jwks.json", timeout=60),
        ):
            assert (other.status_code, "Retry-After" in other.headers) == (503, True)
        assert requests.get(f"{system.address}/healthz", timeout=5).ok, "a restart would help nobody"
        assert time.monotonic() - began < 120
    finally:
        system.vault.unseal()
    assert system.token(admin).status_code == 200


def test_tokens_of_the_old_key_work_during_the_overlap_and_not_after_it(
    system: SystemRegistry, image: str, admin: Login
) -> None:
    own = OwnSystem(system.records, SystemPlatform(system.root()))
    old_key = system.records.keys().keys[-1]
    old = good_token(system, admin)
    own.rotate(lead=timedelta(hours=1))
    system.restart("main")
    waiting = good_token(system, admin)  # the old key still signs
    assert [ask(system, image, token) for token in (old, waiting)] == [200, 200]
    assert own.retire() == []

    system.sign_from(datetime.now(UTC) - timedelta(hours=1))
    new = good_token(system, admin)
    assert named_key(new) != named_key(old)
    assert [ask(system, image, token) for token in (old, new)] == [200, 200]
    assert own.retire() == [], "a login of the old key may live for a day"

    system.sign_from(datetime.now(UTC) - timedelta(hours=25))
    assert own.retire() == [old_key.kid]
    system.restart("main")
    assert [ask(system, image, token) for token in (old, new)] == [401, 200]
    assert system.token(admin).status_code == 401, "the old login's key is withdrawn as well"
    with pytest.raises(RegcredError):
        TransitSigner(system.root(), TRANSIT, ACCESS_KEY).sign(b"x", version=old_key.version)
    again = system.login(system.person("ann"))
    assert ask(system, image, good_token(system, again)) == 200
