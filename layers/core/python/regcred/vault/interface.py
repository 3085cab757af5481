"""The interface of a KV v2 mount, for Vault, OpenBao and a fake."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Document:
    """One version of a KV v2 secret. ``fields`` may contain secrets, so ``repr`` leaves them out."""

    fields: Mapping[str, str] = field(repr=False)
    version: int


class KeyValue(Protocol):
    """One KV v2 mount. Paths are relative to it (``credentials/payments/ecr-prod``).

    All methods raise:
        TransientError: the server can't be reached, is sealed, throttles or responds with a 5xx status; or
            the response is not from Vault. Requests that may be repeated have already been retried.
        RefusedError: permission denied (also for an invalid token, after one new sign-in); the mount or
            namespace does not exist; the sign-in itself was refused.
        MissingError, MalformedError: there are no credentials to sign in with.

    A caller that reads after its own write sees at least that state, from every node. A ConflictError is
    raised late enough for standbys to have caught up. Contract:
    https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2
    """

    def read(self, path: str) -> Document | None:
        """The current version. None if it was never written, or is deleted or destroyed.

        Raises:
            MalformedError: a field's value is not a string.
        """

    def version(self, path: str) -> int:
        """The number of the newest version, even if it was deleted or destroyed; 0 if never written.

        This reads only metadata and is the cheapest request (about 1 ms), so polls use it.
        """

    def write(self, path: str, fields: Mapping[str, str], *, cas: int) -> int:
        """Write a new version if the newest one is still ``cas`` (0: never written). Return its number.

        This destroys the previous version, because the mount keeps one.

        Raises:
            ConflictError: the newest version is a different one. Nothing was written.
            MalformedError: a value is not a string, or the document is too large. Nothing was written.
        """

    def destroy(self, path: str, versions: Sequence[int]) -> None:
        """Destroy the data of these versions. The numbering continues."""

    def delete(self, path: str) -> None:
        """Remove all versions and the metadata.

        A later write starts at version 1. A missing document is not an error.
        """

    def list(self, folder: str) -> list[str]:
        """The names directly in a folder, sorted. Subfolders end in ``/``. Empty if there are none."""
