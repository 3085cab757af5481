"""The documents that rotate writes and others read: credentials, index, history and signal."""

from __future__ import annotations

from collections.abc import Container, Mapping
from contextlib import suppress

from regcred import __version__
from regcred.errors import MalformedError, RegcredError
from regcred.registry_reference import Reference
from regcred.vault.records.credential import CredentialRecord
from regcred.vault.records.history import Attempt, History
from regcred.vault.records.index import Index, IndexEntry, State, merge
from regcred.vault.records.paths import (
    SIGNAL,
    credential_path,
    history_path,
    index_path,
)
from regcred.vault.records.revocation_signal import Signal
from regcred.vault.store.base import TypedRecords, Versioned

ENDED = frozenset({State.REVOKED, State.REMOVED})
"""The states that reach clusters at once, through the signal."""


class OutcomeRecords(TypedRecords):
    """The current credentials, and what rotate reports about them."""

    def credential(self, reference: Reference) -> Versioned[CredentialRecord] | None:
        """The current credential."""
        path = credential_path(reference)
        document = self._kv.read(path)
        if document is None:
            return None
        return Versioned(CredentialRecord.parse(document.fields, path=path), document.version)

    def credential_version(self, reference: Reference) -> int:
        """The version of the credential, even if it was destroyed; 0 if there never was one."""
        return self._kv.version(credential_path(reference))

    def write_credential(
        self, reference: Reference, record: CredentialRecord, *, cas: int, above: int = 0
    ) -> int:
        """Write a new current credential, and return its version. This destroys the previous version.

        Args:
            reference: The registry.
            record: The credential.
            cas: The current version.
            above: A version that readers know. If the numbering has restarted because somebody deleted the
                metadata, the version is raised above this number: readers accept only newer versions.
        """
        path = credential_path(reference)
        version = self._kv.write(path, record.fields(), cas=cas)
        while version <= above:
            version = self._kv.write(path, record.fields(), cas=version)
        return version

    def destroy_credential(self, reference: Reference, version: int) -> None:
        """Destroy a credential. The numbering continues, so a later one is newer."""
        self._kv.destroy(credential_path(reference), [version])

    def index(self, project: str) -> Versioned[Index] | None:
        """A project's index."""
        return self._record(index_path(project), Index)

    def index_version(self, project: str) -> int:
        """The version of a project's index, to poll."""
        return self._kv.version(index_path(project))

    def merge_index(
        self, project: str, updates: Mapping[str, IndexEntry], *, seen: Versioned[Index] | None = None
    ) -> Index:
        """Merge entries into a project's index (monotonic, see :func:`merge`); write only if it changed.

        Args:
            project: The project.
            updates: The entries, by registry.
            seen: The index from an earlier read. It saves a read if it has not changed since.

        Raises:
            ConflictError: other writers won every time. Nothing was written.
        """
        path = index_path(project)
        index = self._update(path, Index, lambda old: _merged(old, updates), seen)
        if any(entry.state in ENDED for entry in updates.values()):
            with suppress(RegcredError):  # clusters also poll the index, but less often
                self._update(SIGNAL, Signal, lambda old: (old or Signal()).with_project(project))
        return index

    def signal(self) -> Versioned[Signal] | None:
        """The signal: which projects have ended a credential."""
        return self._record(SIGNAL, Signal)

    def signal_version(self) -> int:
        """The version of the signal, to poll."""
        return self._kv.version(SIGNAL)

    def history(self, project: str) -> Versioned[History] | None:
        """The last outcomes of a project's registries."""
        return self._record(history_path(project), History)

    def add_history(
        self,
        project: str,
        attempts: Mapping[str, Attempt],
        *,
        known: Container[str] | None = None,
        seen: Versioned[History] | None = None,
    ) -> None:
        """Add one outcome to the history of each of these registries.

        A history that can't be read is replaced.

        Args:
            project: The project.
            attempts: The outcomes, by registry.
            known: The registries whose history stays; None keeps all.
            seen: The history from an earlier read. It saves a read if it has not changed since.

        Raises:
            ConflictError: other writers won every time. Nothing was written.
        """

        def change(old: History | None) -> History:
            return (old or History()).with_attempts(attempts, known=known)

        path = history_path(project)
        try:
            self._update(path, History, change, seen)
        except MalformedError:
            self._update(path, History, change, replace_unreadable=True)


def _merged(old: Index | None, updates: Mapping[str, IndexEntry]) -> Index:
    """The index with updates. If that changes it, it also gets the version of this rotate."""
    before = old or Index()
    after = merge(before, updates)
    return before if after is before else after.written_by(__version__)
