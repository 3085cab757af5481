"""Sends requests for many registries at once, and waits for their outcomes."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from regcred.cli import lookup, single_request
from regcred.cli.failures import Failed
from regcred.cli.output import print_json, say, write
from regcred.cli.session import CliSession
from regcred.errors import (
    ConflictError,
    RegcredError,
    TransientError,
)
from regcred.registry_reference import Reference
from regcred.vault.records.declared import Action
from regcred.vault.records.index import IndexEntry, State
from regcred.wording import plural

WORKERS = 8
"""The number of parallel calls to Vault."""

WINDOW = 3000
"""The maximum number of open requests of one project: as many as dispatch sends for it in one sweep."""

EVERY = 2.0
"""Seconds between two polls of the indexes."""

LIST_EVERY = 5
"""The open requests are listed if the index has changed, and else in every fifth poll."""

FAILURES_SHOWN = 50
"""The maximum number of failures that the text lists."""


@dataclass(slots=True)
class Outcomes:
    """The results of the requests."""

    entries: dict[Reference, IndexEntry | None] = field(default_factory=dict)
    """The index entry after the request was handled."""
    errors: dict[Reference, RegcredError | Failed] = field(default_factory=dict)
    requests: dict[Reference, single_request.SentRequest] = field(default_factory=dict)
    waiting: set[Reference] = field(default_factory=set)
    """The registries whose requests were not handled in time. The requests stay in Vault."""


@dataclass(slots=True)
class _ProjectRequests:
    """The requests for one project."""

    name: str
    pending: list[Reference]
    open: dict[Reference, single_request.SentRequest] = field(default_factory=dict)
    gone: set[Reference] = field(default_factory=set)
    """Requests that no longer existed at the last poll, although their outcome was not in the index yet."""
    version: int = -1
    """The index version at the last poll; -1 to read the index in any case."""
    polls: int = 0


class BulkRun:
    """Sends requests for one action, and waits for them.

    Args:
        session: Vault and the clock.
        references: The registries.
        action: The requested action.
    """

    def __init__(self, session: CliSession, references: Sequence[Reference], action: Action) -> None:
        self._session = session
        self._action = action
        self._count = len(references)
        self.outcomes = Outcomes()
        self._outage: TransientError | None = None
        names = sorted({reference.project for reference in references})
        self._projects = [
            _ProjectRequests(name, [reference for reference in references if reference.project == name])
            for name in names
        ]

    def send(self) -> None:
        """Send as many requests as each project's window allows, and nudge dispatch.

        If Vault can't be reached, the other requests stay pending, because each would wait for Vault, too.
        """
        self._outage = None
        with ThreadPoolExecutor(WORKERS) as pool:
            for project in self._projects:
                room = WINDOW - len(project.open)
                batch, project.pending = project.pending[:room], project.pending[room:]
                if not batch:
                    continue
                before = self._entries(project.name)
                for sent in pool.map(
                    lambda one, known=before: self._send(one, known.get(one.registry)), batch
                ):
                    if sent:
                        project.open[sent.reference] = sent
                project.pending[:0] = [
                    one for one in batch if one not in project.open and one not in self.outcomes.errors
                ]
                if project.open:
                    self._session.nudge(project.name)

    def _entries(self, project: str) -> Mapping[str, IndexEntry]:
        """The entries of a project's index; empty if it can't be read, because that stops no request."""
        try:
            return lookup.index(self._session.store, project).registries
        except RegcredError:
            return {}

    def send_all(self) -> None:
        """Send all requests without waiting for outcomes."""
        while any(project.pending for project in self._projects) and not self._outage:
            self.send()
            for project in self._projects:
                project.open = {}
        self._give_up()

    def follow(self, patience: timedelta) -> None:
        """Send all requests and wait until they are handled. Stop after ``patience`` without progress."""
        last_progress = self._session.now()
        with _progress(self._count, self._action) as report_progress:
            self.send()
            while any(project.open or project.pending for project in self._projects):
                before = self._handled()
                with ThreadPoolExecutor(WORKERS) as pool:
                    list(pool.map(self._poll, [project for project in self._projects if project.open]))
                self.send()
                now = self._session.now()
                if self._handled() > before:
                    last_progress = now
                elif now - last_progress > patience:
                    break
                report_progress(now, self._handled(), len(self.outcomes.errors))
                self._session.sleep(EVERY)
        self._give_up()
        self.outcomes.waiting = {
            reference for project in self._projects for reference in (*project.open, *project.pending)
        }

    def _give_up(self) -> None:
        """If Vault still can't be reached, count the requests that were not sent as failed."""
        if self._outage:
            for project in self._projects:
                self.outcomes.errors |= dict.fromkeys(project.pending, self._outage)
                project.pending = []

    def _send(self, reference: Reference, before: IndexEntry | None) -> single_request.SentRequest | None:
        if self._outage:
            return None
        try:
            request = self._session.store.create_request(reference, self._action, self._session.now())
        except TransientError as error:
            self._outage = error
            return None
        except RegcredError as error:
            self.outcomes.errors[reference] = error
            return None
        self.outcomes.requests[reference] = sent = single_request.SentRequest(reference, request, before)
        return sent

    def _handled(self) -> int:
        return len(self.outcomes.entries) + len(self.outcomes.errors)

    def _poll(self, project: _ProjectRequests) -> None:
        """Read the index if it has changed, and settle the requests that no longer exist."""
        project.polls += 1
        try:
            version = self._session.store.index_version(project.name)
            if version == project.version and project.polls % LIST_EVERY:
                return
            project.version = version
            requests, revocations = self._session.store.pending_requests(project.name)
            index = lookup.index(self._session.store, project.name).registries
        except (TransientError, ConflictError):
            return
        except RegcredError as error:
            text = f"the request was sent, but its outcome can't be read: {error}"
            self.outcomes.errors |= dict.fromkeys(project.open, Failed(text))
            project.open = {}
            return
        left = set(revocations if self._action is Action.REVOKE else requests)
        for reference, sent in list(project.open.items()):
            entry = index.get(reference.registry)
            # A revocation stays while the vendor is unreachable, although the credential has ended.
            revoked = self._action is Action.REVOKE and entry is not None and entry.state is State.REVOKED
            if reference.registry in left and not (revoked and entry != sent.before):
                continue
            if entry is not None and (entry != sent.before or reference in project.gone):
                del project.open[reference]
                self._settle(sent, entry)
            elif reference in project.gone:
                project.open.pop(reference)
                project.pending.append(reference)  # it was lost to a request that ended at the same moment
                project.gone.discard(reference)
            else:
                project.gone.add(reference)
                project.version = -1

    def _settle(self, sent: single_request.SentRequest, entry: IndexEntry) -> None:
        self.outcomes.entries[sent.reference] = entry
        try:
            single_request.checked(sent, entry)
        except (RegcredError, Failed) as error:
            self.outcomes.errors[sent.reference] = error
            del self.outcomes.entries[sent.reference]


def run(
    session: CliSession,
    references: Sequence[Reference],
    action: Action,
    *,
    wait: bool,
    timeout: int,
    as_json: bool,
) -> None:
    """Send requests for many registries, and print the outcomes.

    Raises:
        Failed: some requests failed.
        TransientError: no request failed, but some were not handled in time.
    """
    work = BulkRun(session, references, action)
    try:
        if wait:
            work.follow(timedelta(seconds=timeout))
        else:
            work.send_all()
    except KeyboardInterrupt:
        sent = len(work.outcomes.requests)
        say(f"sent {sent} of {plural(len(references), 'request')} to {action}; these stay open")
        raise
    report(references, action, work.outcomes, waited=wait, as_json=as_json)


def report(
    references: Sequence[Reference], action: Action, outcomes: Outcomes, *, waited: bool, as_json: bool
) -> None:
    """Print the outcomes of many requests. See :func:`run` for the errors."""
    failed = sorted(outcomes.errors)
    if as_json:
        print_json(_document(references, action, outcomes, waited=waited))
    else:
        for reference in failed[:FAILURES_SHOWN]:
            write(_line(reference, outcomes.errors[reference]))
        if len(failed) > FAILURES_SHOWN:
            write(f"... and {len(failed) - FAILURES_SHOWN} more; -o json lists all")
    if not waited:
        text = f"sent requests to {action} {plural(len(references) - len(failed), 'registry')}"
        if failed:
            raise Failed(f"{text}; {len(failed)} could not be sent")
        say(f"{text}; 'regcred status' shows the outcomes")
        return
    parts = [f"{len(outcomes.entries)} of {plural(len(references), 'registry')} {_PAST[action]}"]
    if failed:
        parts.append(f"{len(failed)} failed")
    if outcomes.waiting:
        parts.append(f"{len(outcomes.waiting)} not handled in time (the requests stay)")
    text = ", ".join(parts)
    if failed:
        raise Failed(text)
    if outcomes.waiting:
        raise TransientError(
            f"{text}; see 'regcred status'. If the state stays the same, check that dispatch runs"
        )
    say(text)


_PAST = {Action.ROTATE: "rotated", Action.VERIFY: "verified", Action.REVOKE: "revoked"}


def _line(reference: Reference, error: Exception) -> str:
    text = error.message if isinstance(error, Failed) else str(error)
    return text if text.startswith(str(reference)) else f"{reference}: {text}"


def _document(
    references: Sequence[Reference], action: Action, outcomes: Outcomes, *, waited: bool
) -> dict[str, Any]:
    counts = Counter(
        {
            "requested": len(references),
            "done": len(outcomes.entries),
            "failed": len(outcomes.errors),
            "waiting": len(outcomes.waiting) if waited else len(references) - len(outcomes.errors),
        }
    )
    return {
        "action": action,
        "summary": dict(counts),
        "registries": [_one(reference, outcomes) for reference in references],
    }


def _one(reference: Reference, outcomes: Outcomes) -> dict[str, Any]:
    sent = outcomes.requests.get(reference)
    error = outcomes.errors.get(reference)
    failure = {"error": _line(reference, error)} if error else {}
    if sent is None:
        return {"registry": str(reference), "outcome": None, **failure}
    return {**single_request.as_document(sent, outcomes.entries.get(reference)), **failure}


@contextmanager
def _progress(count: int, action: Action) -> Iterator[Callable[[datetime, int, int], None]]:
    say(
        f"sending requests to {action} {plural(count, 'registry')}, then waiting for the outcomes (Ctrl-C "
        "does not withdraw sent requests)"
    )
    if sys.stderr.isatty():
        from rich.console import Console

        with Console(stderr=True, highlight=False).status("waiting for dispatch") as status:
            yield lambda _now, done, failed: status.update(_progress_text(count, done, failed))
        return
    reported: list[datetime] = []

    def report_progress(now: datetime, done: int, failed: int) -> None:
        if not reported or now - reported[-1] >= single_request.PROGRESS_EVERY:
            reported.append(now)
            say(_progress_text(count, done, failed))

    yield report_progress


def _progress_text(count: int, done: int, failed: int) -> str:
    return f"{done} of {count} handled" + (f", {failed} of them failed" if failed else "")
