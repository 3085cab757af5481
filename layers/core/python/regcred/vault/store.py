"""The records of the ``regcred/`` mount, read and written by type over any :class:`KeyValue`."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from pydantic import SecretStr

from regcred.errors import ConflictError, MalformedError, RegcredError
from regcred.reference import Reference, check_label
from regcred.vault.interface import KeyValue
from regcred.vault.records.credential import CredentialRecord
from regcred.vault.records.declared import Action, ClusterGrants, Definition, ProjectPolicy, Request
from regcred.vault.records.document import Record
from regcred.vault.records.history import Attempt, History
from regcred.vault.records.identity import ClusterIdentity
from regcred.vault.records.index import Index, IndexEntry, State, merge
from regcred.vault.records.paths import (
    SIGNAL,
    cluster_path,
    credential_path,
    history_path,
    identity_path,
    index_path,
    project_path,
    registry_path,
    request_path,
    revocation_path,
    rotation_path,
    status_path,
    upstream_path,
)
from regcred.vault.records.rotation import Rotation, take
from regcred.vault.records.signal import Signal
from regcred.vault.records.status import Status
from regcred.vault.records.upstream import Upstream

T_co = TypeVar("T_co", covariant=True)
R = TypeVar("R", bound=Record)

ENDED = frozenset({State.REVOKED, State.REMOVED})
"""The states of which clusters are told at once."""

CAS_ATTEMPTS = 8
"""How often a merge is tried against other writers before it gives up."""


@dataclass(frozen=True, slots=True)
class Versioned(Generic[T_co]):
    """A record and the version it was read at, to write with check-and-set."""

    value: T_co
    version: int


class Store:
    """Typed access to the mount. Raises what :class:`KeyValue` raises, and MalformedError for a broken document.

    A method that returns None means "known to be absent"; a failure to know raises.
    """

    def __init__(self, kv: KeyValue) -> None:
        self._kv = kv

    def projects(self) -> list[str]:
        """The names of all projects that have registries or credentials, also of removed registries."""
        folders = ("registries", "credentials")
        return sorted({name.rstrip("/") for folder in folders for name in self._kv.list(folder)})

    def registries(self, project: str) -> list[str]:
        """The names of a project's registries."""
        return [name for name in self._kv.list(f"registries/{project}") if not name.endswith("/")]

    def asked(self, project: str) -> tuple[list[str], list[str]]:
        """The names of a project's registries for which something was asked, and of those that are to be revoked."""
        names = self._kv.list(f"requests/{check_label(project, field='project')}")
        revoked = self._kv.list(f"requests/{project}/revoke") if "revoke/" in names else []
        return [name for name in names if not name.endswith("/")], [
            name for name in revoked if not name.endswith("/")
        ]

    def project(self, project: str) -> Versioned[ProjectPolicy] | None:
        """What a project may use."""
        return self._record(project_path(project), ProjectPolicy)

    def project_policies(self) -> list[str]:
        """The names of all projects that platform admins have set."""
        return [name for name in self._kv.list("platform/projects") if not name.endswith("/")]

    def change_project(
        self, project: str, change: Callable[[ProjectPolicy | None], ProjectPolicy], *, anew: bool = False
    ) -> ProjectPolicy:
        """Change what a project may use, also while others do.

        Args:
            project: Its name.
            change: What is to be of what there is; may be called more than once.
            anew: Whether a document that can't be read counts as none, and is replaced.
        """
        return self._update(project_path(project), ProjectPolicy, change, anew=anew)

    def write_project(self, project: str, policy: ProjectPolicy, *, cas: int) -> int:
        """Say what a project may use."""
        return self._kv.write(project_path(project), policy.fields(), cas=cas)

    def cluster(self, cluster: str) -> Versioned[ClusterGrants] | None:
        """The grants of a cluster."""
        return self._record(cluster_path(cluster), ClusterGrants)

    def cluster_version(self, cluster: str) -> int:
        """The version of a cluster's grants, to poll."""
        return self._kv.version(cluster_path(cluster))

    def change_cluster(
        self, cluster: str, change: Callable[[ClusterGrants | None], ClusterGrants], *, anew: bool = False
    ) -> ClusterGrants:
        """Change the grants of a cluster, as :meth:`change_project` does what a project may use."""
        return self._update(cluster_path(cluster), ClusterGrants, change, anew=anew)

    def write_cluster(self, cluster: str, grants: ClusterGrants, *, cas: int) -> int:
        """Set the grants of a cluster."""
        return self._kv.write(cluster_path(cluster), grants.fields(), cas=cas)

    def identity(self, cluster: str) -> Versioned[ClusterIdentity] | None:
        """Which cluster is pinned to a name."""
        return self._record(identity_path(cluster), ClusterIdentity)

    def pin_identity(self, cluster: str, identity: ClusterIdentity) -> None:
        """Pin a cluster to a name.

        Raises:
            ConflictError: one is pinned to it already.
        """
        self._kv.write(identity_path(cluster), identity.fields(), cas=0)

    def forget_identity(self, cluster: str) -> None:
        """Let the next cluster that signs in have a name."""
        self._kv.delete(identity_path(cluster))

    def definition(self, reference: Reference) -> Versioned[Definition] | None:
        """A registry's definition as it was written."""
        return self._record(registry_path(reference), Definition)

    def definition_version(self, reference: Reference) -> int:
        """The version of a registry's definition."""
        return self._kv.version(registry_path(reference))

    def write_definition(self, reference: Reference, definition: Definition, *, cas: int) -> int:
        """Write a registry's definition."""
        return self._kv.write(registry_path(reference), definition.fields(), cas=cas)

    def remove_definition(self, reference: Reference) -> None:
        """Remove a registry: its definition and upstream secret; rotate does the rest at its next sweep.

        A definition that is written again starts at version 1, so who writes it also asks for a rotation.
        """
        self._kv.delete(registry_path(reference))
        self._kv.delete(upstream_path(reference))

    def upstream(self, reference: Reference) -> Versioned[Upstream] | None:
        """The upstream secret."""
        document = self._kv.read(upstream_path(reference))
        return None if document is None else Versioned(Upstream.of(document.fields), document.version)

    def write_upstream(
        self, reference: Reference, fields: Mapping[str, SecretStr], *, bound_to: str, cas: int
    ) -> int:
        """Write the upstream secret; the version before is gone with that.

        Args:
            reference: The registry.
            fields: The secret.
            bound_to: Where it may be sent, see :func:`regcred.registry.binding.bind`.
            cas: The version that is replaced.
        """
        return self._kv.write(upstream_path(reference), Upstream(fields, bound_to).document(), cas=cas)

    def upstream_version(self, reference: Reference) -> int:
        """The version of the upstream secret, without reading it."""
        return self._kv.version(upstream_path(reference))

    def request(self, reference: Reference) -> Versioned[Request] | None:
        """What was asked for, other than a revocation."""
        return self._record(request_path(reference), Request)

    def revocation(self, reference: Reference) -> Versioned[Request] | None:
        """The request to end the credential."""
        return self._record(revocation_path(reference), Request)

    def request_version(self, reference: Reference, *, revocation: bool = False) -> int:
        """The version of a request, also of one that can't be read; 0 if there is none."""
        return self._kv.version((revocation_path if revocation else request_path)(reference))

    def ask(self, reference: Reference, request: Request) -> int:
        """Ask for something; the write is the authority. A revocation goes before all else, else the newest request counts.

        Raises:
            ConflictError: others asked every time; theirs stands.
        """
        path = (revocation_path if request.action is Action.REVOKE else request_path)(reference)
        for _ in range(CAS_ATTEMPTS):
            with suppress(ConflictError):
                return self._kv.write(path, request.fields(), cas=self._kv.version(path))
        raise ConflictError(f"{path}: others kept asking at the same time; ask again")

    def answered(self, reference: Reference, version: int, *, revocation: bool = False) -> None:
        """Take a request away after it was acted on, unless a newer one has arrived meanwhile.

        KV v2 can't delete on condition: a request that arrives within the last round trip is taken away unanswered,
        so who asks waits for the outcome in the index, and asks again without one.
        """
        path = (revocation_path if revocation else request_path)(reference)
        if self._kv.version(path) == version:
            self._kv.delete(path)

    def rotation(self, reference: Reference) -> Versioned[Rotation]:
        """The claim and the slots; an empty one at the current version where there is none."""
        found = self._current(rotation_path(reference), Rotation)
        return Versioned(found.value or Rotation(), found.version)

    def write_rotation(self, reference: Reference, rotation: Rotation, *, cas: int) -> int:
        """Save the claim and the slots; ``cas`` is the version that the rotation was read at."""
        return self._kv.write(rotation_path(reference), rotation.fields(), cas=cas)

    def claim(
        self,
        reference: Reference,
        found: Versioned[Rotation],
        *,
        owner: str,
        now: datetime,
        lease: timedelta,
    ) -> Versioned[Rotation]:
        """Claim a registry's rotation as it was ``found``, see :func:`take`; also renews the owner's own claim.

        Raises:
            ConflictError: another owner holds it, or was quicker.
        """
        taken = take(found.value, owner=owner, now=now, lease=lease)
        return Versioned(taken, self.write_rotation(reference, taken, cas=found.version))

    def remove_rotation(self, reference: Reference) -> None:
        """Forget the claim and the slots of a registry that is gone."""
        self._kv.delete(rotation_path(reference))

    def credential(self, reference: Reference) -> Versioned[CredentialRecord] | None:
        """The credential that is in force."""
        path = credential_path(reference)
        document = self._kv.read(path)
        if document is None:
            return None
        return Versioned(CredentialRecord.parse(document.fields, path=path), document.version)

    def credential_version(self, reference: Reference) -> int:
        """The version of the credential, also when it was destroyed; 0 if there never was one."""
        return self._kv.version(credential_path(reference))

    def write_credential(
        self, reference: Reference, record: CredentialRecord, *, cas: int, above: int = 0
    ) -> int:
        """Put a new credential in force; the version before is gone with that.

        Args:
            reference: The registry.
            record: The credential.
            cas: The version that is in force.
            above: What readers have been told of. Where the numbering began anew, since somebody deleted the metadata, it is
                brought past this version: readers take only what is newer for new.
        """
        path = credential_path(reference)
        version = self._kv.write(path, record.fields(), cas=cas)
        while version <= above:
            version = self._kv.write(path, record.fields(), cas=version)
        return version

    def destroy_credential(self, reference: Reference, version: int) -> None:
        """Destroy a credential; the numbering goes on, so that a later one is newer."""
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
            seen: The index as it was read before, to save a read if nobody has written since.

        Raises:
            ConflictError: other writers won every time; nothing was written.
        """
        path = index_path(project)
        index = self._update(path, Index, lambda old: merge(old or Index(), updates), seen)
        if any(entry.state in ENDED for entry in updates.values()):
            with suppress(RegcredError):  # clusters poll the index as well, only less often
                self._update(SIGNAL, Signal, lambda old: (old or Signal()).with_project(project))
        return index

    def signal(self) -> Versioned[Signal] | None:
        """The projects of which a credential was ended."""
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
        """Add one outcome to each of these registries' history; one that can't be read is begun anew.

        Args:
            project: The project.
            attempts: The outcomes, by registry.
            known: The registries whose history is kept; None keeps all.
            seen: The history as it was read before, to save a read if nobody has written since.

        Raises:
            ConflictError: other writers won every time; nothing was written.
        """

        def change(old: History | None) -> History:
            return (old or History()).with_attempts(attempts, known=known)

        path = history_path(project)
        try:
            self._update(path, History, change, seen)
        except MalformedError:
            self._update(path, History, change, anew=True)

    def status(self, cluster: str, project: str) -> Versioned[Status] | None:
        """What is in place in a cluster, and its ledger."""
        return self._record(status_path(cluster, project), Status)

    def status_projects(self, cluster: str) -> list[str]:
        """The names of all projects that have something in place in a cluster."""
        folder = f"status/{check_label(cluster, field='cluster')}"
        return [name for name in self._kv.list(folder) if not name.endswith("/")]

    def status_version(self, cluster: str, project: str) -> int:
        """The version of a status document."""
        return self._kv.version(status_path(cluster, project))

    def write_status(self, cluster: str, project: str, status: Status, *, cas: int) -> int:
        """Write what is in place."""
        return self._kv.write(status_path(cluster, project), status.fields(), cas=cas)

    def clusters(self) -> list[str]:
        """The names of all clusters that have grants."""
        return [name for name in self._kv.list("platform/clusters") if not name.endswith("/")]

    def _record(self, path: str, model: type[R]) -> Versioned[R] | None:
        document = self._kv.read(path)
        if document is None:
            return None
        return Versioned(model.parse(document.fields, path=path), document.version)

    def _current(self, path: str, model: type[R]) -> Versioned[R | None]:
        document = self._kv.read(path)
        version = 0
        if document is None:
            # The version comes before the second look: a writer between the two makes a later check-and-set fail.
            version = self._kv.version(path)
            document = self._kv.read(path)
        if document is None:
            return Versioned(None, version)
        return Versioned(model.parse(document.fields, path=path), document.version)

    def _readable(self, path: str, model: type[R]) -> Versioned[R | None]:
        """As :meth:`_current`, but what can't be read counts as nothing."""
        # The version comes before the look: who mends it meanwhile makes the check-and-set fail.
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
        anew: bool = False,
    ) -> R:
        read = self._readable if anew else self._current
        for _ in range(CAS_ATTEMPTS):
            found = found or read(path, model)
            new = change(found.value)
            if new == found.value:
                return new
            try:
                self._kv.write(path, new.fields(), cas=found.version)
            except ConflictError:
                found = None
                continue
            return new
        raise ConflictError(f"{path}: other writers were always first; nothing was written, try again")
