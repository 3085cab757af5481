"""The public keys of the system registry, and logins in the configuration files of Docker."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from pydantic import SecretStr

from regcred.cli import docker_config
from regcred.cli.credential_helper import answer
from regcred.errors import MalformedError, RefusedError
from regcred.token import jose
from regcred.token.login import check
from regcred.token.signing_keys import retired, with_access_keys
from regcred.vault.records.system import SystemKeys
from regcred.wiring.cli.system import PersonLogin

NOW = datetime(2026, 11, 28, tzinfo=UTC)
DAY = timedelta(days=1)
NESTED = b'{"a":' * 2000


def pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | None = None) -> str:
    public = (key or ec.generate_private_key(ec.SECP256R1())).public_key()
    return public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()


def two_keys() -> SystemKeys:
    first, second = pem(), pem()
    keys = with_access_keys(SystemKeys(), {1: first}, signs_from=NOW + DAY, now=NOW)
    return with_access_keys(keys, {1: first, 2: second}, signs_from=NOW + DAY, now=NOW)


def test_the_first_key_signs_at_once_and_a_later_one_after_a_delay():
    keys = two_keys()
    assert [key.signs_from for key in keys.keys] == [NOW, NOW + DAY]
    assert [keys.signing(NOW + span).version for span in (DAY / 2, DAY)] == [1, 2]
    assert len(keys.jwks()["keys"]) == 2


def test_a_key_is_retired_only_after_the_next_one_has_signed_for_the_overlap():
    keys = two_keys()
    ages = [DAY / 2, DAY, 2 * DAY - timedelta(seconds=1), 2 * DAY]
    left = [[key.version for key in retired(keys, now=NOW + age, overlap=DAY).keys] for age in ages]
    assert left == [[1, 2], [1, 2], [1, 2], [2]]


def test_the_certificate_of_a_key_is_signed_by_its_ca_and_is_not_a_ca_itself():
    (key, _) = two_keys().keys
    leaf, authority = (
        x509.load_pem_x509_certificate(text.encode()) for text in (key.certificate, key.authority)
    )
    leaf.verify_directly_issued_by(authority)
    assert leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    other = x509.load_pem_x509_certificate(two_keys().keys[0].authority.encode())
    with pytest.raises(InvalidSignature):
        leaf.verify_directly_issued_by(other)


@pytest.mark.parametrize(
    "key", [ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)]
)
def test_a_key_of_another_type_is_refused(key: Any):
    with pytest.raises(MalformedError, match="version 3"):
        with_access_keys(SystemKeys(), {3: pem(key)}, signs_from=NOW, now=NOW)


HOST = "registry.example.com"


def test_a_docker_config_keeps_other_entries_and_has_either_a_helper_or_a_login():
    config = {"psFormat": "x", "auths": {"other.example.com": {"auth": "x"}}}
    written = docker_config.with_login(config, HOST, "ann", SecretStr("pw"))
    assert written["auths"] == {"other.example.com": {"auth": "x"}, HOST: {"auth": "YW5uOnB3"}}
    helped = docker_config.with_helper(written, HOST)
    assert helped == {**config, "credHelpers": {HOST: "regcred"}}
    assert docker_config.with_login(helped, HOST, "ann", SecretStr("pw"))["credHelpers"] == {}


@pytest.mark.parametrize("text", ["[]", "{", '{"auths": []}x'])
def test_a_malformed_docker_config_is_not_changed(tmp_path: Path, text: str):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(MalformedError, match=r"config\.json"):
        docker_config.read(tmp_path / "config.json")


class System:
    def config(self):
        return type("Config", (), {"host": HOST})

    def login(self, *, seconds: int) -> PersonLogin:
        return PersonLogin(HOST, "ann", SecretStr(f"lives {seconds}"), "")


def helper(*args: str, given: str = "") -> tuple[int, str]:
    out = io.StringIO()
    return answer(args, io.StringIO(given), out, System), out.getvalue()


@pytest.mark.parametrize("server", [HOST, f"https://{HOST}", f"https://{HOST}/v2/", f"{HOST}\n"])
def test_the_credential_helper_returns_a_login_for_an_hour(server: str):
    code, out = helper("get", given=server)
    assert (code, json.loads(out)) == (0, {"ServerURL": HOST, "Username": "ann", "Secret": "lives 3600"})


def test_the_credential_helper_stores_and_lists_nothing():
    assert helper("list") == (0, "{}")
    assert helper("erase", given=HOST) == (0, "")
    assert helper("store", given=json.dumps({"ServerURL": HOST, "Secret": "x"}))[0] == 1
    assert helper("get", given="docker.io") == (1, "credentials not found in native keychain\n")
    assert helper()[0] == 1


@pytest.mark.parametrize(
    "password",
    [
        "",
        "x",
        "é",
        ".",
        "a.b.c",
        f"{jose.encode(b'[]')}.e30.x",
        f"{jose.encode(b'nothing')}.e30.x",
        f"{jose.encode(NESTED)}.e30.x",
        f"{jose.encode(json.dumps({'alg': 'ES256', 'kid': {'a': 1}}).encode())}.e30.x",
        f"{jose.encode(json.dumps({'alg': 'ES256', 'kid': 'k'}).encode())}.e30.x",
    ],
)
def test_a_malformed_login_is_refused(password: str) -> None:
    keys = {"k": jose.jwk(pem())}
    with pytest.raises(RefusedError):
        check("ann", password, issuer="regcred-system", keys=keys)
