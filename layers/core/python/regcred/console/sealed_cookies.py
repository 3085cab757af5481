"""Seals the content of cookies, so that the browser can neither read nor change it.

Sealing is Fernet (AES-CBC with HMAC-SHA256) of the ``cryptography`` package, with a list of keys. The newest
key seals, and each key opens. Contract: https://cryptography.io/en/latest/fernet/
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from secrets import token_urlsafe
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from pydantic import SecretStr

from regcred.console.interface import ConsoleOptions, SealingKeys

COOKIE_MAX = 3800
"""The maximum size of a cookie's value. Browsers keep 4,096 bytes with name and attributes (RFC 6265, section
6.1)."""

SESSION, SIGN_IN, SAVED_FORM = "session", "sign-in", "form"
"""The purpose of a sealed text. A text with another purpose does not open."""


class Seal:
    """Seals small texts for the browser."""

    def __init__(self, keys: SealingKeys) -> None:
        self._keys = keys

    def close(self, purpose: str, content: Mapping[str, Any]) -> str:
        """Seal something.

        Args:
            purpose: The purpose of the text.
            content: Plain JSON.

        Returns:
            URL-safe text. It may be too long for a cookie.
        """
        plain = json.dumps({"for": purpose, **content}, separators=(",", ":")).encode()
        return self._fernet().encrypt(plain).decode()

    def open(self, purpose: str, text: str) -> dict[str, Any] | None:
        """Open a text from :meth:`close`; None for anything else."""
        if not text or len(text) > COOKIE_MAX or not text.isascii():
            return None
        plain = self._decrypted(text)
        if plain is None and self._keys.reload():
            plain = self._decrypted(text)
        if plain is None:
            return None
        content: dict[str, Any] = json.loads(plain)
        return content if content.get("for") == purpose else None

    def _decrypted(self, text: str) -> bytes | None:
        try:
            return self._fernet().decrypt(text.encode())
        except InvalidToken:
            return None

    def _fernet(self) -> MultiFernet:
        return MultiFernet([Fernet(key) for key in self._keys.all()])


@dataclass(frozen=True, slots=True)
class BrowserSession:
    """The signed-in person. The session is in the browser's cookie, and the server stores nothing."""

    token: SecretStr
    name: str
    entity: str
    csrf: str
    started_at: datetime
    seen_at: datetime
    own: bool = True
    """Whether signing out ends the token. False for the command line's token, which stays in use."""

    @classmethod
    def begin(
        cls, token: SecretStr, *, name: str, entity: str, now: datetime, own: bool = True
    ) -> BrowserSession:
        """A new session, without data of an earlier one."""
        return cls(token, name, entity, token_urlsafe(24), now, now, own)

    def ended(self, now: datetime, settings: ConsoleOptions) -> bool:
        """Whether it is too old, or has been unused for too long."""
        return now - self.seen_at >= settings.idle or now - self.started_at >= settings.longest

    def seen(self, now: datetime) -> BrowserSession:
        """The session after a request."""
        return replace(self, seen_at=now)

    def content(self) -> dict[str, Any]:
        """Plain JSON, to seal."""
        return asdict(self) | {
            "token": self.token.get_secret_value(),
            "started_at": int(self.started_at.timestamp()),
            "seen_at": int(self.seen_at.timestamp()),
        }

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> BrowserSession:
        """Undo :meth:`content`."""
        return cls(
            token=SecretStr(content["token"]),
            name=content["name"],
            entity=content["entity"],
            csrf=content["csrf"],
            started_at=datetime.fromtimestamp(content["started_at"], UTC),
            seen_at=datetime.fromtimestamp(content["seen_at"], UTC),
            own=content["own"],
        )


@dataclass(frozen=True, slots=True)
class FixedKeys:
    """One key for one process, for the console on the user's own machine."""

    key: bytes

    @classmethod
    def new(cls) -> FixedKeys:
        """A random key."""
        return cls(Fernet.generate_key())

    def all(self) -> list[bytes]:
        """See :class:`SealingKeys`."""
        return [self.key]

    def reload(self) -> bool:
        """See :class:`SealingKeys`."""
        return False
