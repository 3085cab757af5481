"""The vendors of a fleet, in memory."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from pydantic import SecretStr

from bench.fleet.time import Clock, Outages
from regcred.credential import Credential, Login
from regcred.errors import TransientError
from regcred.registry.definition import BaseDefinition
from regcred.registry.interface import IssuedCredential, MintContext, Revoked
from regcred.registry_reference import Reference


@dataclass(frozen=True)
class Kind:
    """A kind of vendor: its share of the fleet, and its behaviour."""

    share: float
    life: timedelta | None
    """None for a static credential."""
    per_second: float
    """Calls per second of one account. The vendor throttles more."""
    latency: timedelta
    accounts: int


KINDS: Mapping[str, Kind] = {
    "ecr": Kind(0.70, timedelta(hours=12), 20, timedelta(milliseconds=150), 40),
    "acr": Kind(0.08, timedelta(hours=3), 10, timedelta(milliseconds=300), 10),
    "google": Kind(0.04, timedelta(hours=1), 10, timedelta(milliseconds=250), 10),
    "static": Kind(0.18, None, 5, timedelta(milliseconds=200), 50),
}


@dataclass
class Vendors:
    """All vendors. `account` has the vendor and the account of each registry."""

    clock: Clock
    kinds: Mapping[str, Kind]
    outages: Mapping[str, Outages]
    rng: random.Random
    account: dict[Reference, tuple[str, int]] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    throttled: Counter[str] = field(default_factory=Counter)
    down: Counter[str] = field(default_factory=Counter)
    per_second: Counter[tuple[str, int, int]] = field(default_factory=Counter)

    def mint(self, definition: BaseDefinition, context: MintContext) -> Credential:
        name, account = self.account[context.reference]
        kind = self.kinds[name]
        now = context.now()
        self.calls[name] += 1
        if self.outages[name].at(now):
            self.down[name] += 1
            raise TransientError(f"{name} is unreachable")
        second = (name, account, int(now.timestamp()))
        self.per_second[second] += 1
        if self.per_second[second] > kind.per_second:
            self.throttled[name] += 1
            raise TransientError(f"{name}: throttled", retry_after=timedelta(seconds=30))
        password = "static" if kind.life is None else f"{self.rng.getrandbits(64):x}"
        return Credential(
            provider="basic",
            logins=(Login("user", SecretStr(password), ("registry.example.com",)),),
            issued_at=now,
            expires_at=None if kind.life is None else now + kind.life,
        )

    def revoke(self, definition: BaseDefinition, issued: IssuedCredential, context: MintContext) -> Revoked:
        return Revoked.UNSUPPORTED
