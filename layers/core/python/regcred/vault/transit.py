"""Signatures by Vault's transit engine: the key is made there and never leaves it.

Contract: https://developer.hashicorp.com/vault/api-docs/secret/transit#sign-data (OpenBao answers alike).
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

import hvac

from regcred.errors import MalformedError

SIGNATURE_PARTS = 3
"""``vault:v<version>:<signature>``."""


@dataclass(frozen=True, slots=True)
class TransitSigner:
    """Signs with one key of a transit engine (type ``ecdsa-p256``).

    Args:
        client: Signed in; its adapter translates errors to ours.
        mount: Where the engine is.
        key: The name of the key.
    """

    client: hvac.Client
    mount: str
    key: str

    def sign(self, data: bytes, *, version: int = 0) -> str:
        """The signature of data as JWS has it, base64url without padding.

        Args:
            data: What to sign; hashed with SHA-256 there.
            version: The version of the key; the newest if 0.

        Raises:
            RegcredError: what :class:`regcred.vault.interface.KeyValue` raises.
        """
        body = {
            "input": base64.b64encode(data).decode(),
            "marshaling_algorithm": "jws",
            **({"key_version": version} if version else {}),
        }
        answer = self.client.adapter.post(f"/v1/{self.mount}/sign/{self.key}/sha2-256", json=body)
        parts = str(answer["data"]["signature"]).split(":")
        if len(parts) != SIGNATURE_PARTS:
            raise MalformedError(
                f"{self.mount}/sign/{self.key}: Vault's signature has another form than 'vault:v1:...'"
            )
        return parts[2].rstrip("=")
