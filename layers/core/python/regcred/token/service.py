"""Handles the requests of the token server. web.py reads them and writes the responses."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import SecretStr

from regcred.errors import MalformedError, RefusedError
from regcred.token import access as who_may
from regcred.token import scope
from regcred.token.caller_identity import check_project
from regcred.token.interface import PEOPLE, Issuers, People, Records, Signer
from regcred.token.login import REPOSITORIES_MAX, Owner, VerifiedLogin, check
from regcred.token.signing import sign_access_token, sign_login
from regcred.vault.records.system import SystemConfig, SystemKeys

TOKEN_LEEWAY_SECONDS = 5
"""How long before its creation an access token is already valid, because clocks differ."""

PROJECT_LOGIN_SECONDS = (600, 86400)
"""The minimum and the maximum lifetime of a project's login."""

_VAULT = ThreadPoolExecutor(40, "regcred-token")
"""Reads from Vault in parallel, because a pull waits for its access token. At most 40 reads run at once."""

USER_MAX = 64
"""The maximum length of a user name."""


@dataclass(frozen=True, slots=True)
class AccessToken:
    """The response to a client: an access token for the registry."""

    token: SecretStr
    expires_in: int
    """The lifetime in seconds."""
    issued_at: datetime
    access: Sequence[scope.ResourceActions]


@dataclass(frozen=True, slots=True)
class IssuedLogin:
    """A new login."""

    identifier: str
    user: str
    password: SecretStr
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class TokenService:
    """The token server over its interfaces.

    Args:
        records: The documents of the system registry.
        people: Vault's entities and groups.
        issuers: Checks the identity tokens of projects.
        tokens: Signs access tokens.
        logins: Signs logins, with a key that no registry trusts.
        now: Returns the current time in UTC.
    """

    records: Records
    people: People
    issuers: Issuers
    tokens: Signer
    logins: Signer
    now: Callable[[], datetime]

    def access_token(
        self, user: str, password: SecretStr, *, service: str, scopes: Sequence[str]
    ) -> AccessToken:
        """Give a client an access token for what it requests and may have.

        Args:
            user: Its user name.
            password: Its password, a login.
            service: The requested ``service``.
            scopes: The values of ``scope``.

        Raises:
            RefusedError: the login is not valid.
            MalformedError: the service or a scope is wrong.
            TransientError: Vault can't be reached at the moment.
        """
        config, keys, now = self.records.config(), self.records.keys(), self.now()
        requested = scope.parse_scopes(scopes)
        login = check(user, password.get_secret_value(), issuer=config.issuer, keys=keys.logins)
        standing = _VAULT.submit(self._standing, login)
        self._check_not_ended(login)
        if service != config.service:
            raise MalformedError(f"service: is not {config.service}", field="service")
        may = who_may.may(standing.result(), requested, community=config.community)
        granted = scope.intersect(requested, may)
        seconds = min(config.token_seconds, int((login.expires_at - now).total_seconds()))
        claims = {
            "iss": config.issuer,
            "sub": login.user,
            "aud": config.service,
            "exp": int(now.timestamp()) + seconds,
            "nbf": int(now.timestamp()) - TOKEN_LEEWAY_SECONDS,
            "iat": int(now.timestamp()),
            "jti": secrets.token_hex(16),
            "access": [one.claim() for one in granted],
        }
        token = sign_access_token(self.tokens, claims, config, keys, now=now)
        return AccessToken(token, seconds, now, granted)

    def project_login(
        self, identity_token: SecretStr, *, project: str, repositories: Sequence[str], seconds: int
    ) -> IssuedLogin:
        """Create a pull-only login for a project, whose IAM role the caller proves with an identity token.

        Args:
            project: The project that the caller claims to be; its document in Vault must name the role.
            identity_token: A JWT of the role for this server (AWS STS GetWebIdentityToken). Each works once.
            repositories: The prefixes that the login is limited to. Empty means the whole project.
            seconds: Its lifetime.

        Raises:
            RefusedError: the token is not valid, was used before, or is not of the project's role.
            MalformedError: the lifetime or a prefix is wrong.
        """
        shortest, longest = PROJECT_LOGIN_SECONDS
        if not shortest <= seconds <= longest:
            raise MalformedError(f"expires_in: must be {shortest} to {longest} seconds", field="expires_in")
        if len(repositories) > REPOSITORIES_MAX or not all(
            scope.is_repository(prefix.rstrip("/")) for prefix in repositories
        ):
            raise MalformedError(
                f"repositories: must be at most {REPOSITORIES_MAX} names or prefixes of repositories",
                field="repositories",
            )
        config, keys = self.records.config(), self.records.keys()
        self._check_project(project, identity_token, config)
        stray = [name for name in repositories if name.partition("/")[0] not in {project, *config.community}]
        if stray:
            raise RefusedError(f"repository {stray[0]} does not belong to project {project}")
        now = self.now()
        login = VerifiedLogin(
            owner=Owner.PROJECT,
            subject=project,
            user=f"project-{project}"[:USER_MAX],
            identifier=secrets.token_hex(16),
            issued_at=now,
            expires_at=now + timedelta(seconds=seconds),
            repositories=tuple(repositories),
        )
        return self._issue(login, config, keys)

    def end_project_login(self, identity_token: SecretStr, *, project: str, identifier: str) -> None:
        """End a login of the project whose IAM role the identity token has. A second call has no effect."""
        if len(identifier) != 2 * 16 or not set(identifier) <= set("0123456789abcdef"):
            raise MalformedError("id: is not the ID of a login", field="id")
        self._check_project(project, identity_token, self.records.config())
        now = self.now()
        until = now + timedelta(seconds=PROJECT_LOGIN_SECONDS[1])
        self.records.change_ended(project, lambda old: old.deny(identifier, until, now=now))

    def person_login(self, identity_token: SecretStr, *, seconds: int) -> IssuedLogin:
        """Create a login for the person of a Vault identity token.

        Args:
            identity_token: From Vault's ``identity/oidc/token/regcred-system``.
            seconds: Its lifetime. If it is 0 or over the platform's limit, that limit is used.

        Raises:
            RefusedError: Vault does not confirm the token.
        """
        config, keys, now = self.records.config(), self.records.keys(), self.now()
        person = self.people.introspect(identity_token.get_secret_value())
        if person is None or self.people.groups(person.entity) is None:
            raise RefusedError("Vault does not accept this identity token; sign in to Vault again")
        lifetime = min(seconds or config.login_seconds, config.login_seconds)
        login = VerifiedLogin(
            owner=Owner.PERSON,
            subject=person.entity,
            user=_user_name(person.name),
            identifier=secrets.token_hex(16),
            issued_at=now,
            expires_at=now + timedelta(seconds=lifetime),
            repositories=(),
        )
        return self._issue(login, config, keys)

    def end_person_logins(self, user: str, password: SecretStr) -> None:
        """End all logins of a person, given one of them.

        Raises:
            RefusedError: the login is not valid, or belongs to a project.
        """
        config = self.records.config()
        keys = self.records.keys().logins
        login = check(user, password.get_secret_value(), issuer=config.issuer, keys=keys)
        self._check_not_ended(login)
        if login.owner is not Owner.PERSON:
            raise RefusedError("this login belongs to a project: revoke its registry instead")
        now, longest = self.now(), timedelta(seconds=config.login_seconds)
        self.records.change_ended(PEOPLE, lambda old: old.end_person(login.subject, now=now, longest=longest))

    def _check_not_ended(self, login: VerifiedLogin) -> None:
        if login.owner is Owner.PROJECT:
            ended = self.records.ended(login.subject).ends(login.identifier, login.issued_at)
        else:
            since = self.records.ended(PEOPLE).people.get(login.subject)
            # A login's time has only full seconds, so a login of the same second counts as older.
            ended = since is not None and login.issued_at <= since
        if ended or login.expires_at <= self.now():
            raise RefusedError("this login was revoked, or it has expired")

    def _standing(self, login: VerifiedLogin) -> who_may.Standing:
        if login.owner is Owner.PROJECT:
            if self.records.project(login.subject) is None:
                raise RefusedError(f"project {login.subject} no longer exists")
            return who_may.of_project(login.subject, login.repositories)
        groups = self.people.groups(login.subject)
        if groups is None:
            raise RefusedError("Vault no longer knows this person")
        return who_may.of_groups(groups)

    def _check_project(self, project: str, identity_token: SecretStr, config: SystemConfig) -> None:
        check_project(
            project, identity_token, config, records=self.records, issuers=self.issuers, now=self.now()
        )

    def _issue(self, login: VerifiedLogin, config: SystemConfig, keys: SystemKeys) -> IssuedLogin:
        password = sign_login(self.logins, login, config, keys)
        return IssuedLogin(login.identifier, login.user, password, login.expires_at)


def _user_name(name: str) -> str:
    kept = "".join(
        letter if letter.isascii() and (letter.isalnum() or letter in "-_.@") else "-" for letter in name
    )
    return kept[:USER_MAX] or "person"
