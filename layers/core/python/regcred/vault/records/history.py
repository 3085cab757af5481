"""``history/P``: the last outcomes of each registry in a project, without secrets.

Ten thousand registries with fifty outcomes each would not fit into one document. So the outcomes of a
registry are one short text, and the document is compressed. If a project is still too large, each registry
keeps fewer outcomes.
"""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from regcred.errors import MalformedError
from regcred.vault.records.compression import deflate, inflate
from regcred.vault.records.document import DOCUMENT, Record

KEPT = 50
"""The number of outcomes kept per registry."""

HISTORY_MAX = 600_000
"""The maximum size of the document in characters. A batch reads and writes all of it, so it is smaller than
Vault's limit."""

ROOM = 0.8
"""A document that is too large is cut to this share of :data:`HISTORY_MAX`, so that not every write must cut
it."""

_ENTRY, _FIELD = ";", ","


@dataclass(frozen=True, slots=True)
class Attempt:
    """One outcome of a registry."""

    at: datetime
    """When it was known, to the second."""
    outcome: str
    """The outcome: ``rotated``, ``unchanged``, ``verified``, ``failing``, ``revoked``, ``removed``, …"""
    version: int = 0
    """The version of the credential that was current afterwards; 0 if there was none."""
    milliseconds: int = 0
    """How long the attempt took."""
    error_kind: str = ""
    """The kind of the error (``transient``, ``refused``, ``malformed``, ``missing``), or empty."""


class History(Record):
    """``history/P``: written by rotate, read by the project's readers and admins and by the console."""

    registries: dict[str, str] = {}
    """By registry, its outcomes as a short text; see :meth:`attempts`."""

    @classmethod
    def parse(cls, fields: Mapping[str, str], *, path: str) -> Self:
        """Read a history, see :meth:`Record.parse`."""
        try:
            return cls(registries=json.loads(inflate(json.loads(fields[DOCUMENT])["history"])))
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
            raise MalformedError(
                f"{path}: this is not a history that rotate has written; rotate starts a new one",
                field=DOCUMENT,
            ) from None

    def fields(self) -> dict[str, str]:
        """The document to write, cut to :data:`HISTORY_MAX` characters."""
        text = _document(self.registries)
        share = 1.0
        while len(text) > HISTORY_MAX:
            share *= ROOM * HISTORY_MAX / len(text)
            text = _document(_cut(self.registries, share))
        return {DOCUMENT: text}

    def attempts(self, registry: str) -> list[Attempt]:
        """The outcomes of a registry, newest first; empty if there are none or they are unreadable."""
        try:
            return _read(self.registries.get(registry, ""))
        except (ValueError, OverflowError, OSError):
            return []

    def with_attempts(self, new: Mapping[str, Attempt], *, known: Container[str] | None = None) -> History:
        """The history with one more outcome for each of these registries.

        Args:
            new: The outcome of each registry.
            known: The registries whose history stays. The rest is dropped. None keeps all.
        """
        kept = {
            name: text
            for name, text in self.registries.items()
            if known is None or name in known or name in new
        }
        for name, attempt in new.items():
            attempts = sorted([attempt, *self.attempts(name)], key=lambda one: one.at, reverse=True)
            kept[name] = _write(attempts[:KEPT])
        return History.model_construct(registries=kept)


def _document(registries: Mapping[str, str]) -> str:
    inner = json.dumps(registries, separators=(",", ":"), sort_keys=True)
    return json.dumps({"history": deflate(inner)}, separators=(",", ":"))


def _cut(registries: Mapping[str, str], share: float) -> dict[str, str]:
    """About this share of all outcomes: the same number of newest outcomes for each registry.

    If that number is below one, only the registries with the newest outcomes are kept.
    """
    longest = max((text.count(_ENTRY) + 1 for text in registries.values()), default=1)
    each = max(1, int(longest * share))
    cut = {name: _ENTRY.join(text.split(_ENTRY)[:each]) for name, text in registries.items()}
    if longest * share >= 1:
        return cut
    newest = sorted(cut, key=lambda name: cut[name], reverse=True)
    return {name: cut[name] for name in newest[: int(len(newest) * longest * share)]}


def _write(attempts: list[Attempt]) -> str:
    """The text of outcomes that are sorted newest first.

    The first time and version are absolute. The others are differences to the outcome before, because small
    numbers compress well.
    """
    entries, at, version = [], 0, 0
    for attempt in attempts:
        seconds = int(attempt.at.timestamp())
        entries.append(
            _FIELD.join(
                (
                    str(abs(seconds - at)),
                    attempt.outcome,
                    str(attempt.version - version),
                    str(attempt.milliseconds),
                    attempt.error_kind,
                )
            )
        )
        at, version = seconds, attempt.version
    return _ENTRY.join(entries)


def _read(text: str) -> list[Attempt]:
    attempts: list[Attempt] = []
    at, version = 0, 0
    for entry in text.split(_ENTRY)[:KEPT] if text else ():
        distance, outcome, ahead, milliseconds, kind = entry.split(_FIELD)
        at = at - int(distance) if attempts else int(distance)
        version += int(ahead)
        attempts.append(Attempt(datetime.fromtimestamp(at, UTC), outcome, version, int(milliseconds), kind))
    return attempts
