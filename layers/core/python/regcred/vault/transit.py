"""Signs with Vault's transit engine. The key is created there and never leaves it.

Contract: https://developer.hashicorp.com/vault/api-docs/secret/transit#sign-data (the same in OpenBao).
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
        client: A client that is signed in. Its adapter raises :mod:`regcred.errors`.
        mount: The mount path of the engine.
        key: The name of the key.
    """

    client: hvac.Client
    mount: str
    key: str

    def sign(self, data: bytes, *, version: int = 0) -> str:
        """The signature of data in the form of JWS: base64url without padding.

        Args:
            data: What to sign. Vault hashes it with SHA-256.
            version: The version of the key; the newest if 0.

        Raises:
            RegcredError: the errors of :class:`regcred.vault.interface.KeyValue`.
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
