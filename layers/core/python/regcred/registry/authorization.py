"""The two kinds of Authorization header: a user name with a password, and a token. Pure."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass, field

from pydantic import SecretStr


@dataclass(frozen=True, slots=True)
class Basic:
    """A user name and a password, sent as Basic authentication."""

    username: str = field(repr=False)  # at DigitalOcean this is the token itself
    password: SecretStr

    def header(self) -> str:
        """The value of the Authorization header."""
        text = f"{self.username}:{self.password.get_secret_value()}"
        return "Basic " + b64encode(text.encode()).decode()


@dataclass(frozen=True, slots=True)
class Bearer:
    """A token. ``scheme`` is the vendor's name of the authentication scheme."""

    token: SecretStr
    scheme: str = "Bearer"

    def header(self) -> str:
        """The value of the Authorization header."""
        return f"{self.scheme} {self.token.get_secret_value()}"
