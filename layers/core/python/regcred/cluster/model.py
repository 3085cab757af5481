"""What sync keeps of a cluster's objects: a few fields each, no objects. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from regcred.errors import MalformedError
from regcred.reference import Reference


class Mode(StrEnum):
    """How Pods get the names of their Secrets."""

    ADMISSION = "admission"
    """By the admission policies of infra/kubernetes."""
    SERVICEACCOUNT = "serviceaccount"
    """By the imagePullSecrets of the ServiceAccounts that annotated workloads use."""
    NONE = "none"
    """Not by Regcred: only the Secrets are made."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object and where it is served. ``template`` is the path to its pod template, empty if it has none."""

    group: str
    version: str
    plural: str
    name: str
    template: tuple[str, ...] = ()
    custom: bool = False
    """Configured by the user, so that it may not be served."""

    @property
    def api_version(self) -> str:
        """The ``apiVersion`` of its objects."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "", name: str = "") -> str:
        """The API path of all objects, those of a namespace, or one."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        scope = f"/namespaces/{namespace}" if namespace else ""
        return f"{root}{scope}/{self.plural}" + (f"/{name}" if name else "")

    def __str__(self) -> str:
        return self.name


_TEMPLATE = ("spec", "template")
NAMESPACE = Kind("", "v1", "namespaces", "Namespace")
SERVICE_ACCOUNT = Kind("", "v1", "serviceaccounts", "ServiceAccount")
POD = Kind("", "v1", "pods", "Pod")
JOB = Kind("batch", "v1", "jobs", "Job", _TEMPLATE)
WORKLOADS = (
    Kind("apps", "v1", "deployments", "Deployment", _TEMPLATE),
    Kind("apps", "v1", "statefulsets", "StatefulSet", _TEMPLATE),
    Kind("apps", "v1", "daemonsets", "DaemonSet", _TEMPLATE),
    Kind("apps", "v1", "replicasets", "ReplicaSet", _TEMPLATE),
    JOB,
    Kind("batch", "v1", "cronjobs", "CronJob", ("spec", "jobTemplate", "spec", "template")),
    POD,
)
"""The kinds that may carry a request. An object whose controller is itself one of these is left out: its owner asks."""

_CUSTOM = re.compile(
    r"(?P<group>[a-z0-9-]+(?:\.[a-z0-9-]+)+)/(?P<version>v[a-z0-9]+)/(?P<plural>[a-z0-9]+)/(?P<name>[A-Za-z0-9]+)"
    r"(:(?P<template>[A-Za-z0-9]+(\.[A-Za-z0-9]+)*))?"
)


def custom_kind(text: str) -> Kind:
    """Read a workload kind that the user adds.

    Args:
        text: ``<group>/<version>/<plural>/<Kind>[:<path to the pod template>]``, as in
            ``argoproj.io/v1alpha1/rollouts/Rollout``; the path is ``spec.template`` unless given.

    Raises:
        MalformedError: If it has another form.
    """
    found = _CUSTOM.fullmatch(text)
    if not found:
        raise MalformedError(
            f"workload kind {text[:140]!r} is not of the form <group>/<version>/<plural>/<Kind>[:<template path>], "
            "as in argoproj.io/v1alpha1/rollouts/Rollout:spec.template",
            field="kinds",
        )
    template = tuple((found["template"] or "spec.template").split("."))
    return Kind(found["group"], found["version"], found["plural"], found["name"], template, custom=True)


@dataclass(frozen=True, slots=True)
class Workload:
    """An annotated object: who asks, for what. Namespaces that are annotated count as one as well."""

    kind: Kind
    namespace: str
    name: str
    uid: str
    references: tuple[Reference, ...]
    malformed: tuple[str, ...] = ()
    """One line for each annotation that can't be read."""
    service_account: str = ""
    """What its Pods run as; empty where only metadata was seen."""
    admitted: bool = False
    """Whether the admission policy has seen it."""
    created: str = ""
    """Its creationTimestamp, RFC 3339 in UTC."""
    template_of: tuple[str, str] | None = None
    """Kind and name of the object that holds its pod template, as a Rollout's ``workloadRef`` says; both empty if it says
    nothing. None if the object has one itself, or if only metadata was seen."""

    def __str__(self) -> str:
        return (
            f"{self.kind.name} {self.name}"
            if self.kind is NAMESPACE
            else f"{self.kind.name} {self.namespace}/{self.name}"
        )


@dataclass(frozen=True, slots=True)
class Namespace:
    """A namespace; another ``uid`` under the same name is another namespace."""

    name: str
    uid: str
    mode: Mode | None = None
    """What its label chooses instead of the cluster's mode."""
    request: Workload | None = None
    """Its own annotations, which count for every Pod in it."""
    terminating: bool = False

    @property
    def namespace(self) -> str:
        """None: it is not in one."""
        return ""


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """The names of our form in the imagePullSecrets of a ServiceAccount."""

    namespace: str
    name: str
    ours: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StuckPod:
    """A Pod that a controller made and whose image can't be pulled; kept only where stuck Pods are evicted."""

    namespace: str
    name: str
    service_account: str
    pull_secrets: frozenset[str]
    created: str = ""
    """Its creationTimestamp, RFC 3339 in UTC."""


@dataclass(frozen=True, slots=True)
class Surplus:
    """The workloads of a kind that a namespace has too many of: only what they ask for together is kept."""

    kind: Kind
    namespace: str
    references: frozenset[Reference]

    @property
    def name(self) -> str:
        """None: it stands for many."""
        return ""


Item = Namespace | Workload | ServiceAccount | StuckPod | Surplus


@dataclass(frozen=True, slots=True)
class LivePod:
    """An unfinished Pod, looked at before a Secret is removed or a stuck Pod is evicted."""

    name: str
    pull_secrets: frozenset[str]
    service_account: str = "default"
    stuck: bool = False
    """A container waits because its image can't be pulled."""
    controlled: bool = False
    """A controller will make another one."""


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """What the ledger knows of one reference in one namespace."""

    version: int | None = None
    """The credential version in place; 0 if one was about to be written; None if nothing is in place."""
    uid: str = ""
    """The first digits of the namespace's uid."""
    unused_since: str = ""
    """RFC 3339; since when nothing needs it."""
    refused: str = ""
    """Why it is not projected (:class:`regcred.sync.messages.Why`)."""
    detail: str = ""
    """What the API server said when the last write or removal was denied; one printable line."""
    held: str = ""
    """Why it would be removed if the brake did not hold the removal."""


UID_DIGITS = 8
"""How much of a namespace's uid the ledger keeps; enough to tell a namespace from its successor."""
