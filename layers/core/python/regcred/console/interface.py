"""What the console needs of Vault, so that a test can put something else in its place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from pydantic import SecretStr

from regcred.vault.store import Store


class Kind(StrEnum):
    """How a person can sign in."""

    OIDC = "oidc"
    USERPASS = "userpass"
    LDAP = "ldap"
    TOKEN = "token"  # noqa: S105 - a word


@dataclass(frozen=True, slots=True)
class Method:
    """One way to sign in that this console offers."""

    kind: Kind
    mount: str = ""
    """Where the auth method is mounted in Vault; the kind's own name if empty."""
    role: str = ""
    """For OIDC, the role; the default role of the mount if empty."""

    @property
    def path(self) -> str:
        """The mount."""
        return self.mount or self.kind.value

    @property
    def label(self) -> str:
        """What the button says."""
        words = {
            Kind.OIDC: "with single sign-on",
            Kind.USERPASS: "with a user name",
            Kind.LDAP: "with LDAP",
            Kind.TOKEN: "with a Vault token",
        }
        return words[self.kind]


@dataclass(frozen=True, slots=True)
class Who:
    """What Vault says of a token."""

    name: str
    entity: str = ""
    """The identity behind the token; empty where it has none."""
    policies: frozenset[str] = frozenset()
    ttl: timedelta | None = None
    """How long the token lives yet; None if it does not end."""
    created_ttl: timedelta | None = None
    """How long it was made for."""
    renewable: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """Who is in one of the groups of a project."""

    name: str
    entities: Sequence[str] = ()
    """Names of members, or their ids where the names can't be read."""
    groups: Sequence[str] = ()


class Access(Protocol):
    """Vault with one person's token."""

    @property
    def store(self) -> Store:
        """The records, read and written with that token."""

    def who(self) -> Who:
        """Whose token it is.

        Raises:
            RefusedError: The token is not valid (any more).
            TransientError: Vault can't be reached.
        """

    def renew(self) -> None:
        """Ask for a longer life of the token."""

    def revoke(self) -> None:
        """End the token."""

    def may(self, paths: Sequence[str]) -> Mapping[str, frozenset[str]]:
        """What the token may do at paths below the mount (``data/platform/projects/payments``)."""

    def groups(self, project: str) -> Sequence[Group]:
        """The groups of a project and who is in them; empty where the token may not read them."""


class Vault(Protocol):
    """Vault as the console sees it before it has anybody's token.

    Signing in raises RefusedError where Vault says no, and TransientError where it can't be reached.
    """

    def with_token(self, token: SecretStr) -> Access:
        """Use a person's token."""

    def by_password(self, method: Method, username: str, password: SecretStr) -> SecretStr:
        """Sign in with a user name and a password (userpass, LDAP); the answer is the token."""

    def oidc_url(self, method: Method, redirect_uri: str, nonce: str) -> str:
        """Where to send the browser to sign in."""

    def by_oidc(self, method: Method, *, state: str, code: str, nonce: str) -> SecretStr:
        """Exchange what the identity provider sent back for a token."""


class SealingKeys(Protocol):
    """The keys that cookies are sealed with."""

    def all(self) -> Sequence[bytes]:
        """All keys, newest first: the first seals, each opens."""

    def reload(self) -> bool:
        """Look for newer keys, at most every few seconds; answer whether there may be other keys now."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one console."""

    methods: tuple[Method, ...]
    origin: str = ""
    """Its public address, as in https://regcred.example.com; empty: the host that the request names, which only suits
    an address that routes by host, such as a Lambda function URL."""
    hosts: tuple[str, ...] = ()
    """More host names that requests may name (a health check's); with an empty origin every host is taken."""
    idle: timedelta = timedelta(minutes=30)
    """A session ends after this long without a request."""
    longest: timedelta = timedelta(hours=10)
    """A session ends after this long, whatever happens."""
    local: bool = False
    """Whether it runs on the user's own machine, over plain HTTP on a loopback address."""
    fresh: timedelta = timedelta(seconds=10)
    """How old a list may be before it is read again in the background."""
    stale: timedelta = timedelta(minutes=2)
    """How old a list may be before the reader waits for a new one."""
    vault: str = ""
    """The address of Vault, to show."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """A one-time way in to the console on the user's own machine: the token that the command line has."""

    secret: str = field(repr=False)
    token: Callable[[], SecretStr]
    """Reads the token when the ticket is used."""


def never_nudge(_project: str) -> bool:
    """Tell nobody: dispatch looks at its next interval."""
    return False


Clock = Callable[[], datetime]
