"""A registry credential: who logs in where, with what, until when."""

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
"""Largest Docker configuration in bytes: Kubernetes takes Secrets, and Vault documents, of 1 MiB."""

JITTER_SHARE = 0.1
"""The largest share of the half life by which a refresh is brought forward."""


class Verified(StrEnum):
    """What a check against the registry itself has shown."""

    YES = "yes"
    """An image was pulled with it."""
    LOGIN = "login"
    """The registry took the login; that it pulls was not tried, since the definition names no image."""
    UNKNOWN = "unknown"
    """The check was inconclusive: nothing to probe, a 404, a 429, or the registry out of reach."""


@dataclass(frozen=True, slots=True)
class Login:
    """One user name and password, and the keys of the ``auths`` map under which the kubelet shall find it.

    ``hosts`` are keys as the kubelet matches them (k8s.io/kubernetes pkg/credentialprovider):
    ``host[:port][/path/]``, without scheme; a path ends in ``/`` so that ``team/`` does not match ``team2/``.
    """

    username: str = field(repr=False)  # at DigitalOcean it is the token itself
    password: SecretStr
    hosts: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.username or ":" in self.username:
            raise MalformedError(
                "the user name is empty or holds ':', which Basic authentication can't carry",
                field="username",
            )
        if not self.password.get_secret_value():
            raise MalformedError("the password is empty", field="password")
        if not self.hosts:
            raise MalformedError("a login needs at least one host", field="hosts")

    @property
    def size(self) -> int:
        """The approximate size in bytes of one of its keys in the ``auths`` map.

        The map holds the login twice, once in base64.
        """
        login = len(self.username) + len(self.password.get_secret_value())
        return login + login * 4 // 3 + 150


@dataclass(frozen=True, slots=True)
class Credential:
    """What a registry gave: one login, or several where regions or hosts have their own.

    ``expires_at`` is the earliest of all logins, as the registry said it; None for a static one.
    """

    provider: str
    logins: tuple[Login, ...]
    issued_at: datetime
    expires_at: datetime | None = None
    revocation_id: str = field(default="", repr=False)
    """What the vendor needs to revoke it (a token's id, never the token), or empty."""

    def __post_init__(self) -> None:
        if not self.logins:
            raise MalformedError("a credential needs at least one login", field="logins")
        if self.expires_at is not None and self.expires_at <= self.issued_at:
            raise MalformedError("the credential had expired when it was issued", field="expires_at")
        size = sum(len(login.hosts) * login.size for login in self.logins)
        if size > CONFIG_MAX:
            raise MalformedError(
                f"the Secret for {sum(len(login.hosts) for login in self.logins)} keys would have some "
                f"{size // 1000} kB, and {CONFIG_MAX // 1000} fit; name fewer hosts, regions or endpoints, "
                "or prefixes instead of repositories",
                field="repositories",
            )

    @property
    def is_static(self) -> bool:
        """Whether it is the upstream secret itself, which never expires."""
        return self.expires_at is None

    @property
    def hosts(self) -> tuple[str, ...]:
        """All keys of the ``auths`` map, sorted."""
        return tuple(sorted({host for login in self.logins for host in login.hosts}))

    def dockerconfigjson(self) -> SecretStr:
        """The text of a ``kubernetes.io/dockerconfigjson`` Secret; equal credentials give equal bytes.

        Each key occurs once as ``host``; a second login for the same key takes ``https://host``, which the
        kubelet reads as the same key and tries as well (A/B overlap).
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
        """When to mint the next one: half of the real lifetime, brought forward by up to 10 %.

        The jitter is derived from the reference, so it survives restarts and spreads registries that were
        registered together. None for a static credential.
        """
        if self.expires_at is None:
            return None
        half = (self.expires_at - self.issued_at) / 2
        return self.issued_at + half - jitter(str(reference), half * JITTER_SHARE)


def jitter(seed: str, most: timedelta) -> timedelta:
    """A steady share of ``most``: the same seed gives the same answer, different seeds are spread evenly."""
    share = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big") / 2**64
    return most * share


def last_quarter(expires_at: datetime | None, refresh_at: datetime | None) -> datetime | None:
    """When the last quarter of a credential's life begins; None for a static one.

    ``refresh_at`` lies at 45 to 50 % of the life, so a quarter is half of what follows it, within a tenth.
    """
    if expires_at is None or refresh_at is None:
        return expires_at
    return expires_at - (expires_at - refresh_at) / 2


def earliest(times: Iterable[datetime | None]) -> datetime | None:
    """The earliest of the times that are known, or None."""
    return min((time for time in times if time is not None), default=None)
