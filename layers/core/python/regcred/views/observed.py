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
    """The subject: a Pod, or the template of a workload without Pods."""

    kind: str
    namespace: str
    name: str
    images: tuple[Image, ...]
    named: frozenset[str]
    """The names in its imagePullSecrets."""
    controller: tuple[str, str] | None = None
    """Kind and name of the topmost workload, if it is another object."""
    events: tuple[ReportedEvent, ...] = ()
    """Sync's Events about it, newest last."""
    naming: Naming = Naming()
    pods: str = ""
    """Why no Pod is shown, if the reason is not that there is none."""

    @property
    def is_pod(self) -> bool:
        """Whether it is a Pod, so that its imagePullSecrets and the kubelet's message count."""
        return self.kind == "Pod"


@dataclass(frozen=True, slots=True)
class ReferenceFacts:
    """The facts about one reference in the subject's namespace."""

    entry: IndexEntry | None = None
    typed_hosts: Sequence[str] = ()
    """The hosts in its definition, if there is no index entry yet."""
    defined: Fact = Fact.UNKNOWN
    granted: Fact = Fact.UNKNOWN
    present: Fact = Fact.UNKNOWN
    """Whether the Secret is in the namespace, according to the cluster or sync's ledger."""
    version: int | None = None
    """The version in the Secret."""
    ledger: int | None = None
    """The version that sync reports as placed. The Secret may have changed since."""
    expires_at: datetime | None = None
    """From the Secret's annotation, if the index can't be read."""
    refused: str = ""
    """Why sync does not project it."""
    detail: str = ""
    """The API server's message when the last write or removal was denied."""
    held: str = ""
    """Why sync would remove the Secret, if the brake holds the removal."""
    no_room: str = ""
    """Why it is not rotated, if its project is full."""
    sync_seen: datetime | None = None
    """When sync last wrote its status for the project."""


@dataclass(frozen=True, slots=True)
class World:
    """All observations except the subject."""

    cluster: str
    """The cluster's name in Regcred; empty if unknown."""
    requested: Mapping[Reference, str]
    """The references of the subject, and for each the annotation and its object."""
    malformed: tuple[str, ...]
    known: Mapping[Reference, ReferenceFacts]
    others: Mapping[Reference, IndexEntry] = field(default_factory=dict)
    """References that it could add."""
    public: Mapping[Reference, Sequence[str]] = field(default_factory=dict)
    """Registries that need no credential, with their hosts."""
