"""Finds the Pods of a workload of any kind, the owners of a Pod, and the source of a pod template."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from regcred.cli.session import UserCluster
from regcred.cluster.model import POD, Kind
from regcred.cluster.object_parser import mapping_at
from regcred.errors import MissingError, RefusedError

Json = Mapping[str, Any]

PAGE = 500
"""The number of Pods per page."""

PAGES_MAX = 8
"""The maximum number of pages. Other Pods are ignored."""

OWNERS_DEPTH = 8
"""The maximum number of owners above an object."""

_JOB_PODS = "job-name"
"""The label that the Job controller puts on its Pods
(https://kubernetes.io/docs/reference/labels-annotations-taints/#job-name)."""

_OPERATORS = {
    "In": "{key} in ({values})",
    "NotIn": "{key} notin ({values})",
    "Exists": "{key}",
    "DoesNotExist": "!{key}",
}


def selector_of(kind: Kind, workload: Json) -> str | None:
    """The label selector of a workload's Pods, in the API's form; None if the workload has none.

    Contract:
    https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#resources-that-support-set-based-requirements
    """
    if kind.group == "batch" and kind.name == "CronJob":
        return _JOB_PODS
    selector = mapping_at(workload, ("spec", "selector"))
    if not selector:
        return None
    labels = mapping_at(selector, ("matchLabels",))
    expressions = selector.get("matchExpressions")
    if labels is None and not isinstance(expressions, list):
        labels = selector  # ReplicationControllers and some custom kinds write the labels directly
    parts = [f"{key}={value}" for key, value in sorted((labels or {}).items())]
    parts += [part for item in expressions or () if (part := _requirement(item))]
    return ",".join(parts) or None


def _requirement(item: Any) -> str:
    if not isinstance(item, Mapping):
        return ""
    form = _OPERATORS.get(str(item.get("operator")), "")
    values = item.get("values")
    return form.format(
        key=item.get("key"), values=",".join(map(str, values if isinstance(values, list) else ()))
    )


@dataclass(slots=True)
class Owners:
    """Reads the controllers of objects, each of them once.

    Args:
        api: The cluster.
        namespace: The namespace of the objects.
        kinds: The kinds that may control a Pod. Other kinds are not read.
    """

    api: UserCluster
    namespace: str
    kinds: Sequence[Kind]
    _read: dict[tuple[str, str], Json | None] = field(default_factory=dict)

    def above(self, obj: Json) -> list[tuple[Kind, Json]]:
        """The controllers of an object, nearest first, up to the first unknown kind."""
        found: list[tuple[Kind, Json]] = []
        while (owner := _controller(obj)) and len(found) < OWNERS_DEPTH:
            # Compare only the group, as sync does. An owner reference may have another version of the kind.
            whose = (str(owner.get("apiVersion", "")).rpartition("/")[0], owner.get("kind"))
            kind = next((kind for kind in self.kinds if (kind.group, kind.name) == whose), None)
            if kind is None:
                break
            obj = self.read(kind, str(owner.get("name"))) or {
                "metadata": {"name": owner.get("name"), "uid": owner.get("uid")}
            }
            found.append((kind, obj))
        return found

    def read(self, kind: Kind, name: str) -> Json | None:
        """An object; None if the user may not read it or it does not exist."""
        path = kind.path(self.namespace, name)
        if (kind.name, path) not in self._read:
            try:
                self._read[kind.name, path] = self.api.get(path)
            except (RefusedError, MissingError):
                self._read[kind.name, path] = None
        return self._read[kind.name, path]

    def referred(self, kind: Kind, obj: Json) -> tuple[Kind, Json] | None:
        """The workload whose pod template an object uses, as an Argo Rollout does with ``spec.workloadRef``.

        Contract: https://argo-rollouts.readthedocs.io/en/stable/migrating/#reference-deployment-from-rollout
        """
        named = mapping_at(obj, ("spec", "workloadRef")) if kind.custom else None
        if not named:
            return None
        whose = (str(named.get("apiVersion", "")).rpartition("/")[0], named.get("kind"))
        other = next(
            (kind for kind in self.kinds if (kind.group, kind.name) == whose and kind.template), None
        )
        found = self.read(other, str(named.get("name"))) if other else None
        return (other, found) if other and found else None


def pods_of(owners: Owners, kind: Kind, workload: Json) -> tuple[list[Json], str]:
    """The Pods of a workload, newest first, and the reason if they can't be found.

    A Pod belongs to the workload if the selector matches it and the workload controls it, also indirectly.
    """
    selector = selector_of(kind, workload)
    if selector is None:
        return [], f"unknown: this {kind.name} has no selector for its Pods; explain a Pod instead"
    try:
        pods = list(_list(owners, selector))
    except (RefusedError, MissingError):
        return [], "unknown: your account may not list Pods here; explain a Pod by its name"
    uid = workload["metadata"].get("uid")
    mine = [pod for pod in pods if _is_controlled_by(owners, pod, uid)]
    return sorted(mine, key=lambda pod: pod["metadata"].get("creationTimestamp") or "", reverse=True), ""


def _list(owners: Owners, selector: str) -> Iterator[Json]:
    query = {"labelSelector": selector, "limit": str(PAGE)}
    for _ in range(PAGES_MAX):
        page = owners.api.get(POD.path(owners.namespace), urlencode(query))
        yield from page.get("items") or ()
        token = (page.get("metadata") or {}).get("continue")
        if not token:
            return
        query["continue"] = token


def _is_controlled_by(owners: Owners, pod: Json, uid: str | None) -> bool:
    above = owners.above(pod)
    if any(obj["metadata"].get("uid") == uid for _, obj in above):
        return True
    top = above[-1][1] if above else pod
    # If the chain ends at an unknown kind, trust the labels alone.
    return _controller(top) is not None


def _controller(obj: Json) -> Json | None:
    owners = obj["metadata"].get("ownerReferences") or ()
    return next((owner for owner in owners if owner.get("controller")), None)
