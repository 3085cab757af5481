"""Asking by a write to ``requests/P/R`` with the user's own token, and waiting for what comes of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from regcred.cli import lookup
from regcred.cli.failures import Failed
from regcred.cli.output import print_json, say, time_text, write
from regcred.cli.session import Session
from regcred.credential import Verified
from regcred.errors import ConflictError, RefusedError, TransientError
from regcred.reference import Reference
from regcred.vault.records.declared import Action, Request
from regcred.vault.records.index import IndexEntry, State
from regcred.wording import duration

EVERY = 1.0
"""Seconds between two looks."""

PATIENCE = timedelta(minutes=7)
"""How long to wait if not told: dispatch looks every five minutes, then rotate takes its time."""

TELL_EVERY = timedelta(seconds=30)
"""How often a log without a terminal reports that the wait continues."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was written, and the index entry as it was before."""

    reference: Reference
    request: Request
    before: IndexEntry | None
    nudged: bool = False
    """Whether dispatch was told, so that it does not wait for its next interval."""


def ask(session: Session, reference: Reference, action: Action, *, nudge: bool = True) -> Asked:
    """Write a request, and nudge dispatch where the environment names its event bus.

    Raises:
        MissingError: there is no such registry.
        RefusedError: the token may not ask for this project.
    """
    store = session.store
    lookup.check_exists(store, reference)
    before = lookup.index(store, reference.project).registries.get(reference.registry)
    request = Request(action=action, asked_at=session.now())
    store.ask(reference, request)
    return Asked(reference, request, before, nudged=nudge and session.nudge(reference.project))


def wait(session: Session, asked: Asked, patience: timedelta) -> IndexEntry:
    """Wait until what was asked for was done, and return what the index says then.

    Where somebody else asks meanwhile, theirs is waited for: the newest request counts.

    Raises:
        TransientError: it was not done in time; the request stays, and will be.
    """
    started = session.now()
    looked = False
    with _progress(asked, started) as tell:
        while True:
            # A wait of minutes outlives a restart of Vault, and others who ask for the same.
            with suppress(TransientError, ConflictError):
                if _taken_away(session, asked):
                    entry = _entry(session, asked)
                    if entry is None:
                        # A request may be lost to another that was answered at the same moment (Store.answered).
                        session.store.ask(asked.reference, asked.request)
                    elif looked or entry != asked.before:
                        return entry
                    else:
                        looked = True  # a standby may know of the answer before it knows of the outcome
            now = session.now()
            if now - started > patience:
                raise TransientError(
                    f"{asked.reference}: asked for, but not acted on within {duration(patience)}. The request stays;"
                    f" look again by 'regcred status {asked.reference}'. If it stays so, the dispatch function does not run"
                )
            tell(now)
            session.sleep(EVERY)


def _entry(session: Session, asked: Asked) -> IndexEntry | None:
    return lookup.index(session.store, asked.reference.project).registries.get(asked.reference.registry)


def _taken_away(session: Session, asked: Asked) -> bool:
    if asked.request.action is not Action.REVOKE:
        return session.store.request(asked.reference) is None
    return session.store.revocation(asked.reference) is None or _revoked(session, asked)


def _revoked(session: Session, asked: Asked) -> bool:
    # Such a request stays while the vendor can't be reached, though the credential is already gone everywhere else.
    entry = _entry(session, asked)
    return entry is not None and entry != asked.before and entry.state is State.REVOKED


@contextmanager
def _progress(asked: Asked, started: datetime) -> Iterator[Callable[[datetime], None]]:
    say(
        f"{asked.reference}: asked to {asked.request.action}; waiting for the outcome (Ctrl-C ends only the waiting)"
    )
    if sys.stderr.isatty():
        from rich.console import Console

        text = "dispatch was told" if asked.nudged else "dispatch looks every 5 minutes"
        with Console(stderr=True, highlight=False).status(text) as status:
            yield lambda now: status.update(f"{text}; waiting for {duration(now - started)}")
        return
    told = started

    def tell(now: datetime) -> None:
        nonlocal told
        if now - told >= TELL_EVERY:
            told = now
            say(f"{asked.reference}: still waiting after {duration(now - started)}")

    yield tell


def as_document(asked: Asked, entry: IndexEntry | None) -> dict[str, Any]:
    """What came of a request, for a program; ``outcome`` is null while it is not known."""
    outcome = entry and {
        "state": entry.told,
        "version": entry.version,
        "changed": asked.before is None or asked.before.version != entry.version,
        "hosts": entry.hosts,
        "verified": entry.verified,
        "unverified": entry.unverified,
        "expires_at": time_text(entry.expires_at),
        "answer": entry.answer,
        "error": entry.error,
        "warning": entry.warning,
    }
    return {
        "registry": str(asked.reference),
        "asked": asked.request.action,
        "asked_at": time_text(asked.request.asked_at),
        "outcome": outcome,
    }


def report(session: Session, asked: Asked, entry: IndexEntry | None, *, as_json: bool = False) -> None:
    """Say what came of a request.

    Args:
        session: The clock.
        asked: The request.
        entry: What the index says now; None if it says nothing.
        as_json: Print a JSON document for programs, also of an outcome that is a failure.

    Raises:
        Failed: the outcome is not what was asked for.
    """
    if as_json:
        print_json(as_document(asked, entry))
    entry = _checked(asked, entry)
    if asked.request.action is Action.REVOKE:
        also = f" ({entry.error})" if entry.error else ""
        say(f"{asked.reference}: revoked; clusters remove its Secrets at their next run{also}")
        return
    if not as_json:
        write(_verdict(asked, entry, session.now()))
    if entry.warning:
        say(f"{asked.reference}: warning: {entry.warning}")


def _checked(asked: Asked, entry: IndexEntry | None) -> IndexEntry:
    """The outcome, if it is what was asked for; what is raised says what else it is."""
    reference = asked.reference
    if entry is None:
        raise Failed(
            f"{reference}: the request was taken away, but nothing is known of the outcome; ask again"
        )
    if entry.answer:
        raise TransientError(f"{reference}: {entry.answer}")
    if entry.state is State.FAILING:
        kept = f"; version {entry.version} stays in force" if entry.version else ""
        raise _failure(entry)(f"{reference}: {entry.error}{kept}")
    if asked.request.action is Action.REVOKE:
        if entry.state is not State.REVOKED:
            raise Failed(f"{reference}: is {entry.state}, not revoked; ask again")
        return entry
    if entry.state is not State.OK:
        raise Failed(f"{reference}: is {entry.state}; 'regcred registry show {reference}' tells more")
    if asked.request.action is Action.VERIFY and entry.told != entry.state:
        raise Failed(f"{reference}: version {entry.version} is unverified: {entry.unverified}")
    return entry


def _failure(entry: IndexEntry) -> type[Failed | RefusedError | TransientError]:
    if entry.error_kind == RefusedError.kind:
        return RefusedError
    return TransientError if entry.error_kind == TransientError.kind else Failed


def _verdict(asked: Asked, entry: IndexEntry, now: datetime) -> str:
    fresh = asked.before is None or asked.before.version != entry.version
    verified = {
        Verified.YES: "a test pull succeeded",
        Verified.LOGIN: "the login was accepted (name an image in 'probe' to try a pull)",
        Verified.UNKNOWN: f"it could not be tried: {entry.unverified}",
    }[entry.verified]
    life = f"expires in {duration(entry.expires_at - now)}" if entry.expires_at else "does not expire"
    return (
        f"{asked.reference}: {entry.told}, version {entry.version}{'' if fresh else ' (unchanged)'} for {', '.join(entry.hosts)};"
        f" {verified}; {life}"
    )
