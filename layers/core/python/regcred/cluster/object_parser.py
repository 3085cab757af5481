"""Converts the API's JSON to the few fields that sync keeps. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from regcred.cluster.annotations import ANNOTATED, MIRROR_POD, MODE, reference_of, requested
from regcred.cluster.model import (
    NAMESPACE,
    POD,
    SERVICE_ACCOUNT,
    Item,
    Kind,
    LivePod,
    Mode,
    Namespace,
    PullSecretList,
    ServiceAccount,
    StuckPod,
    Workload,
)
from regcred.cluster.pruning import LISTED_MAX, STUCK

Json = Mapping[str, Any]

UNFINISHED = "status.phase!=Succeeded,status.phase!=Failed"
"""Field selector of Pods that may still pull an image."""


WORKLOAD_REF = "workloadRef"
"""The field in which a custom workload names the object that has its pod template."""


class ObjectParser:
    """Turns objects into items.

    Args:
        kinds: All kinds whose annotated objects count as workloads. Objects that a controller of these kinds
            created are ignored, because sync reads the controller itself.
        stuck_pods: Also keep Pods whose images can't be pulled. Pods must then be read completely.
    """

    def __init__(self, kinds: Iterable[Kind], *, stuck_pods: bool = False) -> None:
        self._stuck_pods = stuck_pods
        self._controllers = {(kind.group, kind.name) for kind in kinds}

    def item(self, kind: Kind, obj: Json) -> Item | None:
        """What to keep of an object; None if it has no request."""
        if kind is NAMESPACE:
            return namespace(obj)
        if kind is SERVICE_ACCOUNT:
            return service_account(obj)
        if kind is POD and self._stuck_pods and (stuck := stuck_pod(obj)):
            return stuck
        return self.workload(kind, obj)

    def workload(self, kind: Kind, obj: Json) -> Workload | None:
        """What to keep of a workload, from the object or only from its metadata."""
        metadata = obj["metadata"]
        own = metadata.get("annotations")
        template = mapping_at(obj, kind.template) if kind.template else None
        found = requested(own, mapping_at(template or {}, ("metadata", "annotations")))
        if not found.references and not found.malformed:
            return None
        if (own and MIRROR_POD in own) or self._is_controlled(metadata):
            return None
        if "namespace" not in metadata:
            return None  # a custom kind that is cluster-scoped, so a Secret would have no namespace
        pod_spec = mapping_at(obj if kind is POD else template or {}, ("spec",))
        return Workload(
            kind=kind,
            namespace=metadata["namespace"],
            name=metadata["name"],
            uid=metadata["uid"],
            references=found.references,
            malformed=found.malformed,
            service_account="" if pod_spec is None else _service_account_name(pod_spec),
            admitted=(metadata.get("labels") or {}).get(ANNOTATED) == "true",
            created=metadata.get("creationTimestamp") or "",
            template_of=_template_of(obj, kind) if kind.custom and template is None else None,
        )

    def _is_controlled(self, metadata: Json) -> bool:
        return any(
            owner.get("controller")
            and (owner["apiVersion"].rpartition("/")[0], owner["kind"]) in self._controllers
            for owner in metadata.get("ownerReferences") or ()
        )


def _template_of(obj: Json, kind: Kind) -> tuple[str, str] | None:
    """The object from which a custom workload takes its pod template; None if only metadata was read.

    Contract: https://argo-rollouts.readthedocs.io/en/stable/features/specification/ (``workloadRef``)
    """
    spec = mapping_at(obj, kind.template[:1])
    if spec is None:
        return None
    named = mapping_at(spec, (WORKLOAD_REF,)) or {}
    return str(named.get("kind") or ""), str(named.get("name") or "")


def namespace(obj: Json) -> Namespace:
    """What to keep of a Namespace."""
    metadata = obj["metadata"]
    name = metadata["name"]
    found = requested(metadata.get("annotations"))
    label = (metadata.get("labels") or {}).get(MODE)
    malformed = found.malformed if _mode(label) or not label else (*found.malformed, _wrong_mode(label))
    request = None
    if found.references or malformed:
        created = metadata.get("creationTimestamp") or ""
        uid = metadata["uid"]
        request = Workload(
            NAMESPACE, name, name, uid, found.references, malformed, "", admitted=True, created=created
        )
    return Namespace(
        name=name,
        uid=metadata["uid"],
        mode=_mode(label),
        request=request,
        terminating=bool(metadata.get("deletionTimestamp")),
    )


def service_account(obj: Json) -> ServiceAccount:
    """What to keep of a ServiceAccount: names of the form of our Secrets, and a short list as a whole."""
    metadata = obj["metadata"]
    entries = obj.get("imagePullSecrets") or ()
    names, version = tuple(pull_secrets(obj)), metadata.get("resourceVersion")
    # An entry without a name could not be written back.
    is_whole = version and len(names) == len(entries) <= LISTED_MAX
    return ServiceAccount(
        metadata["namespace"],
        metadata["name"],
        tuple(name for name in names if reference_of(name)),
        PullSecretList(names, version) if is_whole else None,
    )


def pull_secrets(obj: Json) -> list[str]:
    """The names in a list ``imagePullSecrets``, in order."""
    return [entry["name"] for entry in obj.get("imagePullSecrets") or () if entry.get("name")]


def live_pod(obj: Json) -> LivePod:
    """What to keep of an unfinished Pod."""
    spec = obj.get("spec") or {}
    status = obj.get("status") or {}
    containers = [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]
    states = [container.get(part) or {} for container in containers for part in ("state", "lastState")]
    waiting = {(state.get("waiting") or {}).get("reason") for state in states}
    has_run = any("running" in state or "terminated" in state for state in states)
    return LivePod(
        name=obj["metadata"]["name"],
        pull_secrets=frozenset(pull_secrets(spec)),
        service_account=_service_account_name(spec),
        stuck=bool(waiting & STUCK) and not has_run,
        controlled=any(owner.get("controller") for owner in obj["metadata"].get("ownerReferences") or ()),
    )


def stuck_pod(obj: Json) -> StuckPod | None:
    """What to keep of a stuck Pod that its controller would replace; None for other Pods."""
    pod = live_pod(obj)
    if not (pod.stuck and pod.controlled) or obj["metadata"].get("deletionTimestamp"):
        return None
    return StuckPod(
        obj["metadata"]["namespace"],
        pod.name,
        pod.service_account,
        pod.pull_secrets,
        obj["metadata"].get("creationTimestamp") or "",
        obj["metadata"].get("resourceVersion") or "",
    )


def _service_account_name(spec: Json) -> str:
    return str(spec.get("serviceAccountName") or spec.get("serviceAccount") or "default")


def mapping_at(obj: Json, path: tuple[str, ...]) -> Json | None:
    """The mapping at a path; None if there is none. A custom object may have any shape."""
    found: Any = obj
    for part in path:
        found = found.get(part) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else None


def _mode(text: str | None) -> Mode | None:
    return Mode(text) if text in set(Mode) else None


def _wrong_mode(text: str) -> str:
    return f"label {MODE}: {text!r} is none of {', '.join(sorted(Mode))}; the cluster's mode is used"
