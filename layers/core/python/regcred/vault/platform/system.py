"""The system registry's resources in Vault: a transit engine, and identity tokens for people.

Contracts: https://developer.hashicorp.com/vault/api-docs/secret/transit, .../secret/identity/tokens; OpenBao
serves the same paths.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import hvac
from hvac.exceptions import InvalidPath
from pydantic import SecretStr

from regcred.errors import MalformedError, MissingError
from regcred.vault.platform.declaration import Platform
from regcred.vault.platform.plan import PREFIX
from regcred.vault.platform.resource import Resource, ResourceKind, State
from regcred.vault.records.system import ACCESS_KEY, CLIENT_ID, LOGIN_KEY

TRANSIT = "regcred-transit"
"""The mount path of the transit engine."""

IDENTITY_TOKEN_SECONDS = 300
"""The lifetime of a person's identity token."""

PLATFORM_ADMINS = f"{PREFIX}platform-admins"
"""The group of people who may push community images and set up the system registry."""


def desired_system(platform: Platform) -> State:
    """What Vault must contain for the system registry; nothing if it is not used."""
    if not platform.declaration.system_registry:
        return {}
    policy = f"{PREFIX}platform-admin"
    return {
        Resource(ResourceKind.MOUNT, TRANSIT): {"type": "transit"},
        **{
            Resource(ResourceKind.SIGNING_KEY, f"{TRANSIT}/{key}"): {
                "type": "ecdsa-p256",
                "exportable": False,
                "allow_plaintext_backup": False,
            }
            for key in (ACCESS_KEY, LOGIN_KEY)
        },
        Resource(ResourceKind.IDENTITY_KEY, CLIENT_ID): {
            "allowed_client_ids": [CLIENT_ID],
            "algorithm": "ES256",
            "rotation_period": 86400,
            "verification_ttl": 3600,
        },
        Resource(ResourceKind.IDENTITY_ROLE, CLIENT_ID): {
            "key": CLIENT_ID,
            "client_id": CLIENT_ID,
            "ttl": IDENTITY_TOKEN_SECONDS,
        },
        # Its members are people. They are added elsewhere.
        Resource(ResourceKind.GROUP, PLATFORM_ADMINS): {"policies": [policy]},
    }


@dataclass(frozen=True, slots=True)
class SystemPlatform:
    """The signing keys of one server, with the rights of a platform admin."""

    vault: hvac.Client

    def public_keys(self, key: str) -> dict[int, str]:
        """The public keys of a transit key in PEM, by version."""
        versions = self._get(f"{TRANSIT}/keys/{key}").get("keys") or {}
        return {int(version): str(values["public_key"]) for version, values in versions.items()}

    def identity_token(self) -> SecretStr:
        """A token that identifies the user to the token server only.

        Raises:
            RefusedError: no policy of the user's token allows this. The user is in no project's group.
            MissingError: Vault is not set up for the system registry.
            MalformedError: the user's token has no identity, like a root token.
        """
        try:
            found = self._get(f"identity/oidc/token/{CLIENT_ID}")
        except MalformedError as error:
            raise MalformedError(
                f"{error}; does your token have an identity? A root token has none; "
                "sign in to Vault as a person"
            ) from None
        if not found:
            raise MissingError(
                "Vault creates no identity tokens for the system registry; run: regcred platform apply"
            )
        return SecretStr(str(found["token"]))

    def rotate(self, key: str) -> None:
        """Create a new version of a key."""
        self._post(f"{TRANSIT}/keys/{key}/rotate", {})

    def retire(self, key: str, *, below: int) -> None:
        """Stop versions below this one from signing."""
        self._post(
            f"{TRANSIT}/keys/{key}/config", {"min_encryption_version": below, "min_decryption_version": below}
        )

    def _get(self, path: str) -> Mapping[str, Any]:
        try:
            answer = self.vault.adapter.get(f"/v1/{path}")
        except InvalidPath:
            return {}
        data = answer.get("data") if isinstance(answer, Mapping) else None
        return data if isinstance(data, Mapping) else {}

    def _post(self, path: str, values: Mapping[str, Any]) -> None:
        self.vault.adapter.post(f"/v1/{path}", json=dict(values))
