"""Runs a selftest. After every failure, it still revokes the credential that it created."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from pydantic import SecretStr

from regcred.credential import Credential
from regcred.errors import RegcredError
from regcred.log import describe_bug
from regcred.registry.definition import BaseDefinition
from regcred.registry.interface import (
    Identity,
    IssuedCredential,
    MintContext,
    Provider,
    Revoked,
    SlotStore,
    Verdict,
    Verification,
    Verifier,
)
from regcred.registry_reference import Reference
from regcred.selftest import decide
from regcred.selftest.decide import PAUSES, SelftestPlan
from regcred.selftest.report import CheckResult, SelftestCheck, SelftestReport, secret_texts
from regcred.wording import duration

_SLICE = 30.0
"""The longest sleep in seconds. Short sleeps end at the right time even if the machine was suspended."""

_PUBLIC_FIELDS = frozenset({"username", "user"})
"""Fields of upstream secrets that are not secret."""

_LONG_NAME = 20
"""The user names of some vendors are tokens. Names of at least this length are removed from reports."""


@dataclass(frozen=True, slots=True)
class SelftestParts:
    """The objects that a selftest uses."""

    provider: Provider[Any]
    identity: Identity
    verifier: Verifier
    slot_store: SlotStore
    """Stores slots for the time of the test."""
    now: Callable[[], datetime]
    sleep: Callable[[float], None]
    say: Callable[[str], None]
    """Prints one line of progress."""


@dataclass
class Selftest:
    """One selftest."""

    parts: SelftestParts
    reference: Reference
    """The project whose identity is used, and the registry name for objects at the vendor."""
    definition: BaseDefinition
    upstream: Mapping[str, SecretStr] = field(repr=False)
    versions: str
    _checks: list[SelftestCheck] = field(default_factory=list)
    _credential: Credential | None = None
    _minted_at: datetime | None = None

    def run(self, plan: SelftestPlan) -> SelftestReport:
        """Run a plan. After a failure, skip the other tries, but still revoke the credential."""
        started_at = self.parts.now()
        try:
            self._until_revocation(plan)
        except KeyboardInterrupt:
            self._add(SelftestCheck("wait", CheckResult.UNPROVEN, "interrupted by the user", self._after()))
        if self._credential is not None:
            self._revoke(self._credential)
        credential = self._credential
        return SelftestReport(
            provider=self.definition.provider,
            versions=self.versions,
            started_at=started_at,
            ended_at=self.parts.now(),
            probe=self.definition.probe,
            fields=sorted(self.definition.content()),
            checks=tuple(self._checks),
            hosts=credential.hosts if credential else (),
            expires_at=credential.expires_at if credential else None,
            secrets=self._secrets(),
        )

    def _until_revocation(self, plan: SelftestPlan) -> None:
        if self._mint():
            all(self._try(after) for after in plan.tries)

    def _mint(self) -> bool:
        self.parts.say("creating a credential ...")
        credential = self._guarded("mint", lambda: self._provider.mint(self.definition, self._context()))
        if credential is None:
            return False
        self._credential, self._minted_at = credential, self.parts.now()
        self._add(decide.minted(credential))
        return True

    def _try(self, after: timedelta) -> bool:
        """Try the credential this long after its creation. False if the next tries make no sense."""
        credential = self._credential
        assert credential is not None  # noqa: S101 - run() mints first
        self._wait(after)
        expired = decide.has_expired(credential, self.parts.now())
        # A new credential may not be known yet to all servers of the vendor.
        too_early = None if expired or after or credential.is_static else Verdict.REFUSED
        checks = decide.tried(self._verify(too_early), after=self._after(), expired=expired)
        for check in checks:
            self._add(check)
        return not expired and all(check.result is CheckResult.PASSED for check in checks)

    def _verify(self, too_early: Verdict | None) -> Verification:
        """Verify the credential. Repeat that for some seconds while the verdict is ``too_early``."""
        credential = self._credential
        assert credential is not None  # noqa: S101 - run() mints first
        seen = self.parts.verifier.verify(self.definition, credential)
        for pause in PAUSES if too_early else ():
            if seen.verdict is not too_early:
                break
            self.parts.sleep(pause)
            seen = self.parts.verifier.verify(self.definition, credential)
        return seen

    def _revoke(self, credential: Credential) -> None:
        if credential.is_static:
            detail = "it is the upstream secret itself, which the test does not revoke"
            self._add(SelftestCheck("revoke", CheckResult.NOT_RUN, detail, self._after()))
            return
        self.parts.say("revoking the credential ...")
        issued = IssuedCredential.of(credential)
        answer = self._guarded(
            "revoke",
            lambda: self._provider.revoke(self.definition, issued, self._context(credential.revocation_id)),
            remedy=f"; {decide.validity(credential)}: revoke it at the vendor",
        )
        if answer is None:
            return
        self._add(replace(decide.revoked(answer, credential), after=self._after()))
        if answer is Revoked.YES:
            seen = self._verify(Verdict.CAN_PULL)
            self._add(decide.tried_revoked(seen, after=self._after()))

    def _guarded(self, name: str, call: Callable[[], Any], *, remedy: str = "") -> Any:
        """Make a call to the vendor. If it fails, add a failed check and return None.

        The text of an unknown error may contain a secret, so only its type and place are shown.
        """
        try:
            return call()
        except RegcredError as error:
            detail = f"{error.kind}: {error}"
        except Exception as error:  # noqa: BLE001 - a bug of a provider belongs in the report
            found = describe_bug(error)
            detail = f"unexpected {found['error']} at {found['at'].rpartition('/')[2]}; this is a bug"
        self._add(SelftestCheck(name, CheckResult.FAILED, f"{detail}{remedy}", self._after()))
        return None

    def _wait(self, after: timedelta) -> None:
        if not after or self._minted_at is None:
            return
        until = self._minted_at + after
        self.parts.say(
            f"next try at {until.isoformat(timespec='minutes')} (Ctrl-C revokes the credential now)"
        )
        while (rest := (until - self.parts.now()).total_seconds()) > 0:
            self.parts.sleep(min(rest, _SLICE))

    def _after(self) -> timedelta:
        return self.parts.now() - self._minted_at if self._minted_at else timedelta(0)

    def _add(self, check: SelftestCheck) -> None:
        self._checks.append(check)
        self.parts.say(f"{check.name} after {duration(check.after)}: {check.result}")

    @property
    def _provider(self) -> Provider[Any]:
        return self.parts.provider

    def _context(self, in_force: str = "") -> MintContext:
        return MintContext(
            reference=self.reference,
            now=self.parts.now,
            identity=self.parts.identity,
            upstream=self.upstream,
            in_force=in_force,
            slot_store=self.parts.slot_store,
        )

    def _secrets(self) -> frozenset[str]:
        found = [
            value.get_secret_value() for name, value in self.upstream.items() if name not in _PUBLIC_FIELDS
        ]
        for login in self._credential.logins if self._credential else ():
            found.append(login.password.get_secret_value())
            if len(login.username) >= _LONG_NAME:
                found.append(login.username)
        return secret_texts(found)
