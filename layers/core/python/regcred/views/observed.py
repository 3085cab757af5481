"""Observations of a Pod or a workload, its cluster and Vault, without conclusions. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from regcred.registry_reference import Reference
from regcred.vault.records.index import IndexEntry


@dataclass(frozen=True, slots=True)
class Image:
    """One container's image, and the kubelet's last message about it."""

    container: str
    name: str
    pulled: bool = False
    reason: str = ""
    """Why the container waits (``ErrImagePull``)."""
    message: str = ""


@dataclass(frozen=True, slots=True)
class ReportedEvent:
    """An Event of sync about one of the objects."""

    reason: str
    message: str
    at: datetime | None = None
    """When it was last seen."""
    count: int = 1


class Fact(StrEnum):
    """A condition that is true, false or unknown."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Naming:
    """How the Pod could get the names of its Secrets."""

    mode: str = ""
    """``admission``, ``serviceaccount`` or ``none``; empty if unknown."""
    own_list: Fact = Fact.UNKNOWN
    """Whether the pod template has its own imagePullSecrets. Kubernetes then ignores the ServiceAccount's."""
    account: str = "default"
    """The ServiceAccount."""
    account_names: frozenset[str] | None = None
    """The names in the ServiceAccount's imagePullSecrets; None if they can't be read."""
    marked: frozenset[Reference] = frozenset()
    """The references in the Pod's own annotations, including those inherited at admission."""
    admitted: frozenset[Reference] = frozenset()
    """The references that the admission policies have recorded on its workload."""


@dataclass(frozen=True, slots=True)
class Subject:
    """The object to explain: a Pod, or a workload without Pods and its pod template."""

    kind: str
    namespace: str
    name: str
    images: tuple[Image, ...]
    named: frozenset[str]
    """The names in its imagePullSecrets."""
    controller: tuple[str, str] | None = None
    """The kind and name of the topmost workload, if that is another object."""
    events: tuple[ReportedEvent, ...] = ()
    """Sync's Events about it, newest last."""
    naming: Naming = Naming()
    pods: str = ""
    """Why no Pod is shown, if Pods may exist."""

    @property
    def is_pod(self) -> bool:
        """Whether it is a Pod. Only a Pod has final imagePullSecrets and messages of the kubelet."""
        return self.kind == "Pod"


@dataclass(frozen=True, slots=True)
class ReferenceFacts:
    """The facts about one reference in the subject's namespace."""

    entry: IndexEntry | None = None
    typed_hosts: Sequence[str] = ()
    """The hosts in the registry's definition, used if there is no index entry yet."""
    defined: Fact = Fact.UNKNOWN
    granted: Fact = Fact.UNKNOWN
    present: Fact = Fact.UNKNOWN
    """Whether the Secret is in the namespace, according to the cluster or sync's ledger."""
    version: int | None = None
    """The version in the Secret."""
    ledger: int | None = None
    """The version that sync's ledger contains. The Secret may have changed since then."""
    expires_at: datetime | None = None
    """From the Secret's annotation, if the index can't be read."""
    refused: str = ""
    """Why sync does not project it."""
    detail: str = ""
    """The API server's message when the last write or removal was denied."""
    held: str = ""
    """Why sync would remove the Secret, if the brake holds the removal."""
    no_room: str = ""
    """Why the registry is not rotated, if its project has too many registries."""
    sync_seen: datetime | None = None
    """When sync last wrote its status for the project."""


@dataclass(frozen=True, slots=True)
class World:
    """All observations except those of the subject."""

    cluster: str
    """The cluster's name in Regcred; empty if unknown."""
    requested: Mapping[Reference, str]
    """The references that the subject's annotations request. The values name annotation and object."""
    malformed: tuple[str, ...]
    known: Mapping[Reference, ReferenceFacts]
    others: Mapping[Reference, IndexEntry] = field(default_factory=dict)
    """Other references that the subject could request."""
    public: Mapping[Reference, Sequence[str]] = field(default_factory=dict)
    """Registries that need no credential, with their hosts."""
