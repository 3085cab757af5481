"""docs/consuming.md against the credential document that rotate writes: what other tools rely on."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

from pydantic import SecretStr

from regcred.credential import Credential, Login
from regcred.registry_reference import Reference
from regcred.vault.records.credential import CredentialRecord

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "consuming.md").read_text()
HOSTS = ("registry.example.com/team/", "registry.example.com/a,b/")


def written() -> dict[str, str]:
    """The fields of a credential in Vault."""
    credential = Credential("basic", (Login("puller", SecretStr("s3cret"), HOSTS),), datetime.now(UTC))
    record = CredentialRecord.of(credential, reference=Reference("payments", "main"), fingerprint="f")
    return dict(record.fields())


def test_every_field_of_the_document_is_documented_and_no_other() -> None:
    rows = [line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| `")]
    assert sorted(re.findall(r"`([^`]+)`", "".join(rows))) == sorted(written())


def test_hosts_are_a_list_whatever_a_path_holds() -> None:
    assert json.loads(written()["hosts"]) == sorted(HOSTS)
    assert set(json.loads(written()[".dockerconfigjson"])["auths"]) == set(HOSTS)
