"""The interface of a cluster's API for sync. A fake can replace the real implementation."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

from regcred.cluster.dockerconfig import SecretBody
from regcred.cluster.model import Item, Kind, LivePod, PullSecretList, Workload
from regcred.errors import ConflictError, MissingError, RefusedError, RegcredError, TransientError
from regcred.registry_reference import Reference


class NameTakenError(ConflictError):
    """A Secret with our name exists that is not ours."""


class AlreadyExistsError(ConflictError):
    """An object with this name exists: a 409 with the reason ``AlreadyExists``. It is not the only 409."""


class TerminatingError(MissingError):
    """The namespace is being deleted, so nothing can be created in it."""


class ThrottledError(TransientError):
    """The API server requires a pause (``retry_after``). All requests must wait until it ends."""


class DeniedError(RefusedError):
    """A write was refused: by a quota, a webhook, a policy or a missing right.

    Args:
        message: See :class:`RegcredError`.
        words: The reason from the API server: one printable line without secrets, for the owner of the
            workload.
    """

    kind = "denied"

    def __init__(self, message: str, *, words: str) -> None:
        super().__init__(message)
        self.words = words


class ExpiredError(RegcredError):
    """The API server no longer has the changes since the given resourceVersion (410). List again."""

    kind = "expired"


class TooLargeError(RegcredError):
    """A response has more bytes than the limit."""

    kind = "too-large"


class SilentError(RegcredError):
    """A watch has sent nothing, not even a bookmark, for longer than is allowed. Connect again."""

    kind = "silent"


@dataclass(frozen=True, slots=True)
class Listing:
    """A complete list of the objects to keep, and the resourceVersion from which to watch."""

    items: Sequence[Item]
    resource_version: str
    requests: int = 1
    """How many pages the list had."""


@dataclass(frozen=True, slots=True)
class Change:
    """One event of a watch.

    Without ``item``, the object was deleted or has no request. Without ``name``, the event is a bookmark.
    """

    resource_version: str
    namespace: str = ""
    name: str = ""
    item: Item | None = None


@dataclass(frozen=True, slots=True)
class MissingSecretEvent:
    """An Event that reports missing pull Secrets of a Pod. Any client may have written it."""

    namespace: str
    note: str
    """The text that contains the names of the Secrets."""


@dataclass(frozen=True, slots=True)
class Message:
    """An Event for the owner of a workload. Equal messages are one Event."""

    about: Workload
    reason: str
    note: str
    warning: bool = True
    again: bool = False
    """Whether to write it even if the same Event exists, because it was not true in between."""

    @property
    def name(self) -> str:
        """The Event's name. It is derived from the content, so the same Event is not written twice."""
        content = f"{self.about.uid}|{self.reason}|{self.note}"
        return f"{self.about.name[:200].rstrip('-.')}.{sha256(content.encode()).hexdigest()[:16]}"


class Cluster(Protocol):
    """One cluster's API.

    All methods raise:
        TransientError: the API server can't be reached, throttles (with ``retry_after``), or responds with a
            5xx status.
        RefusedError: our account may not do this.
    Contract: https://kubernetes.io/docs/reference/using-api/api-concepts/
    """

    async def list(self, kind: Kind) -> Listing:
        """List all objects of a kind by pages, and keep the parts that :class:`ObjectParser` selects.

        Raises:
            MissingError: the kind is not served.
        """

    def watch(self, kind: Kind, resource_version: str, *, labelled: bool) -> AsyncIterator[Change]:
        """Yield the changes since a resourceVersion until the server ends the watch.

        If ``labelled`` is set, the watch gets only metadata of objects that the admission policy has
        labelled.

        Raises:
            ExpiredError: list again.
            SilentError: connect again from the last resourceVersion.
        """

    async def uid(self) -> str:
        """The identity of this cluster: the uid of its namespace kube-system."""

    def missing_secret_events(self) -> AsyncIterator[MissingSecretEvent]:
        """Yield each new Event about missing pull Secrets, until the server ends the watch."""

    async def apply_secret(self, namespace: str, body: SecretBody, *, first: bool) -> None:
        """Write a complete Secret: create it if ``first``, else replace it.

        A wrong ``first`` costs more requests.

        A Secret of ours that somebody made immutable is deleted and created again, unless ``first`` is set.

        Raises:
            NameTakenError: a Secret of this name is not ours; nothing was changed.
            DeniedError: something in the cluster forbids it; nothing was changed.
            MissingError: the namespace does not exist or is being deleted.
        """

    async def delete_secret(self, namespace: str, reference: Reference, *, placed: bool) -> None:
        """Delete our Secret after a dry run has shown that it is ours. A missing Secret is not an error.

        Args:
            namespace: The namespace of the Secret.
            reference: Names the Secret.
            placed: Whether sync has written it, according to the ledger. That is the proof if a dry run gives
                none, as for an immutable Secret.

        Raises:
            NameTakenError: it is not ours; nothing was changed.
            DeniedError: something in the cluster forbids it; nothing was changed.
        """

    async def live_pods(self, namespace: str) -> Sequence[LivePod]:
        """The unfinished Pods of a namespace."""

    async def set_pull_secrets(
        self,
        namespace: str,
        account: str,
        *,
        add: Sequence[str],
        remove: Sequence[str],
        known: PullSecretList | None = None,
    ) -> bool:
        """Change our names in a ServiceAccount's imagePullSecrets. Other entries and their order stay.

        Args:
            namespace: The namespace of the ServiceAccount.
            account: Its name.
            add: Names to add.
            remove: Names to remove.
            known: Its list as it was last seen. If it still has that resourceVersion, it is not read first.

        Returns:
            Whether anything was written.

        Raises:
            MissingError: the ServiceAccount does not exist.
        """

    async def create_event(self, message: Message) -> bool:
        """Write an Event, unless the same Event exists. Return whether it was written."""

    async def event_names(self, reason: str) -> AbstractSet[str]:
        """The names of the Events with a reason, 10,000 at most. Any client may have written them."""

    async def evict(self, namespace: str, pod: str, *, version: str) -> bool:
        """Evict a Pod that has not changed since a resourceVersion.

        Returns:
            Whether it was evicted. Not if it has changed (it may run now), if it does not exist, or if a
            disruption budget forbids the eviction.
        """
