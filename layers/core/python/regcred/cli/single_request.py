"""Writes a request for one registry to ``requests/P/R`` with the user's token, and waits for its outcome."""

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
from regcred.cli.session import CliSession
from regcred.credential import Verified
from regcred.errors import ConflictError, RefusedError, TransientError
from regcred.registry_reference import Reference
from regcred.vault.records.declared import Action, Request
from regcred.vault.records.index import IndexEntry, State
from regcred.wording import duration

EVERY = 1.0
"""Seconds between two polls."""

PATIENCE = timedelta(minutes=7)
"""The default for the maximum wait. Dispatch runs every five minutes, and then rotate needs some time."""

PROGRESS_EVERY = timedelta(seconds=30)
"""The interval of progress messages if standard error is not a terminal."""


@dataclass(frozen=True, slots=True)
class SentRequest:
    """A request that was written."""

    reference: Reference
    request: Request
    before: IndexEntry | None
    """The index entry before the request."""
    nudged: bool = False
    """Whether dispatch starts at once. If not, it starts at its next interval."""


def send(session: CliSession, reference: Reference, action: Action, *, nudge: bool = True) -> SentRequest:
    """Write a request, and nudge dispatch if the environment names its event bus.

    Raises:
        MissingError: the registry does not exist.
        RefusedError: the token may not write requests for this project.
    """
    store = session.store
    lookup.check_exists(store, reference)
    before = lookup.index(store, reference.project).registries.get(reference.registry)
    request = session.store.create_request(reference, action, session.now())
    return SentRequest(reference, request, before, nudged=nudge and session.nudge(reference.project))


def wait(session: CliSession, sent: SentRequest, patience: timedelta) -> IndexEntry:
    """Wait until the request was handled, and return the new index entry.

    If another user sends a newer request in the meantime, wait for the newer one.

    Raises:
        TransientError: it was not handled in time. The request stays in Vault and is handled later.
    """
    started = session.now()
    is_second_read = False
    with _progress(sent, started) as report_progress:
        while True:
            # A wait of minutes must survive a restart of Vault, and requests by others.
            with suppress(TransientError, ConflictError):
                if _read_handled(session, sent):
                    entry = _entry(session, sent)
                    if entry is None:
                        # The request is lost if another one was completed at the same moment
                        # (Store.answered).
                        session.store.write_request(sent.reference, sent.request)
                    elif is_second_read or entry != sent.before:
                        return entry
                    else:
                        is_second_read = True  # a standby may show the deletion before the outcome
            now = session.now()
            if now - started > patience:
                raise TransientError(
                    f"{sent.reference}: the request was not handled within {duration(patience)}. The "
                    f"request stays; check with 'regcred status {sent.reference}'. If the state stays the "
                    "same, check that the dispatch function runs"
                )
            report_progress(now)
            session.sleep(EVERY)


def _entry(session: CliSession, sent: SentRequest) -> IndexEntry | None:
    return lookup.index(session.store, sent.reference.project).registries.get(sent.reference.registry)


def _read_handled(session: CliSession, sent: SentRequest) -> bool:
    """Read from Vault whether the request was handled."""
    if sent.request.action is not Action.REVOKE:
        return session.store.request(sent.reference) is None
    return session.store.revocation(sent.reference) is None or _revoked(session, sent)


def _revoked(session: CliSession, sent: SentRequest) -> bool:
    # The request stays while the vendor can't be reached, although the credential has ended everywhere else.
    entry = _entry(session, sent)
    return entry is not None and entry != sent.before and entry.state is State.REVOKED


@contextmanager
def _progress(sent: SentRequest, started: datetime) -> Iterator[Callable[[datetime], None]]:
    say(
        f"{sent.reference}: sent a request to {sent.request.action}; waiting for the outcome (Ctrl-C stops "
        "the wait, not the request)"
    )
    if sys.stderr.isatty():
        from rich.console import Console

        text = "dispatch was notified" if sent.nudged else "dispatch runs every 5 minutes"
        with Console(stderr=True, highlight=False).status(text) as status:
            yield lambda now: status.update(f"{text}; waiting for {duration(now - started)}")
        return
    last = started

    def report_progress(now: datetime) -> None:
        nonlocal last
        if now - last >= PROGRESS_EVERY:
            last = now
            say(f"{sent.reference}: still waiting after {duration(now - started)}")

    yield report_progress


def as_document(sent: SentRequest, entry: IndexEntry | None) -> dict[str, Any]:
    """The outcome of a request for programs; ``outcome`` is null while it is unknown."""
    outcome = entry and {
        "state": entry.shown_state,
        "version": entry.version,
        "changed": sent.before is None or sent.before.version != entry.version,
        "hosts": entry.hosts,
        "verified": entry.verified,
        "unverified": entry.why_unverified,
        "expires_at": time_text(entry.expires_at),
        "answer": entry.answer,
        "error": entry.error,
        "warning": entry.warning,
    }
    return {
        "registry": str(sent.reference),
        "action": sent.request.action,
        "requested_at": time_text(sent.request.requested_at),
        "outcome": outcome,
    }


def report(
    session: CliSession, sent: SentRequest, entry: IndexEntry | None, *, as_json: bool = False
) -> None:
    """Report the outcome of a request.

    Args:
        session: The clock.
        sent: The request.
        entry: The current index entry; None if there is none.
        as_json: Print a JSON document for programs, even if the outcome is a failure.

    Raises:
        Failed, RefusedError, TransientError: the request failed.
    """
    if as_json:
        print_json(as_document(sent, entry))
    entry = checked(sent, entry)
    if sent.request.action is Action.REVOKE:
        also = f" ({entry.error})" if entry.error else ""
        say(f"{sent.reference}: revoked; clusters remove its Secrets at their next run{also}")
        return
    if not as_json:
        write(_verdict(sent, entry, session.now()))
    if entry.warning:
        say(f"{sent.reference}: warning: {entry.warning}")


def checked(sent: SentRequest, entry: IndexEntry | None) -> IndexEntry:
    """Return the outcome if the request succeeded.

    Raises:
        Failed, RefusedError, TransientError: the request failed.
    """
    reference = sent.reference
    if entry is None:
        raise Failed(f"{reference}: the request was removed, but its outcome is unknown; send it again")
    if entry.answer:
        raise TransientError(f"{reference}: {entry.answer}")
    if entry.state is State.FAILING:
        kept = f"; version {entry.version} stays in force" if entry.version else ""
        raise _failure(entry)(f"{reference}: {entry.error}{kept}")
    if sent.request.action is Action.REVOKE:
        if entry.state is not State.REVOKED:
            raise Failed(f"{reference}: is {entry.state}, not revoked; send the request again")
        return entry
    if entry.state is not State.OK:
        raise Failed(f"{reference}: is {entry.state}; for details, run: regcred registry show {reference}")
    if sent.request.action is Action.VERIFY and entry.shown_state != entry.state:
        raise Failed(f"{reference}: version {entry.version} is unverified: {entry.why_unverified}")
    return entry


def _failure(entry: IndexEntry) -> type[Failed | RefusedError | TransientError]:
    if entry.error_kind == RefusedError.kind:
        return RefusedError
    return TransientError if entry.error_kind == TransientError.kind else Failed


def _verdict(sent: SentRequest, entry: IndexEntry, now: datetime) -> str:
    fresh = sent.before is None or sent.before.version != entry.version
    verified = {
        Verified.YES: "a test pull succeeded",
        Verified.LOGIN: "the login was accepted (name an image in 'probe' to test a pull)",
        Verified.UNKNOWN: f"it could not be verified: {entry.why_unverified}",
    }[entry.verified]
    life = f"expires in {duration(entry.expires_at - now)}" if entry.expires_at else "does not expire"
    return (
        f"{sent.reference}: {entry.shown_state}, version {entry.version}{'' if fresh else ' (unchanged)'} "
        f"for {', '.join(entry.hosts)}; {verified}; {life}"
    )
