"""What was observed of a Pod or a workload, its cluster and Vault, before anything is concluded. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from regcred.reference import Reference
from regcred.vault.records.index import IndexEntry


@dataclass(frozen=True, slots=True)
class Image:
    """One container's image, and what the kubelet last said of it."""

    container: str
    name: str
    pulled: bool = False
    reason: str = ""
    """Why the container waits (``ErrImagePull``)."""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Said:
    """An Event that sync wrote on one of the objects."""

    reason: str
    message: str
    at: datetime | None = None
    """When it was last seen."""
    count: int = 1


class Held(StrEnum):
    """Whether something is so."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Naming:
    """How the Pod could get the names of its Secrets."""

    mode: str = ""
    """``admission``, ``serviceaccount`` or ``none``; empty if it is not known."""
    own_list: Held = Held.UNKNOWN
    """Whether the pod template has an imagePullSecrets list of its own; Kubernetes then leaves out the ServiceAccount's."""
    account: str = "default"
    """The ServiceAccount."""
    account_names: frozenset[str] | None = None
    """The names in the ServiceAccount's imagePullSecrets; None if they could not be read."""
    marked: frozenset[Reference] = frozenset()
    """What the Pod itself asks for by its annotations, those that it inherited at admission included."""
    admitted: frozenset[Reference] = frozenset()
    """What the admission policies have recorded on the workload above it."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is explained: a Pod, or the template of a workload that has none."""

    kind: str
    namespace: str
    name: str
    images: tuple[Image, ...]
    named: frozenset[str]
    """The names in its imagePullSecrets."""
    controller: tuple[str, str] | None = None
    """Kind and name of the workload at the top, if it is another."""
    told: tuple[Said, ...] = ()
    """What sync said of it by Events, newest last."""
    naming: Naming = Naming()
    pods: str = ""
    """Why no Pod is shown, where that is something else than that there is none."""

    @property
    def is_pod(self) -> bool:
        """Whether it is a Pod, so that its imagePullSecrets and the kubelet's words count."""
        return self.kind == "Pod"


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one reference in the subject's namespace."""

    entry: IndexEntry | None = None
    typed_hosts: Sequence[str] = ()
    """The hosts that its definition names, where there is no entry yet."""
    defined: Held = Held.UNKNOWN
    granted: Held = Held.UNKNOWN
    present: Held = Held.UNKNOWN
    """Whether the Secret is in the namespace, as the cluster or the ledger of sync says."""
    version: int | None = None
    """The version that it holds."""
    ledger: int | None = None
    """The version that sync says it has placed, whatever is there."""
    expires_at: datetime | None = None
    """From the Secret's annotation, where the index can't be read."""
    refused: str = ""
    """Why sync does not project it."""
    detail: str = ""
    """What the cluster's API server said when it denied the last write or removal."""
    held: str = ""
    """Why sync would remove the Secret, where the brake holds that back."""
    sync_seen: datetime | None = None
    """When sync last wrote its status for the project."""


@dataclass(frozen=True, slots=True)
class World:
    """All that was observed beside the subject."""

    cluster: str
    """The cluster's name in Regcred, empty if it is not known."""
    asked: Mapping[Reference, str]
    """What the subject asks for, and by which annotation on what."""
    malformed: tuple[str, ...]
    known: Mapping[Reference, Known]
    others: Mapping[Reference, IndexEntry] = field(default_factory=dict)
    """Registries that it could ask for."""
    public: Mapping[Reference, Sequence[str]] = field(default_factory=dict)
    """Registries that need no credential, with their hosts."""
