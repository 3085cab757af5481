"""The interface of a KV v2 mount, for Vault, OpenBao and a fake."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Document:
    """One version of a KV v2 secret. ``fields`` may hold secrets, so it is no part of ``repr``."""

    fields: Mapping[str, str] = field(repr=False)
    version: int


class KeyValue(Protocol):
    """One KV v2 mount. Paths are relative to it (``credentials/payments/ecr-prod``).

    All methods raise:
        TransientError: the server can't be reached, is sealed, throttles, answers 5xx, or what answers is not Vault.
            Requests that may be repeated were tried again already.
        RefusedError: permission denied (also for an invalid token, after one new sign-in); no such mount or namespace;
            the sign-in itself was refused.
        MissingError, MalformedError: there is nothing to sign in with.

    Who reads after a write of its own sees at least that state, whichever node answers. A ConflictError comes late enough
    for standbys to have caught up.
    Contract: https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2
    """

    def read(self, path: str) -> Document | None:
        """The current version, or None if there is none (never written, deleted or destroyed).

        Raises:
            MalformedError: a field's value is not a string.
        """

    def version(self, path: str) -> int:
        """The number of the newest version, also when that was deleted or destroyed; 0 if never written.

        This reads metadata only and is the cheapest question (about 1 ms): polls use it.
        """

    def write(self, path: str, fields: Mapping[str, str], *, cas: int) -> int:
        """Write a new version if the newest is still ``cas`` (0: never written); return its number.

        The version before is gone for good with that: the mount keeps one.

        Raises:
            ConflictError: the newest version is another. Nothing was written.
            MalformedError: a value is not a string, or the document is too large. Nothing was written.
        """

    def destroy(self, path: str, versions: Sequence[int]) -> None:
        """Remove the data of these versions for good; the numbering goes on."""

    def delete(self, path: str) -> None:
        """Remove all versions and the metadata; a later write starts at version 1. No error if absent."""

    def list(self, folder: str) -> list[str]:
        """The names directly in a folder, sorted; subfolders end in ``/``. Empty if there is none."""
