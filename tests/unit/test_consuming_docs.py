"""docs/consuming.md describes the credential document that rotate writes and other tools read."""

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


def test_the_page_documents_exactly_the_fields_of_the_document() -> None:
    rows = [line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| `")]
    assert sorted(re.findall(r"`([^`]+)`", "".join(rows))) == sorted(written())


def test_the_field_hosts_is_a_json_list_even_if_a_path_contains_a_comma() -> None:
    assert json.loads(written()["hosts"]) == sorted(HOSTS)
    assert set(json.loads(written()[".dockerconfigjson"])["auths"]) == set(HOSTS)
