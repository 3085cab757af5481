"""The state of the AWS side, in a file: access keys and sessions, roles, settings."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from realparts import pki
from realparts.used_secrets import remember

from .answers import AwsError

ROLE_ARN = re.compile(r"^arn:aws[a-z-]*:iam::(?P<account>\d{12}):role/(?P<path>.*/)?(?P<name>[\w+=,.@-]+)$")
_KEPT_AFTER_EXPIRY_SECONDS = 86400
"""How long an expired session is kept, so that its error differs from that of an unknown session."""


@dataclass(frozen=True)
class Caller:
    """The owner of an access key: a user (no expiry, no token) or a role session.

    Times are seconds since the epoch.
    """

    access_key: str
    secret: str
    arn: str
    principal: str
    account: str
    policies: list[dict[str, Any]]
    token: str | None = None
    expires_at: float | None = None
    tags: dict[str, str] = field(default_factory=dict)
    role_id: str = ""
    """The unique ID of the session's role. A role that was deleted and created again has another one."""


class Store:
    """The callers, roles and settings of one folder."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._path = directory / "front.json"
        stored = json.loads(self._path.read_text()) if self._path.exists() else {}
        self.callers = {key: Caller(**value) for key, value in stored.get("callers", {}).items()}
        self.roles: dict[str, dict[str, Any]] = stored.get("roles", {})
        self.settings: dict[str, Any] = {
            "ecr_token_seconds": 43200,
            "outbound_federation_disabled": [],
            **stored.get("settings", {}),
        }

    def caller(self, key: str, token: str | None) -> Caller:
        """Return the owner of an access key.

        Raises:
            AwsError: the key or its session token is unknown, or the session has expired.
        """
        caller = self.callers.get(key)
        if caller is None or not hmac.compare_digest(caller.token or "", token or ""):
            message = "The security token included in the request is invalid."
            raise AwsError("UnrecognizedClientException", message, query="InvalidClientTokenId", status=403)
        if caller.expires_at is not None and time.time() >= caller.expires_at:
            message = "The security token included in the request is expired"
            raise AwsError("ExpiredTokenException", message, query="ExpiredToken", status=403)
        return caller

    def new_session(
        self, arn: str, name: str, seconds: float, policies: list[dict[str, Any]], *, tags: dict[str, str]
    ) -> Caller:
        """Create a session of a role and store it.

        Args:
            arn: the role's ARN.
            name: the name of the session.
            seconds: its lifetime.
            policies: the role's policy, and a session policy that restricts it. All must allow an action.
            tags: its session tags.
        """
        found = ROLE_ARN.match(arn)
        assert found is not None
        secret, token = secrets.token_urlsafe(30), secrets.token_urlsafe(200)
        session = Caller(
            access_key=f"ASIA{secrets.token_hex(8).upper()}",
            secret=secret,
            token=token,
            arn=f"arn:{arn.split(':')[1]}:sts::{found['account']}:assumed-role/{found['name']}/{name}",
            principal=arn,
            account=found["account"],
            policies=policies,
            expires_at=time.time() + seconds,
            tags=tags,
            role_id=self.roles.get(arn, {}).get("id", ""),
        )
        self.callers[session.access_key] = session
        self.save()
        self.remember(secret, token)
        return session

    def remember(self, *values: str) -> None:
        """Record issued secrets, which no log may contain."""
        remember(self.directory.parent, *values)

    def save(self) -> None:
        """Write the file, without sessions that expired long ago."""
        now = time.time()
        self.callers = {
            key: caller
            for key, caller in self.callers.items()
            if (caller.expires_at or now) > now - _KEPT_AFTER_EXPIRY_SECONDS
        }
        content = {
            "callers": {key: asdict(caller) for key, caller in self.callers.items()},
            "roles": self.roles,
            "settings": self.settings,
        }
        pki.write_private(self._path, json.dumps(content))


def digest(text: str) -> str:
    """Return the hexadecimal digest from which identifiers are derived."""
    return hashlib.sha256(text.encode()).hexdigest()
