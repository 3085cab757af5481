"""The record of a credential in Vault."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from regcred.credential import Credential
from regcred.registry_reference import Reference
from regcred.vault.records.document import malformed


class CredentialRecord(BaseModel):
    """``credentials/P/R``: flat string fields, so that any other tool can use it unchanged.

    ``username`` and ``password`` are those of the first login. ``.dockerconfigjson`` contains all logins.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    dockerconfigjson: SecretStr = Field(alias=".dockerconfigjson")
    username: str = Field(repr=False)
    """The user name of the first login. At DigitalOcean it is the token itself, and so a secret."""
    password: SecretStr
    hosts: tuple[str, ...]
    """All keys of the auths map, sorted. In Vault this is a JSON list of strings, which templates of other
    tools can read."""
    provider: str
    fingerprint: str
    issued_at: AwareDatetime
    expires_at: AwareDatetime | None = None
    refresh_at: AwareDatetime | None = None
    revocation_id: str = Field(default="", repr=False)
    definition_version: int = 0
    """The version of ``registries/P/R`` from which it was created. With it, rotate can repair the index after
    a crash."""
    destination: str = ""
    """The hash of the destination that it was created for; empty if unknown. Rotate sends it nowhere else.

    See :func:`regcred.registry.secret_destination.destination_hash`.
    """

    @field_validator("dockerconfigjson")
    @classmethod
    def _is_a_docker_config(cls, text: SecretStr) -> SecretStr:
        try:
            parsed = json.loads(text.get_secret_value())
        except (ValueError, RecursionError):
            parsed = None
        if not isinstance(parsed, dict) or not isinstance(parsed.get("auths"), dict):
            raise ValueError("is not a Docker configuration: a JSON object with the key 'auths'")  # noqa: TRY004 - pydantic's contract
        return text

    @field_validator("hosts", mode="before")
    @classmethod
    def _is_a_list(cls, value: object) -> object:
        """Parse the JSON list from Vault."""
        if not isinstance(value, str):
            return value
        try:
            return tuple(json.loads(value))
        except (ValueError, TypeError, RecursionError):
            raise ValueError("is not a JSON list of strings") from None

    @classmethod
    def of(
        cls,
        credential: Credential,
        *,
        reference: Reference,
        fingerprint: str,
        definition_version: int = 0,
        destination: str = "",
    ) -> CredentialRecord:
        """The record of a newly created credential."""
        first = credential.logins[0]
        return cls.model_validate(
            {
                ".dockerconfigjson": credential.dockerconfigjson(),
                "username": first.username,
                "password": first.password,
                "hosts": credential.hosts,
                "provider": credential.provider,
                "fingerprint": fingerprint,
                "issued_at": credential.issued_at,
                "expires_at": credential.expires_at,
                "refresh_at": credential.refresh_at(reference),
                "revocation_id": credential.revocation_id,
                "definition_version": definition_version,
                "destination": destination,
            }
        )

    @classmethod
    def parse(cls, fields: Mapping[str, str], *, path: str) -> CredentialRecord:
        """Read the record. Empty strings mean absent times.

        Raises:
            MalformedError: names the field and its error, never its value.
        """
        try:
            return cls.model_validate({name: value for name, value in fields.items() if value})
        except ValidationError as error:
            raise malformed(error, where=path) from None

    def fields(self) -> dict[str, str]:
        """The string fields to write. They contain the secret, so call this only right before the write."""
        return {
            ".dockerconfigjson": self.dockerconfigjson.get_secret_value(),
            "username": self.username,
            "password": self.password.get_secret_value(),
            "hosts": json.dumps(self.hosts),
            "provider": self.provider,
            "fingerprint": self.fingerprint,
            "issued_at": _text(self.issued_at),
            "expires_at": _text(self.expires_at),
            "refresh_at": _text(self.refresh_at),
            "revocation_id": self.revocation_id,
            "definition_version": str(self.definition_version),
            "destination": self.destination,
        }


def _text(time: datetime | None) -> str:
    return "" if time is None else time.isoformat()
