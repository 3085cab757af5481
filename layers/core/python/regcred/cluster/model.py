"""The few fields that sync keeps of a cluster's objects. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum

from regcred.errors import MalformedError
from regcred.registry_reference import Reference


class Mode(StrEnum):
    """How Pods get the names of their Secrets."""

    ADMISSION = "admission"
    """By the admission policies of infra/kubernetes."""
    SERVICEACCOUNT = "serviceaccount"
    """By the imagePullSecrets of the ServiceAccounts that annotated workloads use."""
    NONE = "none"
    """Regcred only writes the Secrets, and Pods get the names in another way."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object, and the API that serves it.

    ``template`` is the path to its pod template; empty if it has none.
    """

    group: str
    version: str
    plural: str
    name: str
    template: tuple[str, ...] = ()
    custom: bool = False
    """The user configured this kind, so the cluster may not serve it."""

    @property
    def api_version(self) -> str:
        """The ``apiVersion`` of its objects."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "", name: str = "") -> str:
        """The API path of all objects, of those in a namespace, or of one object."""
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
"""The kinds that may have a request. If the controller of an object is one of these, sync ignores the object,
because the controller has the request."""

_CUSTOM = re.compile(
    r"(?P<group>[a-z0-9-]+(?:\.[a-z0-9-]+)+)/(?P<version>v[a-z0-9]+)/(?P<plural>[a-z0-9]+)/(?P<name>[A-Za-z0-9]+)"
    r"(:(?P<template>[A-Za-z0-9]+(\.[A-Za-z0-9]+)*))?"
)


def custom_kind(text: str) -> Kind:
    """Read a workload kind that the user configures.

    Args:
        text: ``<group>/<version>/<plural>/<Kind>[:<path to the pod template>]``, as in
            ``argoproj.io/v1alpha1/rollouts/Rollout``. The default path is ``spec.template``.

    Raises:
        MalformedError: If the text has another form.
    """
    found = _CUSTOM.fullmatch(text)
    if not found:
        raise MalformedError(
            f"workload kind {text[:140]!r} is not of the form <group>/<version>/<plural>/<Kind>[:<template "
            "path>], as in argoproj.io/v1alpha1/rollouts/Rollout:spec.template",
            field="kinds",
        )
    template = tuple((found["template"] or "spec.template").split("."))
    return Kind(found["group"], found["version"], found["plural"], found["name"], template, custom=True)


@dataclass(frozen=True, slots=True)
class Workload:
    """An annotated object and its requests. Annotated Namespaces count as workloads as well."""

    kind: Kind
    namespace: str
    name: str
    uid: str
    references: tuple[Reference, ...]
    malformed: tuple[str, ...] = ()
    """One line for each annotation that can't be read."""
    service_account: str = ""
    """The ServiceAccount of its Pods; empty if only metadata was read."""
    admitted: bool = False
    """Whether the admission policy has processed it."""
    created: str = ""
    """Its creationTimestamp, RFC 3339 in UTC."""
    template_of: tuple[str, str] | None = None
    """Kind and name of the object that has its pod template, as in a Rollout's ``workloadRef``. Both are
    empty if it names none. None if the object itself has a template, or if only metadata was read."""

    def __str__(self) -> str:
        return (
            f"{self.kind.name} {self.name}"
            if self.kind is NAMESPACE
            else f"{self.kind.name} {self.namespace}/{self.name}"
        )


@dataclass(frozen=True, slots=True)
class Namespace:
    """A namespace. A different ``uid`` under the same name is a different namespace."""

    name: str
    uid: str
    mode: Mode | None = None
    """The mode that its label chooses instead of the cluster's."""
    request: Workload | None = None
    """Its own annotations, which apply to every Pod in it."""
    terminating: bool = False

    @property
    def namespace(self) -> str:
        """Always empty: a Namespace is not in a namespace."""
        return ""


@dataclass(frozen=True, slots=True)
class PullSecretList:
    """All names in a ServiceAccount's imagePullSecrets, in order, at one resourceVersion."""

    names: tuple[str, ...]
    version: str


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """The names of our form in a ServiceAccount's imagePullSecrets."""

    namespace: str
    name: str
    ours: tuple[str, ...] = ()
    known: PullSecretList | None = field(default=None, compare=False)
    """The whole list, so that it can be changed without another read; None if it is long or outdated."""


@dataclass(frozen=True, slots=True)
class StuckPod:
    """A Pod of a controller whose image can't be pulled, and of which no container has run.

    Kept only if the option to evict stuck Pods is on.
    """

    namespace: str
    name: str
    service_account: str
    pull_secrets: frozenset[str]
    created: str = ""
    """Its creationTimestamp, RFC 3339 in UTC."""
    version: str = field(default="", compare=False)
    """Its resourceVersion. It changes with each try to pull, so it is not compared."""


@dataclass(frozen=True, slots=True)
class Surplus:
    """The excess workloads of a kind in a namespace. Only their combined requests are kept."""

    kind: Kind
    namespace: str
    references: frozenset[Reference]

    @property
    def name(self) -> str:
        """Always empty, because it represents many objects."""
        return ""


Item = Namespace | Workload | ServiceAccount | StuckPod | Surplus


@dataclass(frozen=True, slots=True)
class LivePod:
    """An unfinished Pod, read before a Secret is removed or a stuck Pod is evicted."""

    name: str
    pull_secrets: frozenset[str]
    service_account: str = "default"
    stuck: bool = False
    """Whether a container waits because its image can't be pulled."""
    controlled: bool = False
    """Whether a controller will create a replacement."""


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """The entry of the ledger for one reference in one namespace."""

    version: int | None = None
    """The credential version in place; 0 before a first write; None if nothing is in place."""
    uid: str = ""
    """The first digits of the namespace's uid."""
    unused_since: str = ""
    """Since when nothing needs it, in RFC 3339."""
    refused: str = ""
    """Why it is not projected (:class:`regcred.sync.messages.Why`)."""
    detail: str = ""
    """The message of the API server or Vault about the last failed write or removal; one printable line."""
    held: str = ""
    """Why it would be removed, if the brake holds the removal; otherwise empty."""


UID_DIGITS = 8
"""How many digits of a namespace's uid the ledger keeps. They distinguish a namespace from a later one with
the same name."""
