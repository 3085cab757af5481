"""The status of a project in a cluster, which sync writes: what is in place, and what is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Self

from pydantic import AwareDatetime, ValidationError

from regcred.errors import MalformedError
from regcred.vault.records import ledger
from regcred.vault.records.document import DOCUMENT, Record, malformed


class Placement(Record):
    """The ledger of one reference in one cluster."""

    placed: dict[int, dict[str, str]] = {}
    """By credential version (0: about to be written), the namespaces with the first 8 digits of their
    uids."""
    unused_since: dict[str, AwareDatetime] = {}
    """By namespace, since when no annotated workload has needed it: the start of the grace period."""
    refused: dict[str, str] = {}
    """By namespace, why the reference is not projected there (``not-granted``, ``no-such-registry``,
    ``clash``, …)."""
    details: dict[str, str] = {}
    """By namespace, the reason for the last failed write or removal: one printable line of at most 400
    characters. If ``refused`` is ``not-read``, it is a message of Vault, and otherwise of the API server,
    where a quota, a webhook or a policy has denied the request. Show it unchanged, with the advice to fix the
    cause. Sync retries every half minute."""
    held: dict[str, str] = {}
    """By namespace, why the Secret would be removed (``unneeded``, ``removed``). The brake holds these
    removals until a platform admin confirms them (``regcred cluster confirm-removals C``, or in the
    console)."""

    @classmethod
    def empty(cls) -> Self:
        """A placement whose fields can be filled."""
        return cls(placed={}, unused_since={}, refused={}, details={}, held={})

    @property
    def in_place(self) -> dict[int, dict[str, str]]:
        """``placed`` without the Secrets that were never written."""
        return {version: names for version, names in self.placed.items() if version}

    def namespaces(self) -> set[str]:
        """All namespaces that it names."""
        return {*self.unused_since, *self.refused, *self.details, *self.held}.union(*self.placed.values())

    def split(self, parts: int) -> list[Placement]:
        """The namespaces of each part."""
        split = [Placement.empty() for _ in range(parts)]
        number = {name: _part_of(name, parts) for name in self.namespaces()}
        for version, namespaces in self.placed.items():
            for name, uid in namespaces.items():
                split[number[name]].placed.setdefault(version, {})[name] = uid
        for field in _BY_NAMESPACE:
            for name, value in getattr(self, field).items():
                getattr(split[number[name]], field)[name] = value
        return split

    def add_to(self, other: Placement, *, without: set[str]) -> None:
        """Add everything to another placement, except the namespaces in ``without``."""
        for version, namespaces in self.placed.items():
            new = {name: uid for name, uid in namespaces.items() if name not in without}
            if new:
                other.placed.setdefault(version, {}).update(new)
        for field in _BY_NAMESPACE:
            values = getattr(self, field)
            getattr(other, field).update({name: values[name] for name in values if name not in without})


_BY_NAMESPACE = ("unused_since", "refused", "details", "held")
_NOTHING = Placement()


def _part_of(namespace: str, parts: int) -> int:
    """The number of the part that has a namespace.

    With twice as many parts, that is the same number or the number plus ``parts``.
    """
    return int.from_bytes(hashlib.sha256(namespace.encode()).digest()[:8]) % parts


class Status(Record):
    """``status/C/P``: written by the sync of C on change and as a heartbeat.

    The written text is compact, see :mod:`regcred.vault.records.ledger`.
    """

    written_at: AwareDatetime
    sync_version: str = ""
    """The version of the sync that wrote it."""
    mode: str = ""
    """How Pods get the names of their Secrets: ``admission``, ``serviceaccount`` or ``none``."""
    parts: int = 1
    """How many documents it has. All but the first are at ``status/C/P/<number>``. Each namespace is in one
    of them."""
    registries: dict[str, Placement] = {}

    @classmethod
    def parse(cls, fields: Mapping[str, str], *, path: str) -> Self:
        """Read a status, see :meth:`Record.parse`."""
        text = fields.get(DOCUMENT)
        if text is None:
            raise MalformedError(
                f"{path}: the field {DOCUMENT!r} with a JSON text is missing", field=DOCUMENT
            )
        try:
            return cls.model_validate_json(ledger.unpack(text))
        except ValidationError as error:
            raise malformed(error, where=path) from None
        except ValueError as error:
            raise MalformedError(
                f"{path}: {error}; sync rewrites it at its next change", field=DOCUMENT
            ) from None

    def fields(self) -> dict[str, str]:
        """The document to write, in compact form.

        10,000 namespaces times several registries stay far below Vault's 1 MiB.

        It always contains what is in place. If there is not enough room, it leaves out refusals first, and
        then also held removals and the times since when Secrets are unneeded. The next pass finds all of
        these again.

        Raises:
            MalformedError: What is in place is too large for one document.
        """
        fields = self._fields()
        if fields is None:
            raise MalformedError(
                f"a status with {len(self.registries)} registries is too large for one document",
                field=DOCUMENT,
            )
        return fields

    def _fields(self) -> dict[str, str] | None:
        for left_out in _LEFT_OUT:
            try:
                text = self.model_dump_json(
                    exclude_defaults=True, exclude={"registries": {"__all__": left_out}}
                )
                return {DOCUMENT: ledger.pack(text)}
            except ValueError:
                continue
        return None

    def documents(self, parts: int = 1) -> list[dict[str, str]]:
        """The documents to write: one, or as many as what is in place needs.

        If they are too few, their number doubles, so that a namespace stays in its document or moves to a new
        one. Write new documents first.

        Args:
            parts: The minimum number: the documents that exist.

        Raises:
            MalformedError: What is in place does not fit into :data:`PARTS_MAX` documents.
        """
        while parts <= PARTS_MAX:
            fields = [part._fields() for part in self._split(parts)]
            complete = [each for each in fields if each is not None]
            if len(complete) == parts:
                return complete
            parts *= 2
        raise MalformedError(
            f"a status with {len(self.registries)} registries is too large for Vault: use them in fewer "
            "namespaces",
            field=DOCUMENT,
        )

    def _split(self, parts: int) -> list[Status]:
        if parts == 1:
            return [self.model_copy(update={"parts": 1})]
        split = [self.model_copy(update={"parts": parts, "registries": {}}) for _ in range(parts)]
        for registry, placement in self.registries.items():
            for number, part in enumerate(placement.split(parts)):
                if part != _NOTHING:
                    split[number].registries[registry] = part
        return split

    @classmethod
    def joined(cls, documents: Iterable[Status]) -> Status:
        """The complete status from its documents, the first one first.

        A namespace is in two documents if a writer stopped while the number of documents grew. Then the
        newest document counts.
        """
        first, *others = documents
        whole = first.model_copy(update={"registries": {}})
        taken: set[str] = set()
        for document in sorted((first, *others), key=lambda status: status.written_at, reverse=True):
            found: set[str] = set()
            for registry, placement in document.registries.items():
                found |= placement.namespaces()
                placement.add_to(whole.registries.setdefault(registry, Placement.empty()), without=taken)
            taken |= found
        return whole


PARTS_MAX = 16
"""The maximum number of documents of one status."""

_LEFT_OUT: tuple[set[str], ...] = (
    set(),
    {"refused", "details"},
    {"refused", "details", "held", "unused_since"},
)
