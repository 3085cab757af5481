"""Reads, writes and merges records by type: the common part of all stores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from regcred.errors import ConflictError, MalformedError
from regcred.vault.interface import KeyValue
from regcred.vault.records.document import Record

T_co = TypeVar("T_co", covariant=True)
R = TypeVar("R", bound=Record)

CAS_ATTEMPTS = 8
"""How often a write is tried when other writers interfere."""


@dataclass(frozen=True, slots=True)
class Versioned(Generic[T_co]):
    """A record and its version, for a write with check-and-set."""

    value: T_co
    version: int
    owner: str = ""
    """The declared owner, if one is stored with the record: a name, or JSON for the grants of a cluster."""


OWNER = "owner"
"""The field with the declared owner of a record. It is in the same document, so both change together."""


class TypedRecords:
    """Reads, writes and merges records by type over any :class:`KeyValue`."""

    def __init__(self, kv: KeyValue) -> None:
        self._kv = kv

    def _record(self, path: str, model: type[R]) -> Versioned[R] | None:
        document = self._kv.read(path)
        if document is None:
            return None
        return Versioned(
            model.parse(document.fields, path=path), document.version, document.fields.get(OWNER, "")
        )

    def _current(self, path: str, model: type[R]) -> Versioned[R | None]:
        """A record and its version. If there is none: None, and the version for a first write."""
        document = self._kv.read(path)
        version = 0
        if document is None:
            # The version is read before the second read. If another client writes between the two, a later
            # check-and-set fails.
            version = self._kv.version(path)
            document = self._kv.read(path)
        if document is None:
            return Versioned(None, version)
        return Versioned(
            model.parse(document.fields, path=path), document.version, document.fields.get(OWNER, "")
        )

    def _readable(self, path: str, model: type[R]) -> Versioned[R | None]:
        """As :meth:`_current`, but an unreadable document counts as absent."""
        # The version is read first. If another client repairs the document now, the check-and-set fails.
        version = self._kv.version(path)
        try:
            return self._current(path, model)
        except MalformedError:
            return Versioned(None, version)

    def _update(
        self,
        path: str,
        model: type[R],
        change: Callable[[R | None], R],
        found: Versioned[R | None] | None = None,
        *,
        replace_unreadable: bool = False,
    ) -> R:
        """Change a record with check-and-set, and return the new one. ``change`` may be called repeatedly.

        Args:
            path: The path of the document.
            model: The type of the record.
            change: Returns the new record for the current one, or for None if there is none.
            found: The record from an earlier read. It saves a read.
            replace_unreadable: Whether to replace an unreadable document.

        Raises:
            ConflictError: other writers won every time. Nothing was written.
        """
        read = self._readable if replace_unreadable else self._current
        for _ in range(CAS_ATTEMPTS):
            found = found or read(path, model)
            new = change(found.value)
            if new == found.value:
                return new
            try:
                self._kv.write(path, owned(new, found.owner), cas=found.version)
            except ConflictError:
                found = None
                continue
            return new
        raise ConflictError(f"{path}: other writers were faster each time; nothing was written; try again")


def owned(record: Record, owner: str) -> dict[str, str]:
    """The fields of a record, with its owner if there is one."""
    return {**record.fields(), OWNER: owner} if owner else record.fields()
