"""Plans a selftest, and turns each outcome into a check of the report. Pure."""

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
"""Seconds between attempts. It takes a while until all servers of a vendor accept a new credential, or refuse
a revoked one."""

TRIES_MAX = 200
"""The maximum number of tries. Each makes a few requests to the registry, and two lines of the report."""


class SelftestPlanError(MalformedError):
    """The definition can't be tested with these options."""


@dataclass(frozen=True, slots=True)
class SelftestPlan:
    """The steps of a selftest between the creation and the revocation of the credential."""

    tries: tuple[timedelta, ...]
    """When to try the credential, as times after its creation."""


def plan(
    definition: BaseDefinition, *, wait: timedelta, every: timedelta, replace_passwords: bool = False
) -> SelftestPlan:
    """Plan the test of a definition.

    Args:
        definition: The definition to test.
        wait: How long to keep trying the credential. If zero, it is tried once.
        every: The time between two tries.
        replace_passwords: Whether the test may replace the passwords of existing users.

    Raises:
        SelftestPlanError: There is nothing to test, or the test would replace passwords that may be in use.
            The message says what to do.
    """
    if not definition.needs_credential():
        raise SelftestPlanError(
            f"provider {definition.provider} is public: it creates no credential to test", field="provider"
        )
    if not definition.probe:
        raise SelftestPlanError(
            "probe: is missing; name an image for the credential to pull, as in team/app:1.0",
            field="probe",
        )
    users = definition.replaces_passwords()
    if users and not replace_passwords:
        raise SelftestPlanError(
            f"this test replaces the passwords of {' and '.join(users)}, so the old passwords stop working; "
            "name two users that only this test uses, and add --replace-passwords",
            field="users",
        )
    if wait / every > TRIES_MAX:
        raise SelftestPlanError(
            f"one try every {duration(every)} for {duration(wait)} makes more than {TRIES_MAX} tries; try "
            "less often",
            field="every",
        )
    between = [every * number for number in range(1, -(-wait // every))] if wait else []
    return SelftestPlan((timedelta(0), *between, *([wait] if wait else [])))


def minted(credential: Credential) -> SelftestCheck:
    """The check for the successful creation of a credential."""
    if credential.expires_at is None:
        return SelftestCheck(
            "mint", CheckResult.PASSED, "the credential is the upstream secret itself; it has no expiry"
        )
    life = duration(credential.expires_at - credential.issued_at)
    return SelftestCheck("mint", CheckResult.PASSED, f"a credential that is valid for {life}")


def tried(seen: Verification, *, after: timedelta, expired: bool) -> list[SelftestCheck]:
    """The checks of one try: the credential must pull, and must allow no more than the definition.

    Args:
        seen: The result of the verification.
        after: The time since the credential was created.
        expired: Whether the credential was past its expiry. Then the registry must refuse it.
    """
    if expired:
        return [_refusal("refused after its expiry", seen, after)]
    pulls = seen.login_accepted or seen.verdict in {Verdict.CAN_PULL, Verdict.WIDER}
    if not pulls:
        refused = seen.verdict is Verdict.REFUSED
        return [
            SelftestCheck("pull", CheckResult.FAILED if refused else CheckResult.UNPROVEN, seen.detail, after)
        ]
    narrow = {Verdict.CAN_PULL: CheckResult.PASSED, Verdict.WIDER: CheckResult.FAILED}
    return [
        SelftestCheck("pull", CheckResult.PASSED, "the registry returned the probe's manifest", after),
        SelftestCheck("nothing more", narrow.get(seen.verdict, CheckResult.UNPROVEN), seen.detail, after),
    ]


def revoked(answer: Revoked, credential: Credential) -> SelftestCheck:
    """The check for a revocation that raised no error."""
    if answer is Revoked.YES:
        return SelftestCheck("revoke", CheckResult.PASSED, "the vendor revoked it")
    return SelftestCheck(
        "revoke", CheckResult.NOT_OFFERED, f"the vendor can't revoke it: {validity(credential)}"
    )


def tried_revoked(seen: Verification, *, after: timedelta) -> SelftestCheck:
    """The check that the registry refuses a revoked credential."""
    return _refusal("refused after the revocation", seen, after)


def validity(credential: Credential) -> str:
    """How long a credential stays valid that was not revoked."""
    if credential.expires_at is None:
        return "it works until it is changed at the vendor"
    return f"it works until {credential.expires_at.isoformat(timespec='minutes')}"


def has_expired(credential: Credential, now: datetime) -> bool:
    """Whether a credential is past its expiry."""
    return credential.expires_at is not None and credential.expires_at <= now


def _refusal(name: str, seen: Verification, after: timedelta) -> SelftestCheck:
    if seen.verdict is Verdict.REFUSED:
        return SelftestCheck(name, CheckResult.PASSED, seen.detail, after)
    works = seen.login_accepted or seen.verdict in {Verdict.CAN_PULL, Verdict.WIDER}
    return SelftestCheck(name, CheckResult.FAILED if works else CheckResult.UNPROVEN, seen.detail, after)
