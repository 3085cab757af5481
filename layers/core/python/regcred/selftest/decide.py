"""The plan of a selftest, and what each outcome means. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from regcred.credential import Credential
from regcred.errors import MalformedError
from regcred.registry.definition import BaseDefinition
from regcred.registry.interface import Revoked, Verdict, Verification
from regcred.selftest.report import CheckResult, SelftestCheck
from regcred.wording import duration

PAUSES = (1.0, 2.0, 4.0, 8.0)
"""Seconds between attempts: vendors need a moment until all their servers know a new credential, or the end
of one."""


TRIES_MAX = 200
"""The maximum number of tries: each is a few requests to the registry, and a line of the report."""


class SelftestPlanError(MalformedError):
    """The definition can't be tested as asked."""


@dataclass(frozen=True, slots=True)
class SelftestPlan:
    """What a selftest does: mint, try the credential, end it, and see that it is refused."""

    tries: tuple[timedelta, ...]
    """When the credential is tried, each as the time after the mint."""


def plan(
    definition: BaseDefinition, *, wait: timedelta, every: timedelta, replace_passwords: bool = False
) -> SelftestPlan:
    """SelftestPlan the test of a definition.

    Args:
        definition: The definition to test.
        wait: How long to go on trying the credential. Zero: it is tried once.
        every: The time between two tries.
        replace_passwords: Whether a mint may replace passwords of existing users.

    Raises:
        SelftestPlanError: Nothing can be tested, or the test would end passwords that are in use. The message
            says what to do.
    """
    if not definition.needs_credential():
        raise SelftestPlanError(
            f"provider {definition.provider} is public: it mints nothing to test", field="provider"
        )
    if not definition.probe:
        raise SelftestPlanError(
            "probe: is missing; name an image that the credential must pull, as in team/app:1.0",
            field="probe",
        )
    users = definition.replaces_passwords()
    if users and not replace_passwords:
        raise SelftestPlanError(
            f"this test gives {' and '.join(users)} new passwords, and ends every login that uses the old "
            "ones; name two users that only this test uses, and add --replace-passwords",
            field="users",
        )
    if wait / every > TRIES_MAX:
        raise SelftestPlanError(
            f"{duration(wait)} with a try every {duration(every)} are more than {TRIES_MAX} tries; try "
            "less often",
            field="every",
        )
    between = [every * number for number in range(1, -(-wait // every))] if wait else []
    return SelftestPlan((timedelta(0), *between, *([wait] if wait else [])))


def minted(credential: Credential) -> SelftestCheck:
    """The check of a mint that worked: what came, and for how long."""
    if credential.expires_at is None:
        return SelftestCheck(
            "mint", CheckResult.PASSED, "the upstream secret is handed out as it is; it has no expiry"
        )
    life = duration(credential.expires_at - credential.issued_at)
    return SelftestCheck("mint", CheckResult.PASSED, f"a credential that lives {life}")


def tried(seen: Verification, *, after: timedelta, expired: bool) -> list[SelftestCheck]:
    """The checks of one try: it must pull, and must not push or reach more than the definition names.

    Args:
        seen: What the registry says.
        after: How long after the mint.
        expired: Whether the credential had expired by then, as the vendor said. Then it must be refused.
    """
    if expired:
        return [_gone("refused after its expiry", seen, after)]
    pulls = seen.taken or seen.verdict in {Verdict.CAN_PULL, Verdict.WIDER}
    if not pulls:
        refused = seen.verdict is Verdict.REFUSED
        return [
            SelftestCheck("pull", CheckResult.FAILED if refused else CheckResult.UNPROVEN, seen.detail, after)
        ]
    narrow = {Verdict.CAN_PULL: CheckResult.PASSED, Verdict.WIDER: CheckResult.FAILED}
    return [
        SelftestCheck("pull", CheckResult.PASSED, "the probe's manifest was handed out", after),
        SelftestCheck("nothing more", narrow.get(seen.verdict, CheckResult.UNPROVEN), seen.detail, after),
    ]


def revoked(answer: Revoked, credential: Credential) -> SelftestCheck:
    """The check of a revocation that raised nothing."""
    if answer is Revoked.YES:
        return SelftestCheck("revoke", CheckResult.PASSED, "the vendor ended it")
    return SelftestCheck(
        "revoke", CheckResult.NOT_OFFERED, f"the vendor can't end it early: {left(credential)}"
    )


def tried_revoked(seen: Verification, *, after: timedelta) -> SelftestCheck:
    """The check that a revoked credential is refused."""
    return _gone("refused after the revocation", seen, after)


def left(credential: Credential) -> str:
    """What is left of a credential that was not ended."""
    if credential.expires_at is None:
        return "it works until it is changed at the vendor"
    return f"it works until {credential.expires_at.isoformat(timespec='minutes')}"


def has_expired(credential: Credential, now: datetime) -> bool:
    """Whether the vendor's time for a credential is over."""
    return credential.expires_at is not None and credential.expires_at <= now


def _gone(name: str, seen: Verification, after: timedelta) -> SelftestCheck:
    if seen.verdict is Verdict.REFUSED:
        return SelftestCheck(name, CheckResult.PASSED, seen.detail, after)
    still = seen.taken or seen.verdict in {Verdict.CAN_PULL, Verdict.WIDER}
    return SelftestCheck(name, CheckResult.FAILED if still else CheckResult.UNPROVEN, seen.detail, after)
