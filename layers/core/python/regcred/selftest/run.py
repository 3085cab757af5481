"""Runs the plan of a selftest over a provider and a verifier.

Whatever happens after the mint, the credential is ended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from pydantic import SecretStr

from regcred.credential import Credential
from regcred.errors import RegcredError
from regcred.log import bug
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
"""The longest sleep in seconds. The clock decides when a wait is over: a machine may be suspended
meanwhile."""

_PUBLIC_FIELDS = frozenset({"username", "user"})
"""Fields of upstream secrets that are no secrets."""

_LONG_NAME = 20
"""Some vendors' user names are tokens. Names of this length or more are cut out of reports."""


@dataclass(frozen=True, slots=True)
class SelftestParts:
    """What a selftest works with."""

    provider: Provider[Any]
    identity: Identity
    verifier: Verifier
    slot_store: SlotStore
    """Keeps slots for the length of the test."""
    now: Callable[[], datetime]
    sleep: Callable[[float], None]
    say: Callable[[str], None]
    """Tells the user what happens now, in one line."""


@dataclass
class Selftest:
    """One selftest."""

    parts: SelftestParts
    reference: Reference
    """The project whose identity is used, and a name for the vendor's objects."""
    definition: BaseDefinition
    upstream: Mapping[str, SecretStr] = field(repr=False)
    versions: str
    _checks: list[SelftestCheck] = field(default_factory=list)
    _credential: Credential | None = None
    _minted_at: datetime | None = None

    def run(self, plan: SelftestPlan) -> SelftestReport:
        """Run a plan. After a failure, further tries are left out, but the credential is still ended."""
        started_at = self.parts.now()
        try:
            self._until_revocation(plan)
        except KeyboardInterrupt:
            self._add(SelftestCheck("wait", CheckResult.UNPROVEN, "interrupted by the user", self._after()))
        if self._credential is not None:
            self._end(self._credential)
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
        self.parts.say("minting a credential ...")
        credential = self._guarded("mint", lambda: self._provider.mint(self.definition, self._context()))
        if credential is None:
            return False
        self._credential, self._minted_at = credential, self.parts.now()
        self._add(decide.minted(credential))
        return True

    def _try(self, after: timedelta) -> bool:
        """Try it so long after the mint. False if further tries make no sense."""
        credential = self._credential
        assert credential is not None  # noqa: S101 - run() mints first
        self._wait(after)
        expired = decide.has_expired(credential, self.parts.now())
        unwanted = None if expired or after or credential.is_static else Verdict.REFUSED
        checks = decide.tried(self._verify(unwanted), after=self._after(), expired=expired)
        for check in checks:
            self._add(check)
        return not expired and all(check.result is CheckResult.PASSED for check in checks)

    def _verify(self, unwanted: Verdict | None) -> Verification:
        """Verify it. Repeat that for some seconds if the verdict is one that may be too early."""
        credential = self._credential
        assert credential is not None  # noqa: S101 - run() mints first
        seen = self.parts.verifier.verify(self.definition, credential)
        for pause in PAUSES if unwanted else ():
            if seen.verdict is not unwanted:
                break
            self.parts.sleep(pause)
            seen = self.parts.verifier.verify(self.definition, credential)
        return seen

    def _end(self, credential: Credential) -> None:
        if credential.is_static:
            detail = "it is the upstream secret itself, which the test leaves as it is"
            self._add(SelftestCheck("revoke", CheckResult.NOT_RUN, detail, self._after()))
            return
        self.parts.say("ending the credential ...")
        issued = IssuedCredential.of(credential)
        answer = self._guarded(
            "revoke",
            lambda: self._provider.revoke(self.definition, issued, self._context(credential.revocation_id)),
            remedy=f"; {decide.left(credential)}: end it at the vendor",
        )
        if answer is None:
            return
        self._add(replace(decide.revoked(answer, credential), after=self._after()))
        if answer is Revoked.YES:
            seen = self._verify(Verdict.CAN_PULL)
            self._add(decide.tried_revoked(seen, after=self._after()))

    def _guarded(self, name: str, call: Callable[[], Any], *, remedy: str = "") -> Any:
        """Make a call to the vendor; None if it failed, which is then a check.

        The text of an error that is not ours may hold a secret, so only its type and place are shown.
        """
        try:
            return call()
        except RegcredError as error:
            detail = f"{error.kind}: {error}"
        except Exception as error:  # noqa: BLE001 - the report is the place where a provider's bug shows
            found = bug(error)
            detail = f"unexpected {found['error']} at {found['at'].rpartition('/')[2]}; this is a bug"
        self._add(SelftestCheck(name, CheckResult.FAILED, f"{detail}{remedy}", self._after()))
        return None

    def _wait(self, after: timedelta) -> None:
        if not after or self._minted_at is None:
            return
        until = self._minted_at + after
        self.parts.say(f"next try at {until.isoformat(timespec='minutes')} (Ctrl-C ends the credential now)")
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
