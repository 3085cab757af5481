"""A project's index: the outcome for each of its registries, and how the reports of several writers become one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum

from pydantic import AwareDatetime

from regcred.credential import Verified
from regcred.vault.records.document import Label, Record


class State(StrEnum):
    """The state of a registry in the index."""

    OK = "ok"
    FAILING = "failing"
    """The last attempt failed; a credential of ``version`` may still be valid."""
    REVOKED = "revoked"
    """Revoked on purpose: positive proof for removal from clusters."""
    REMOVED = "removed"
    """The definition is gone: positive proof for removal from clusters."""


class IndexEntry(Record):
    """What anyone who may use a project needs to know of one registry, without a secret."""

    state: State
    version: int = 0
    """The version of ``credentials/P/R``; 0 before the first success."""
    fingerprint: str = ""
    """Differs whenever the credential's content differs; random, so it says nothing of the content."""
    provider: str = ""
    hosts: list[str] = []
    expires_at: AwareDatetime | None = None
    """None for a static credential."""
    refresh_at: AwareDatetime | None = None
    definition_version: int = 0
    """The version of ``registries/P/R`` that was last acted on."""
    verified: Verified = Verified.UNKNOWN
    warning: str = ""
    """What verification found that does not stop a static credential (it can do more than was asked)."""
    answer: str = ""
    """What is answered to who asked, where nothing could be done yet and nothing is wrong; empty after any other outcome."""
    error: str = ""
    error_kind: str = ""
    failing_since: AwareDatetime | None = None
    next_attempt_at: AwareDatetime | None = None
    attempts: int = 0
    """Failures in a row."""
    changed_at: AwareDatetime
    """When the outcome that this entry tells was known; orders entries of one version."""


class Index(Record):
    """``credentials/P/_index``: one entry per registry of the project."""

    registries: dict[Label, IndexEntry] = {}
    full: bool = False
    """Whether an entry did not fit: new registries have to wait until others are removed."""


FINAL = frozenset({State.REVOKED, State.REMOVED})
"""States that only a newer credential ends."""

REMOVED_KEPT = timedelta(days=90)
"""How long a removed registry stays in the index, as proof for clusters that were cut off."""


def merge(index: Index, updates: Mapping[str, IndexEntry]) -> Index:
    """The index with ``updates`` merged in; the same object if nothing but ``changed_at`` would change.

    Monotonic by credential version, then by ``changed_at``: a late failure never hides a newer success, in
    whatever order writers arrive. A revoked or removed version stays so, whoever reports what of it later; only the
    error and the next attempt of such a report are taken over.

    An outcome that only repeats what is told already is not written, so its time is not remembered: a report that is
    older than the repetition, but newer than what is told, still counts. The next attempt corrects it.
    """
    entries = dict(index.registries)
    for name, new in updates.items():
        old = entries.get(name)
        entries[name] = new if old is None else newer(old, new)
    if entries == index.registries:
        return index
    latest = max(entry.changed_at for entry in entries.values())
    return Index(
        registries={
            name: entry
            for name, entry in entries.items()
            if entry.state is not State.REMOVED or entry.changed_at > latest - REMOVED_KEPT
        }
    )


def newer(old: IndexEntry, new: IndexEntry) -> IndexEntry:
    """Which of two entries of one registry holds, see :func:`merge`; the same whichever of them came first."""
    behind, ahead = sorted((old, new), key=lambda entry: (entry.version, entry.changed_at))
    if behind.version == ahead.version != 0 and behind.state in FINAL and ahead.state not in FINAL:
        ahead = ahead.model_copy(update={"state": behind.state})
    return old if same_outcome(old, ahead) else ahead


def same_outcome(old: IndexEntry, new: IndexEntry) -> bool:
    """Whether two entries tell the same but for ``changed_at``."""
    return old.model_copy(update={"changed_at": new.changed_at}) == new
