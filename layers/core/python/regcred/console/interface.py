"""The console's interface to Vault. A test can replace the real one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from pydantic import SecretStr

from regcred.errors import RefusedError

if TYPE_CHECKING:
    from regcred.vault.store import Store


class SignInKind(StrEnum):
    """How a person can sign in."""

    OIDC = "oidc"
    USERPASS = "userpass"
    LDAP = "ldap"
    TOKEN = "token"  # noqa: S105 - a word


@dataclass(frozen=True, slots=True)
class Method:
    """One sign-in method of this console."""

    kind: SignInKind
    mount: str = ""
    """The mount path of the auth method in Vault; the kind's own name if empty."""
    role: str = ""
    """The role for OIDC; the default role of the mount if empty."""

    @property
    def path(self) -> str:
        """The mount."""
        return self.mount or self.kind.value

    @property
    def label(self) -> str:
        """The text of the button."""
        words = {
            SignInKind.OIDC: "with single sign-on",
            SignInKind.USERPASS: "with a user name",
            SignInKind.LDAP: "with LDAP",
            SignInKind.TOKEN: "with a Vault token",
        }
        return words[self.kind]


@dataclass(frozen=True, slots=True)
class Who:
    """Vault's information about a token."""

    name: str
    entity: str = ""
    """The identity of the token; empty if it has none."""
    policies: frozenset[str] = frozenset()
    ttl: timedelta | None = None
    """The remaining life of the token; None if it does not expire."""
    created_ttl: timedelta | None = None
    """The initial life of the token."""
    renewable: bool = False


@dataclass(frozen=True, slots=True)
class ProjectGroup:
    """The members of one of a project's groups."""

    name: str
    entities: Sequence[str] = ()
    """Names of members, or their IDs if the names can't be read."""
    groups: Sequence[str] = ()
    """Names of groups whose members belong to it, or their IDs if the names can't be read."""


class Member(StrEnum):
    """What can be a member of a group."""

    PERSON = "person"
    GROUP = "group"


def project_groups(project: str) -> tuple[str, str]:
    """The names of a project's groups in Vault: its admins, and its readers."""
    return f"regcred-admins-{project}", f"regcred-readers-{project}"


class ConsoleAccess(Protocol):
    """Vault with one person's token."""

    @property
    def store(self) -> Store:
        """The records, read and written with this token."""

    def who(self) -> Who:
        """The owner of the token.

        Raises:
            RefusedError: The token is not valid, or not any more.
            TransientError: Vault can't be reached.
        """

    def renew(self) -> None:
        """Ask Vault to renew the token."""

    def revoke(self) -> None:
        """Revoke the token."""

    def may(self, paths: Sequence[str]) -> Mapping[str, frozenset[str]]:
        """The token's capabilities at paths below the mount (``data/platform/projects/payments``)."""

    def groups(self, project: str) -> Sequence[ProjectGroup]:
        """The groups of a project and their members; empty if the token may not read them."""

    def system_registry(self) -> str:
        """The host of the system registry; empty if there is none, or if it can't be read."""

    def may_change_groups(self, project: str) -> bool:
        """Whether to show a form for the members: the token may write the project's groups."""

    def change_group(self, group: str, kind: Member, name: str, *, take: bool) -> None:
        """Add a member to a group of a project, or remove it.

        Args:
            group: The group's name.
            kind: What the member is.
            name: The name of the person's entity, or of the other group.
            take: Whether to remove it.

        Raises:
            MalformedError: Vault has no such person or group.
            RefusedError: The token may not change the group.
            MissingError: There is no such group of a project.
        """


class WrongPasswordError(RefusedError):
    """Vault refused the user name or the password, and not what came after them."""


class Vault(Protocol):
    """Vault before a person has signed in.

    A sign-in raises RefusedError if Vault refuses it, and TransientError if Vault can't be reached.
    """

    def with_token(self, token: SecretStr) -> ConsoleAccess:
        """Use a person's token."""

    def by_password(self, method: Method, username: str, password: SecretStr) -> SecretStr:
        """Sign in with a user name and a password (userpass, LDAP). Returns the token.

        Raises:
            WrongPasswordError: the user name or the password is wrong.
        """

    def oidc_url(self, method: Method, redirect_uri: str, nonce: str) -> str:
        """The address for the browser to sign in."""

    def by_oidc(self, method: Method, *, state: str, code: str, nonce: str) -> SecretStr:
        """Exchange the identity provider's response for a token."""


class SealingKeys(Protocol):
    """The keys that seal cookies."""

    def all(self) -> Sequence[bytes]:
        """All keys, newest first. The first one seals, and each one opens."""

    def reload(self) -> bool:
        """Look for newer keys, at most every few seconds. Return whether the keys may have changed."""


@dataclass(frozen=True, slots=True)
class ConsoleOptions:
    """The settings of one console."""

    methods: tuple[Method, ...]
    origin: str = ""
    """Its public address, as in https://regcred.example.com. If empty, the host in the request counts. That
    is only safe for an address that routes by host, such as a Lambda function URL."""
    hosts: tuple[str, ...] = ()
    """Additional host names that requests may name (a health check's). With an empty origin, every host is
    accepted."""
    idle: timedelta = timedelta(minutes=30)
    """The maximum time without a request before a session ends."""
    longest: timedelta = timedelta(hours=10)
    """The maximum time of a session."""
    local: bool = False
    """Whether it runs on the user's own machine, over plain HTTP on a loopback address."""
    fresh: timedelta = timedelta(seconds=10)
    """The age at which a list is refreshed in the background."""
    stale: timedelta = timedelta(minutes=2)
    """The age at which a page waits for a new list."""
    vault: str = ""
    """The address of Vault, for display."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """A one-time sign-in to the console on the user's own machine, with the command line's token."""

    secret: str = field(repr=False)
    token: Callable[[], SecretStr]
    """Reads the token when the ticket is used."""


def never_nudge(_project: str) -> bool:
    """Do nothing. Dispatch then handles the request in its next sweep."""
    return False
