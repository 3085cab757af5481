"""The size limit of a credential, and its ``repr``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr

from regcred.credential import CONFIG_MAX, Credential, Login
from regcred.errors import MalformedError
from regcred.registry.transport import Basic
from regcred.registry_reference import Reference
from regcred.vault.records.credential import CredentialRecord

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PASSWORD = SecretStr("p" * 2800)
"""As long as a password of Amazon ECR."""


def credential(keys: int) -> Credential:
    hosts = tuple(f"111122223333.dkr.ecr.eu-central-1.amazonaws.com/team-{number}/" for number in range(keys))
    return Credential("ecr", (Login("AWS", PASSWORD, hosts),), NOW, NOW + timedelta(hours=12))


def test_a_credential_too_large_for_a_secret_is_refused_with_a_remedy() -> None:
    with pytest.raises(MalformedError, match=r"keys would have about .* kB, .* name fewer hosts") as caught:
        credential(400)
    assert caught.value.field == "repositories"


def test_an_accepted_credential_fits_into_a_secret() -> None:
    most = max(keys for keys in range(100, 160) if fits(keys))
    assert CONFIG_MAX * 0.9 < len(credential(most).dockerconfigjson().get_secret_value()) <= CONFIG_MAX


def fits(keys: int) -> bool:
    try:
        credential(keys)
    except MalformedError:
        return False
    return True


def test_no_repr_shows_a_login() -> None:
    login = Login("t0ken", SecretStr("t0ken"), ("registry.digitalocean.com/example/",))
    minted = Credential("digitalocean", (login,), NOW)
    record = CredentialRecord.of(minted, reference=Reference("payments", "do"), fingerprint="f")
    assert "t0ken" not in repr((minted, record, Basic(login.username, login.password)))
