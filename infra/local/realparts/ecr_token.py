"""The password of an `AWS:` registry login, which the ECR stand-in issues and the registry accepts.

The real password is opaque to clients. This one is signed with a key that only the two stand-ins read.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from dataclasses import asdict, dataclass
from typing import Any


class InvalidTokenError(ValueError):
    """The token was not issued with this key, or it was changed."""


@dataclass(frozen=True)
class EcrToken:
    """The content of a login. Times are seconds since the epoch."""

    id: str
    account: str
    region: str
    principal: str
    policies: list[dict[str, Any]]
    issued_at: float
    expires_at: float

    def expired(self, now: float | None = None) -> bool:
        """Whether it is no longer valid."""
        return (time.time() if now is None else now) >= self.expires_at

    def sealed(self, key: bytes) -> str:
        """Return the password."""
        payload = base64.urlsafe_b64encode(json.dumps(asdict(self), separators=(",", ":")).encode())
        return f"{payload.decode()}.{_signature(payload, key)}"

    @classmethod
    def opened(cls, password: str, key: bytes) -> EcrToken:
        """Return the content of a password, even if it has expired.

        Raises:
            InvalidTokenError: it was not issued with this key.
        """
        payload, _, signature = password.partition(".")
        if not hmac.compare_digest(signature, _signature(payload.encode(), key)):
            raise InvalidTokenError("not a token of this registry")
        return cls(**json.loads(base64.urlsafe_b64decode(payload)))


def _signature(payload: bytes, key: bytes) -> str:
    return base64.urlsafe_b64encode(hmac.digest(key, payload, hashlib.sha256)).decode().rstrip("=")
