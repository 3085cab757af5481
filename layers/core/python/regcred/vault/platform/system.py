"""What the system registry needs in Vault beside its documents: a transit engine with two keys, and identity tokens for people.

Contracts: https://developer.hashicorp.com/vault/api-docs/secret/transit, .../secret/identity/tokens; OpenBao serves the same paths.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import hvac
from hvac.exceptions import InvalidPath

TRANSIT = "regcred-transit"
"""Where the transit engine is mounted."""

ACCESS_KEY = "access"
"""The key that signs access tokens; registries trust it."""

LOGIN_KEY = "logins"
"""The key that signs logins; the token server alone trusts it."""

CLIENT_ID = "regcred-system"
"""The audience of people's identity tokens, and the name of the role and of the key that make them."""

IDENTITY_TOKEN_SECONDS = 300


@dataclass(frozen=True, slots=True)
class SystemPlatform:
    """The engines of one server, with the rights of a platform operator."""

    vault: hvac.Client

    def set_up(self) -> list[str]:
        """Make what is missing, and return what was made; nothing that exists is changed.

        Raises:
            RegcredError: what :mod:`regcred.vault.http` raises.
        """
        made = []
        if f"{TRANSIT}/" not in self._get("sys/mounts"):
            self._post(f"sys/mounts/{TRANSIT}", {"type": "transit"})
            made.append(f"secrets engine {TRANSIT}")
        for key in (ACCESS_KEY, LOGIN_KEY):
            if not self._get(f"{TRANSIT}/keys/{key}"):
                self._post(f"{TRANSIT}/keys/{key}", {"type": "ecdsa-p256"})
                made.append(f"key {TRANSIT}/{key}")
        signed = {
            "allowed_client_ids": [CLIENT_ID],
            "algorithm": "ES256",
            "rotation_period": "24h",
            "verification_ttl": "1h",
        }
        issued = {"key": CLIENT_ID, "client_id": CLIENT_ID, "ttl": f"{IDENTITY_TOKEN_SECONDS}s"}
        for kind, values in (("key", signed), ("role", issued)):
            path = f"identity/oidc/{kind}/{CLIENT_ID}"
            if not self._get(path):
                self._post(path, values)
                made.append(f"{kind} of identity tokens {CLIENT_ID}")
        return made

    def public_keys(self, key: str) -> dict[int, str]:
        """The public keys of a transit key in PEM, by version."""
        versions = self._get(f"{TRANSIT}/keys/{key}").get("keys") or {}
        return {int(version): str(values["public_key"]) for version, values in versions.items()}

    def rotate(self, key: str) -> None:
        """Make a new version of a key."""
        self._post(f"{TRANSIT}/keys/{key}/rotate", {})

    def retire(self, key: str, *, below: int) -> None:
        """Let no version below this one sign any longer."""
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
