"""The system registry: who may sign in, push and pull, on OpenBao and on Distribution 3 and 2.8."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import tarfile
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from real.systemregistry import ISSUER, SERVICE, SystemRegistry

from realparts.internet import Internet
from realparts.procs import Processes
from realparts.state import State
from realparts.vault import Vault
from regcred.token import jose
from regcred.token import keys as published
from regcred.vault.platform.system import SystemPlatform
from regcred.vault.records.system import ACCESS_KEY, SystemKeys
from regcred.vault.system import KEYS

pytestmark = pytest.mark.real

Login = tuple[str, str]

KINDS = [("kid", "3"), ("x5c", "3"), ("x5c", "2.8")]
"""How tokens name their key, and the version of Distribution. 2.8 knows no JWK set, so it has a bundle of certificates."""


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


def push(system: SystemRegistry, login: Login | None, image: str, layer: Path) -> bool:
    return system.crane(login, "append", "--oci-empty-base", "-f", str(layer), "-t", image).returncode == 0


def pull(system: SystemRegistry, login: Login | None, image: str) -> bool:
    return system.crane(login, "manifest", image).returncode == 0


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


def ask(system: SystemRegistry, image: str, token: str, *, method: str = "GET") -> int:
    """The status that the registry answers an access token with."""
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
    """The claims and the header of a token, changed and signed by somebody else."""
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
    own = published.certified(
        1,
        stranger.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode(),
        signs_from=system.now(),
        now=system.now(),
    )
    hs256_input = f"{jose.encode(json.dumps({'alg': 'HS256', 'typ': 'JWT', 'kid': system.records.keys().keys[0].kid}).encode())}.{body}"
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
        "HS256 with the public key": f"{hs256_input}.{jose.encode(hmac.new(secret, hs256_input.encode(), hashlib.sha256).digest())}",
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


def test_an_access_token_is_no_login(system: SystemRegistry, admin: Login) -> None:
    assert system.token((admin[0], good_token(system, admin))).status_code == 401


@pytest.mark.parametrize("change", ["user", "password", "empty", "nothing"])
def test_a_login_that_is_not_good_is_refused(system: SystemRegistry, admin: Login, change: str) -> None:
    login = {
        "user": ("rae", admin[1]),
        "password": (admin[0], admin[1][:-4] + "AAAA"),
        "empty": (admin[0], ""),
        "nothing": None,
    }[change]
    answer = system.token(login, "repository:payments/web:pull")
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic")
    assert "token" not in answer.json()


def test_the_oauth2_flow_of_docker_signs_in_and_refreshes(system: SystemRegistry, admin: Login) -> None:
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
    again = {
        "grant_type": "refresh_token",
        "service": SERVICE,
        "client_id": "docker",
        "scope": "repository:payments/web:pull",
        "refresh_token": answer["refresh_token"],
    }
    renewed = requests.post(f"{system.address}/token", data=again, timeout=10)
    assert renewed.json()["scope"] == "repository:payments/web:pull"
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


def test_a_person_who_leaves_the_group_pulls_no_more(system: SystemRegistry, image: str) -> None:
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
    time.sleep(1.1)  # logins tell full seconds
    assert pull(system, system.login(identity), image)


def test_an_identity_token_of_nobody_gets_no_login(system: SystemRegistry) -> None:
    good = system.person("eve")
    head, body, _ = good.split(".")
    for token in (f"{head}.{body}.AAAA", "x", "", "a.b.c"):
        answer = requests.post(
            f"{system.address}/v1/logins", headers={"Authorization": f"Bearer {token}"}, timeout=10
        )
        assert answer.status_code == 401, token


def test_tokens_of_the_old_key_work_during_the_overlap_and_not_after_it(
    system: SystemRegistry, image: str, admin: Login
) -> None:
    old = good_token(system, admin)
    SystemPlatform(system.root()).rotate(ACCESS_KEY)
    system.publish(signs_in=timedelta(hours=1))
    assert ask(system, image, good_token(system, admin)) == 200  # signed by the old key still
    system.restart("main")
    assert ask(system, image, old) == 200
    system.clock = timedelta(hours=1, seconds=1)
    try:
        new_keys = system.records.keys()
        new = system.service().access_token  # signs by the new key now
        assert new_keys.signing(system.now()) == new_keys.keys[-1]
        assert new
        stored, cas = system.records.read(KEYS, SystemKeys)
        assert stored is not None
        left = published.retired(stored, now=system.now() + timedelta(hours=2), overlap=timedelta(hours=1))
        assert [key.version for key in left.keys] == [new_keys.keys[-1].version]
        system.records.write(KEYS, left, cas=cas)
        system.restart("main")
        assert ask(system, image, old) == 401
    finally:
        system.clock = timedelta()
        system.sign_at_once()
        assert ask(system, image, good_token(system, admin)) == 200


def test_while_vault_is_sealed_a_living_token_pulls_and_new_ones_are_told_when_to_come_again(
    system: SystemRegistry, image: str, admin: Login
) -> None:
    living = good_token(system, admin)
    system.vault.seal()
    try:
        assert ask(system, image, living) == 200
        began = time.monotonic()
        answer = system.token(admin, "repository:payments/web:pull")
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) >= 1
        assert "sealed" in answer.text
        assert time.monotonic() - began < 30
    finally:
        system.vault.unseal()
    assert system.token(admin).status_code == 200
