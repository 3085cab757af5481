"""The users of the registry, and their access to repositories."""

from __future__ import annotations

import fnmatch
import hashlib
import hmac
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from realparts import pki
from realparts.aws_policy import allowed, ecr_host, partition
from realparts.ecr_token import EcrToken, InvalidTokenError
from realparts.used_secrets import remember

ECR_ACTIONS = {"pull": "ecr:BatchGetImage", "push": "ecr:PutImage", "delete": "ecr:BatchDeleteImage"}


class RefusedError(Exception):
    """The registry refuses a credential. The message contains the reason, and `status` the HTTP status."""

    def __init__(self, reason: str, status: int = 401, code: str = "UNAUTHORIZED") -> None:
        super().__init__(reason)
        self.status = status
        self.code = code


@dataclass
class User:
    """A user of the registry. Times are seconds since the epoch; None means no expiry."""

    name: str
    password_sha256: str
    pull: list[str] = field(default_factory=list)
    push: list[str] = field(default_factory=list)
    hosts: list[str] = field(default_factory=lambda: ["*"])
    expires_at: float | None = None
    revoked: bool = False

    def actions(self, repository: str) -> set[str]:
        """Return the actions that the user may do with a repository."""
        push = any(fnmatch.fnmatchcase(repository, pattern) for pattern in self.push)
        pull = push or any(fnmatch.fnmatchcase(repository, pattern) for pattern in self.pull)
        return ({"pull"} if pull else set()) | ({"push", "delete"} if push else set())


@dataclass(frozen=True)
class Login:
    """A user with a verified credential, and its expiry."""

    user: User | EcrToken
    expires_at: float | None

    @property
    def name(self) -> str:
        """The user's name, or the ARN behind an `AWS:` login."""
        return self.user.name if isinstance(self.user, User) else self.user.principal


class Accounts:
    """The users, the revoked `AWS:` logins and the cross-account grants, in a file."""

    def __init__(self, directory: Path, ecr_key: bytes) -> None:
        self._directory = directory
        self._path = directory / "accounts.json"
        self._ecr_key = ecr_key
        stored = json.loads(self._path.read_text()) if self._path.exists() else {}
        self.users = {name: User(**value) for name, value in stored.get("users", {}).items()}
        self.revoked_tokens: list[str] = stored.get("revoked_tokens", [])
        self.cross_account: list[dict[str, str]] = stored.get("cross_account", [])

    def save(self) -> None:
        """Write everything to the file."""
        users = {name: asdict(user) for name, user in self.users.items()}
        content = {"users": users, "revoked_tokens": self.revoked_tokens, "cross_account": self.cross_account}
        pki.write_private(self._path, json.dumps(content, indent=1))

    def put_user(
        self,
        name: str,
        password: str,
        *,
        pull: list[str],
        push: list[str],
        hosts: list[str],
        expires_at: float | None = None,
    ) -> None:
        """Create or replace a user."""
        remember(self._directory.parent, password)
        self.users[name] = User(name, _hashed(password), pull, push, hosts, expires_at)
        self.save()

    def revoke_user(self, name: str) -> None:
        """Refuse a user from now on.

        Raises:
            KeyError: there is none of that name.
        """
        self.users[name].revoked = True
        self.save()

    def revoke_ecr_login(self, password: str) -> None:
        """Refuse one `AWS:` login from now on."""
        self.revoked_tokens.append(EcrToken.opened(password, self._ecr_key).id)
        self.save()

    def open_repositories(self, grant: dict[str, str]) -> None:
        """Give an `account` access to repositories of an `owner`, as a repository policy does.

        The pattern `repository` selects the repositories.
        """
        self.cross_account.append(grant)
        self.save()

    def login(self, host: str, username: str, password: str, now: float) -> Login:
        """Return the login for a user name and a password.

        Raises:
            RefusedError: the credential is not valid on this host.
        """
        if ecr_host(host):
            return self._ecr_login(username, password, now)
        user = self.users.get(username)
        if user is None or not hmac.compare_digest(user.password_sha256, _hashed(password)):
            raise RefusedError("unknown user or wrong password")
        if user.revoked:
            raise RefusedError("the credential was revoked")
        if user.expires_at is not None and now >= user.expires_at:
            raise RefusedError("the credential has expired")
        if not any(fnmatch.fnmatchcase(host, pattern) for pattern in user.hosts):
            raise RefusedError(f"no such user on {host}")
        return Login(user, user.expires_at)

    def actions(self, login: Login, host: str, repository: str) -> set[str]:
        """Return the actions that a login may do with a repository of this host."""
        if isinstance(login.user, User):
            return login.user.actions(repository)
        token, registry = login.user, ecr_host(host)
        if (
            registry is None
            or registry.region != token.region
            or not self._reaches(token.account, registry.account, repository)
        ):
            return set()
        arn = (
            f"arn:{partition(token.region)}:ecr:{registry.region}:{registry.account}:repository/{repository}"
        )
        return {name for name, action in ECR_ACTIONS.items() if allowed(token.policies, action, arn)}

    def _ecr_login(self, username: str, password: str, now: float) -> Login:
        try:
            token = EcrToken.opened(password, self._ecr_key)
        except InvalidTokenError as error:
            raise RefusedError("Not Authorized") from error
        if username != "AWS" or token.id in self.revoked_tokens:
            raise RefusedError("Not Authorized")
        if token.expired(now):
            message = "Your authorization token has expired. Reauthenticate and try again."
            raise RefusedError(message, status=403, code="DENIED")
        return Login(token, token.expires_at)

    def _reaches(self, caller: str, owner: str, repository: str) -> bool:
        return caller == owner or any(
            grant["owner"] == owner
            and grant["account"] == caller
            and fnmatch.fnmatchcase(repository, grant["repository"])
            for grant in self.cross_account
        )


def _hashed(password: str) -> str:
    """Return the stored hash of a password. The passwords are random, so a slow hash is not needed."""
    return hashlib.sha256(password.encode()).hexdigest()
