"""A project's index: the state of each registry. It also merges the updates of several writers."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from functools import cached_property
from typing import Any, Self

from pydantic import AwareDatetime, PrivateAttr, ValidationError
from pydantic_core import from_json, to_json

from regcred.credential import Verified
from regcred.errors import MalformedError
from regcred.registry_reference import is_label
from regcred.vault.records.compression import DOCUMENT_MAX, deflate, inflate
from regcred.vault.records.document import DOCUMENT, Label, Record, Traceparent, malformed

PLAIN_MAX = 64_000
"""The maximum size of an uncompressed index, in characters. People and other tools can read it."""

TEXT_MAX = 5_000_000
"""The maximum size of an index before compression, in characters. It limits the memory of its readers."""

ADMITTED = 0.75
"""New registries are added while the index is smaller than this share of its limit. The rest is for entries
that start to fail, because these are larger."""

RELEASED = 0.7
"""A full index accepts new registries again when it is smaller than this share of its limit."""

NAME_SHOWN = 80
"""How many characters of an invalid name are shown."""

NOT_VERIFIED = "it was not verified; run 'regcred verify'"
"""The reason if a credential was never verified, or if the result is unknown."""

_PACKED = '{"packed":'


class State(StrEnum):
    """The state of a registry in the index."""

    OK = "ok"
    FAILING = "failing"
    """The last attempt failed; a credential of ``version`` may still be valid."""
    REVOKED = "revoked"
    """Revoked on purpose. This proves that clusters must remove the Secret."""
    REMOVED = "removed"
    """The definition was deleted. This proves that clusters must remove the Secret."""


class IndexEntry(Record):
    """The state of one registry for all who may use the project. It contains no secret."""

    state: State
    version: int = 0
    """The version of ``credentials/P/R``; 0 before the first success."""
    fingerprint: str = ""
    """A random value that changes with the credential's content. It reveals nothing about the content."""
    provider: str = ""
    hosts: list[str] = []
    """The keys of the credential's ``auths`` map, or the first of them; see ``hosts_left_out``."""
    hosts_left_out: int = 0
    """How many keys did not fit into the index."""
    expires_at: AwareDatetime | None = None
    """None for a static credential."""
    refresh_at: AwareDatetime | None = None
    definition_version: int = 0
    """The version of ``registries/P/R`` that rotate last used."""
    verified: Verified = Verified.UNKNOWN
    unverified: str = ""
    """Why the credential could not be verified; empty if it was verified."""
    warning: str = ""
    """A verification result that does not stop a static credential: it has more rights than requested."""
    answer: str = ""
    """The answer to a request that can't be fulfilled yet, although nothing has failed. Any other outcome
    clears it."""
    error: str = ""
    error_kind: str = ""
    failing_since: AwareDatetime | None = None
    next_attempt_at: AwareDatetime | None = None
    attempts: int = 0
    """The number of consecutive failures."""
    requested_at: AwareDatetime | None = None
    """When a person sent the request whose outcome this entry is. Sync then writes the Secrets again, so that
    a deleted Secret is restored even if the credential has not changed."""
    traceparent: Traceparent = ""
    """The trace of the rotation that created the credential, for the spans of clusters."""
    changed_at: AwareDatetime
    """When the outcome in this entry was known. It orders entries of one version."""

    @property
    def shown_state(self) -> str:
        """The state for people. A credential that was never verified is ``unverified`` and not ``ok``."""
        unproven = self.state is State.OK and self.version and self.verified is Verified.UNKNOWN
        return "unverified" if unproven else self.state.value

    @property
    def why_unverified(self) -> str:
        """Why it is unknown whether the credential works; empty if it is known, or without a credential."""
        unknown = self.version and self.verified is Verified.UNKNOWN
        return self.unverified or (NOT_VERIFIED if unknown else "")


class Index(Record):
    """``credentials/P/_index``: one entry per registry of the project.

    A large index is compressed: ten thousand simple registries take about half of a document's maximum size.
    :func:`merge` keeps the index below that size.
    """

    registries: dict[Label, IndexEntry] = {}
    full: bool = False
    """Whether an entry did not fit. New registries then wait until others are removed."""
    rotate_version: str = ""
    """The version of the rotate that wrote it last. A change of the version alone writes nothing."""
    _skipped: Mapping[str, str] = PrivateAttr(default_factory=dict)
    _marks: Mapping[str, State | None] = PrivateAttr(default_factory=dict)

    @property
    def skipped(self) -> Mapping[str, str]:
        """The names of unreadable entries, and why each one can't be read.

        If the name is valid, a mark stays in the document until rotate writes the entry again. Otherwise a
        revoked registry would look like a new one.
        """
        return self._skipped

    @property
    def marks(self) -> Mapping[str, State | None]:
        """The skipped entries with a valid name, and their state if it is readable and final."""
        return self._marks

    @classmethod
    def parse(cls, fields: Mapping[str, str], *, path: str) -> Self:
        """Read an index; see :meth:`Record.parse`.

        An unreadable entry is skipped and does not affect the others.
        """
        text = fields.get(DOCUMENT, "")
        if text.startswith(_PACKED):
            try:
                text = inflate(json.loads(text)["packed"])
            except (KeyError, TypeError, ValueError, RecursionError):
                raise MalformedError(
                    f"{path}: this is not an index that rotate has written", field=DOCUMENT
                ) from None
            fields = {DOCUMENT: text}
        try:
            return super().parse(fields, path=path)
        except MalformedError:
            if (index := cls._parse_entries(text, path)) is None:
                raise
            return index

    @classmethod
    def _parse_entries(cls, text: str, path: str) -> Self | None:
        """The index without unreadable entries; None if something else is wrong."""
        try:
            document: Any = from_json(text)
        except ValueError:
            return None
        found = document.get("registries") if isinstance(document, dict) else None
        if not isinstance(found, dict):
            return None
        entries: dict[str, IndexEntry] = {}
        skipped: dict[str, str] = {}
        marks: dict[str, State | None] = {}
        for name, content in found.items():
            if not is_label(name):
                shown = repr(name[:NAME_SHOWN])
                skipped[shown] = f"{path}: {shown} is not the name of a registry"
                continue
            try:
                entries[name] = IndexEntry.model_validate_json(to_json(content))
            except ValidationError as error:
                skipped[name] = str(malformed(error, where=f"{path}: {name}"))
                marks[name] = _final_state(content)
        version = document.get("rotate_version")
        index = cls(
            registries=entries,
            full=document.get("full") is True,
            rotate_version=version if isinstance(version, str) else "",
        )
        return index.marked(marks, skipped)

    def marked(self, marks: Mapping[str, State | None], skipped: Mapping[str, str]) -> Self:
        """The same entries with the marks of unreadable ones."""
        index = type(self)(registries=self.registries, full=self.full, rotate_version=self.rotate_version)
        index._skipped = dict(skipped)  # noqa: SLF001 - its own class
        index._marks = dict(marks)  # noqa: SLF001 - its own class
        return index

    def written_by(self, version: str) -> Self:
        """The same entries, with the version of rotate."""
        index = type(self)(registries=self.registries, full=self.full, rotate_version=version)
        return index.marked(self._marks, self._skipped)

    def fields(self) -> dict[str, str]:
        """The document to write.

        Raises:
            MalformedError: the index is too large for one document.
        """
        if self.share > 1:
            raise MalformedError(
                f"the index of {len(self.registries)} registries is too large for one document of Vault",
                field=DOCUMENT,
            )
        return {DOCUMENT: self._document}

    @property
    def share(self) -> float:
        """Its size as a share of the limit."""
        return max(len(self._text) / TEXT_MAX, len(self._document) / DOCUMENT_MAX)

    @cached_property
    def _text(self) -> str:
        if not self._marks:
            return self.model_dump_json(exclude_defaults=True)
        document = self.model_dump(mode="json", exclude_defaults=True)
        marks = {name: {"state": state} if state else None for name, state in self._marks.items()}
        return to_json({**document, "registries": {**document.get("registries", {}), **marks}}).decode()

    @cached_property
    def _document(self) -> str:
        if len(self._text) <= PLAIN_MAX:
            return self._text
        return f'{_PACKED}"{deflate(self._text)}"}}'


def _final_state(content: object) -> State | None:
    """The state of an unreadable entry, if it is final; None otherwise."""
    state = content.get("state") if isinstance(content, dict) else None
    return next((final for final in FINAL if final.value == state), None)


@dataclass(frozen=True, slots=True)
class Cut:
    """A limit on the details of each entry, for an index that is too large."""

    hosts: int
    text: int

    def __call__(self, entry: IndexEntry) -> IndexEntry:
        """The entry with fewer hosts and shorter texts."""
        hosts = 0 if entry.state is State.REMOVED else self.hosts
        left_out = entry.hosts_left_out + max(0, len(entry.hosts) - hosts)
        texts = {
            name: _shortened(getattr(entry, name), self.text)
            for name in ("warning", "unverified", "answer", "error")
        }
        return entry.model_copy(update={"hosts": entry.hosts[:hosts], "hosts_left_out": left_out, **texts})


CUTS = (Cut(hosts=50, text=500), Cut(hosts=5, text=200), Cut(hosts=1, text=100), Cut(hosts=0, text=40))
"""The levels of detail that are tried in turn until the index fits."""


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


FINAL = frozenset({State.REVOKED, State.REMOVED})
"""States that only a newer credential can end."""

REMOVED_KEPT = timedelta(days=90)
"""How long a removed registry stays in the index, so that disconnected clusters learn of it later."""


def merge(index: Index, updates: Mapping[str, IndexEntry]) -> Index:
    """The index with ``updates`` merged in; the same object if only ``changed_at`` would change.

    Of two entries, the one with the higher credential version wins, then the one with the later
    ``changed_at``. So a late failure never replaces a newer success, in any order of writers. A revoked or
    removed version stays revoked or removed. Of later reports about it, only the error and the next attempt
    count.

    An outcome that only repeats the current one is not written, so its time is lost. Another outcome from
    between the two then wins wrongly, until the next attempt corrects it.
    """
    entries = dict(index.registries)
    for name, new in updates.items():
        old = entries.get(name)
        entries[name] = new if old is None else newer(old, new)
    if entries == index.registries:
        return index
    latest = max(entry.changed_at for entry in entries.values())
    kept = {
        name: entry
        for name, entry in entries.items()
        if entry.state is not State.REMOVED or entry.changed_at > latest - REMOVED_KEPT
    }
    marks = {name: state for name, state in index.marks.items() if name not in updates}
    fitted = _fitted(kept, index)
    return fitted.marked(marks, {name: index.skipped[name] for name in marks}) if marks else fitted


def _fitted(entries: Mapping[str, IndexEntry], old: Index) -> Index:
    """An index that fits: with fewer hosts, shorter texts and, as a last resort, without some new entries.

    Earlier entries always stay, so that no cluster and no sweep forgets a registry.
    """
    added = sorted(name for name in entries if name not in old.registries)
    limit = ADMITTED if added else 1.0
    new = Index(registries=dict(entries))
    for cut in CUTS:
        if new.share <= limit:
            break
        new = _cut(entries, cut)
    if new.share <= limit or not added:
        still = old.full and _cut(entries, CUTS[-1]).share > RELEASED
        return Index(registries=new.registries, full=True) if still else new

    def with_first(count: int) -> Index:
        out = set(added[count:])
        kept = {name: entry for name, entry in new.registries.items() if name not in out}
        return Index(registries=kept, full=True)

    def is_too_large(count: int) -> bool:
        return with_first(count).share > ADMITTED

    return with_first(max(0, bisect_left(range(len(added)), x=True, key=is_too_large) - 1))


def _cut(entries: Mapping[str, IndexEntry], cut: Cut) -> Index:
    return Index(registries={name: cut(entry) for name, entry in entries.items()})


def newer(old: IndexEntry, new: IndexEntry) -> IndexEntry:
    """The entry that wins, see :func:`merge`. It does not depend on the order of the two."""
    behind, ahead = sorted((old, new), key=lambda entry: (entry.version, entry.changed_at))
    if behind.version == ahead.version != 0 and behind.state in FINAL and ahead.state not in FINAL:
        ahead = ahead.model_copy(update={"state": behind.state})
    return old if same_outcome(old, ahead) else ahead


def same_outcome(old: IndexEntry, new: IndexEntry) -> bool:
    """Whether two entries are equal except for ``changed_at`` and the trace."""
    return old.model_copy(update={"changed_at": new.changed_at, "traceparent": new.traceparent}) == new
