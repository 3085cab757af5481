"""What sync needs of a cluster's API, so that the real one and a fake can stand in for each other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from regcred.cluster.dockerconfig import SecretBody
from regcred.cluster.model import Item, Kind, LivePod, Workload
from regcred.errors import ConflictError, MissingError, RefusedError, RegcredError, TransientError
from regcred.reference import Reference


class NameTakenError(ConflictError):
    """A Secret of our name exists that is not ours."""


class AlreadyExistsError(ConflictError):
    """An object of this name exists (409 with the reason ``AlreadyExists``, one of several causes of a 409)."""


class TerminatingError(MissingError):
    """The namespace is being deleted: nothing can be created in it."""


class ThrottledError(TransientError):
    """The API server as a whole asks for a pause (``retry_after``): the next request of any kind must wait for its end."""


class DeniedError(RefusedError):
    """A write did not happen: a quota, a webhook, a policy or a missing right forbids it.

    Args:
        message: See :class:`RegcredError`.
        words: The reason as the API server gives it: one printable line without secrets, for the owner of the workload.
    """

    kind = "denied"

    def __init__(self, message: str, *, words: str) -> None:
        super().__init__(message)
        self.words = words


class ExpiredError(RegcredError):
    """The API server no longer has the changes since the resourceVersion that was named (410): list again."""

    kind = "expired"


class TooLargeError(RegcredError):
    """An answer has more bytes than are read."""

    kind = "too-large"


class SilentError(RegcredError):
    """A watch has sent nothing, not even a bookmark, for longer than it may: connect again."""

    kind = "silent"


@dataclass(frozen=True, slots=True)
class Listing:
    """A complete list of what asks for something, and from where to watch on."""

    items: Sequence[Item]
    resource_version: str
    requests: int = 1
    """How many pages it took."""


@dataclass(frozen=True, slots=True)
class Change:
    """One message of a watch. Without ``item``: the object is gone or asks for nothing; without ``name``: a bookmark."""

    resource_version: str
    namespace: str = ""
    name: str = ""
    item: Item | None = None


@dataclass(frozen=True, slots=True)
class Miss:
    """An Event says that a Pod names pull Secrets which are not there. Anybody may have written it."""

    namespace: str
    note: str
    """The names are in it."""


@dataclass(frozen=True, slots=True)
class Message:
    """An Event for the owner of a workload; equal messages are one Event."""

    about: Workload
    reason: str
    note: str
    warning: bool = True


class Cluster(Protocol):
    """One cluster's API.

    All methods raise:
        TransientError: the API server can't be reached, throttles (with ``retry_after``), or answers 5xx.
        RefusedError: our account may not do this.
    Contract: https://kubernetes.io/docs/reference/using-api/api-concepts/
    """

    async def list(self, kind: Kind) -> Listing:
        """List all objects of a kind by pages, and keep of each what :class:`Reducer` keeps.

        Raises:
            MissingError: the kind is not served.
        """

    def watch(self, kind: Kind, resource_version: str, *, labelled: bool) -> AsyncIterator[Change]:
        """Yield the changes since a resourceVersion until the server ends the watch.

        ``labelled`` asks for metadata alone, and only of objects that the admission policy has labelled.

        Raises:
            ExpiredError: list again.
            SilentError: connect again from the last resourceVersion.
        """

    async def uid(self) -> str:
        """What tells this cluster from all others: the uid of its namespace kube-system."""

    def misses(self) -> AsyncIterator[Miss]:
        """Yield each Event about missing pull Secrets from now on, until the server ends the watch."""

    async def apply_secret(self, namespace: str, body: SecretBody, *, first: bool) -> None:
        """Put a Secret in place whole: created if ``first``, else replaced; one request unless that guess was wrong.

        A Secret of ours that somebody made immutable is deleted and created again, if not ``first``.

        Raises:
            NameTakenError: a Secret of this name is not ours; nothing was changed.
            DeniedError: something in the cluster forbids it; nothing was changed.
            MissingError: the namespace is gone or going.
        """

    async def delete_secret(self, namespace: str, reference: Reference, *, placed: bool) -> None:
        """Delete our Secret, after a dry run has shown that it is ours. No error if there is none.

        Args:
            namespace: Where it is.
            reference: Names it.
            placed: Whether the ledger says that we put it there. That is the proof where a dry run can't tell,
                as for an immutable Secret.

        Raises:
            NameTakenError: it is not ours; nothing was changed.
            DeniedError: something in the cluster forbids it; nothing was changed.
        """

    async def live_pods(self, namespace: str) -> Sequence[LivePod]:
        """The unfinished Pods of a namespace."""

    async def set_pull_secrets(
        self, namespace: str, account: str, *, add: Sequence[str], remove: Sequence[str]
    ) -> bool:
        """Change our names in a ServiceAccount's imagePullSecrets; others' entries and their order stay.

        Returns:
            Whether anything was written.

        Raises:
            MissingError: there is no such ServiceAccount.
        """

    async def tell(self, message: Message) -> None:
        """Write an Event; nothing happens if the same one is there already."""

    async def evict(self, namespace: str, pod: str) -> bool:
        """Evict a Pod; False if a disruption budget forbids it now or the Pod is gone."""
