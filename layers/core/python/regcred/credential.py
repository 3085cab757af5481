"""A registry credential: its logins, the hosts that accept them, and its expiry."""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import SecretStr

from regcred.errors import MalformedError
from regcred.registry_reference import Reference

CONFIG_MAX = 900_000
"""The maximum size of a Docker configuration in bytes. Kubernetes Secrets and Vault documents have 1 MiB."""

JITTER_SHARE = 0.1
"""The maximum jitter of a refresh, as a share of half the lifetime."""

ENTRY_BYTES = 150
"""The approximate size of an entry's host and JSON syntax in the ``auths`` map."""


class Verified(StrEnum):
    """The result of a check at the registry itself."""

    YES = "yes"
    """The credential pulled an image."""
    LOGIN = "login"
    """The registry accepted the login. No pull was tried, because the definition names no image."""
    UNKNOWN = "unknown"
    """The check was inconclusive: no image to pull, a 404, a 429, or an unreachable registry."""


@dataclass(frozen=True, slots=True)
class Login:
    """A user name and a password, and their keys in the ``auths`` map, by which the kubelet finds them.

    ``hosts`` are keys as the kubelet matches them (k8s.io/kubernetes pkg/credentialprovider):
    ``host[:port][/path]`` without a scheme. The path is a plain prefix. ``team/`` does not match ``team2/``.
    """

    username: str = field(repr=False)  # at DigitalOcean it is the token itself
    password: SecretStr
    hosts: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.username or ":" in self.username:
            raise MalformedError(
                "the user name is empty or contains ':', which Basic authentication does not allow",
                field="username",
            )
        if not self.password.get_secret_value():
            raise MalformedError("the password is empty", field="password")
        if not self.hosts:
            raise MalformedError("a login needs at least one host", field="hosts")

    @property
    def size(self) -> int:
        """The approximate bytes that one key of this login adds to the ``auths`` map.

        Each entry contains the login twice, once in base64.
        """
        login = len(self.username) + len(self.password.get_secret_value())
        return login + login * 4 // 3 + ENTRY_BYTES


@dataclass(frozen=True, slots=True)
class Credential:
    """The logins that a registry issued: one in all, or one for each region or host.

    ``expires_at`` is the earliest expiry of the logins, as the registry reported it. It is None for a static
    credential.
    """

    provider: str
    logins: tuple[Login, ...]
    issued_at: datetime
    expires_at: datetime | None = None
    revocation_id: str = field(default="", repr=False)
    """The vendor's ID for its revocation, never the token itself; empty if the vendor has none."""

    def __post_init__(self) -> None:
        if not self.logins:
            raise MalformedError("a credential needs at least one login", field="logins")
        if self.expires_at is not None and self.expires_at <= self.issued_at:
            raise MalformedError("the credential had already expired when it was issued", field="expires_at")
        size = sum(len(login.hosts) * login.size for login in self.logins)
        if size > CONFIG_MAX:
            raise MalformedError(
                f"the Secret for {sum(len(login.hosts) for login in self.logins)} keys would have about "
                f"{size // 1000} kB, but the limit is {CONFIG_MAX // 1000} kB; name fewer hosts, regions or "
                "endpoints, or prefixes instead of repositories",
                field="repositories",
            )

    @property
    def is_static(self) -> bool:
        """Whether it has no expiry, because it is the upstream secret itself."""
        return self.expires_at is None

    @property
    def hosts(self) -> tuple[str, ...]:
        """All keys of the ``auths`` map, sorted."""
        return tuple(sorted({host for login in self.logins for host in login.hosts}))

    def dockerconfigjson(self) -> SecretStr:
        """The content of a ``kubernetes.io/dockerconfigjson`` Secret. Equal credentials give equal bytes.

        The first login for a host has the key ``host``, and a second one has the key ``https://host``. The
        kubelet reads both as the same key, and tries both logins.
        """
        auths: dict[str, dict[str, str]] = {}
        for login in self.logins:
            password = login.password.get_secret_value()
            entry = {
                "username": login.username,
                "password": password,
                "auth": b64encode(f"{login.username}:{password}".encode()).decode(),
            }
            for host in login.hosts:
                auths[host if host not in auths else f"https://{host}"] = entry
        return SecretStr(json.dumps({"auths": auths}, sort_keys=True, separators=(",", ":")))

    def refresh_at(self, reference: Reference) -> datetime | None:
        """When to create the next credential: after half of the lifetime, minus up to 10 % of that half.

        This jitter is derived from the reference. So it is the same after a restart, and registries that were
        added together are renewed at different times. None for a static credential.
        """
        if self.expires_at is None:
            return None
        half = (self.expires_at - self.issued_at) / 2
        return self.issued_at + half - jitter(str(reference), half * JITTER_SHARE)


def jitter(seed: str, most: timedelta) -> timedelta:
    """A duration between 0 and ``most``. A seed always gives the same one; seeds are spread evenly."""
    share = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big") / 2**64
    return most * share


def last_quarter(expires_at: datetime | None, refresh_at: datetime | None) -> datetime | None:
    """When the last quarter of a credential's life begins; None for a static one.

    ``refresh_at`` is at 45 to 50 % of the life. So half of the time that remains then is about a quarter.
    """
    if expires_at is None or refresh_at is None:
        return expires_at
    return expires_at - (expires_at - refresh_at) / 2


def earliest(times: Iterable[datetime | None]) -> datetime | None:
    """The earliest of the times that are known, or None."""
    return min((time for time in times if time is not None), default=None)
