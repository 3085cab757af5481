"""What ``regcred explain`` looks at: the cluster with the user's kubeconfig, Vault with the user's token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from regcred.cli.knowledge import VaultView
from regcred.cli.session import Cluster, Session
from regcred.cluster.annotations import (
    REPORTER,
    REQUEST_PREFIX,
    SECRET_EXPIRES,
    SECRET_VERSION,
    asked,
    reference_of,
)
from regcred.cluster.model import POD, WORKLOADS, Kind
from regcred.cluster.reduce import mapping_at
from regcred.errors import MissingError, RefusedError
from regcred.reference import Reference
from regcred.views.explanation import Held, Image, Known, Subject, World

Json = Mapping[str, Any]

METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
"""Asks for a Secret's metadata: its content is never sent."""


@dataclass(frozen=True, slots=True)
class Source:
    """An object that may carry annotations for the subject."""

    what: str
    annotations: Mapping[str, str]


def look(
    api: Cluster, kind: Kind, namespace: str, name: str, kinds: Sequence[Kind] = WORKLOADS
) -> tuple[Subject, list[Source]]:
    """The Pod to explain (the one of the workload that fares worst), and where its annotations may be.

    Args:
        api: The cluster.
        kind: The kind of what is asked about.
        namespace: Where it is.
        name: Its name.
        kinds: The kinds of workloads that may be above a Pod.

    Raises:
        MissingError: there is no such object.
    """
    try:
        found = api.get(kind.path(namespace, name))
    except MissingError:
        raise MissingError(f"there is no {kind.name} {name} in namespace {namespace}") from None
    chain: list[tuple[Kind, Json]] = [(kind, found)]
    if kind is not POD and (pod := _worst_pod(api, found, namespace)):
        chain = [(POD, pod), *_owners(api, pod, namespace, kinds)]
    elif kind is POD:
        chain += _owners(api, found, namespace, kinds)
    sources = [source for kind, obj in chain for source in _sources(kind, obj)]
    with suppress(RefusedError, MissingError):
        space = api.get(f"/api/v1/namespaces/{namespace}")
        sources.append(Source(f"Namespace {namespace}", space["metadata"].get("annotations") or {}))
    return _subject(chain, namespace, _told(api, chain, namespace)), sources


def _owners(api: Cluster, obj: Json, namespace: str, kinds: Sequence[Kind]) -> list[tuple[Kind, Json]]:
    """The controllers above an object, nearest first, as far as they can be read."""
    owner = next((ref for ref in obj["metadata"].get("ownerReferences") or () if ref.get("controller")), None)
    if owner is None:
        return []
    # By group alone, as sync does: the controller of a custom kind may have written another version of it.
    whose = (owner["apiVersion"].rpartition("/")[0], owner["kind"])
    kind = next((kind for kind in kinds if (kind.group, kind.name) == whose), None)
    if kind is None:
        return []
    try:
        above = api.get(kind.path(namespace, owner["name"]))
    except (RefusedError, MissingError):
        return [(kind, {"metadata": {"name": owner["name"]}})]
    return [(kind, above), *_owners(api, above, namespace, kinds)]


def _worst_pod(api: Cluster, workload: Json, namespace: str) -> Json | None:
    labels = ((workload.get("spec") or {}).get("selector") or {}).get("matchLabels")
    if not labels:
        return None
    selector = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
    pods = (
        api.get(POD.path(namespace), urlencode({"labelSelector": selector, "limit": 500})).get("items") or []
    )
    newest = sorted(pods, key=lambda pod: pod["metadata"].get("creationTimestamp") or "", reverse=True)
    return next(
        (pod for pod in newest if any(image.reason for image in _images(pod))), newest[0] if newest else None
    )


def _sources(kind: Kind, obj: Json) -> list[Source]:
    name = obj["metadata"]["name"]
    found = [Source(f"{kind.name} {name}", obj["metadata"].get("annotations") or {})]
    if kind.template and (template := mapping_at(obj, kind.template)):
        annotations = mapping_at(template, ("metadata", "annotations")) or {}
        found.append(Source(f"the pod template of {kind.name} {name}", annotations))
    return found


def _subject(chain: Sequence[tuple[Kind, Json]], namespace: str, told: Sequence[str]) -> Subject:
    kind, obj = chain[0]
    spec = mapping_at(obj, (*kind.template, "spec")) or {}
    top = chain[-1] if len(chain) > 1 else None
    return Subject(
        kind=kind.name,
        namespace=namespace,
        name=obj["metadata"]["name"],
        images=tuple(_images({"spec": spec, "status": obj.get("status") if kind is POD else {}})),
        named=frozenset(entry["name"] for entry in spec.get("imagePullSecrets") or () if entry.get("name")),
        controller=(top[0].name, top[1]["metadata"]["name"]) if top else None,
        told=tuple(told),
    )


def _images(pod: Json) -> list[Image]:
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    statuses = {
        entry["name"]: entry
        for group in ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
        for entry in status.get(group) or ()
    }
    return [
        _image(container, statuses.get(container.get("name")) or {})
        for group in ("initContainers", "containers", "ephemeralContainers")
        for container in spec.get(group) or ()
    ]


def _image(container: Json, status: Json) -> Image:
    waiting = (status.get("state") or {}).get("waiting") or {}
    return Image(
        container=container.get("name") or "without a name",  # as Knative allows in its pod template
        name=container.get("image") or "",
        pulled=bool(status.get("imageID")),
        reason=str(waiting.get("reason") or ""),
        message=str(waiting.get("message") or ""),
    )


def _told(api: Cluster, chain: Sequence[tuple[Kind, Json]], namespace: str) -> list[str]:
    """What sync said by Events of the objects, newest last, each once."""
    uids = {obj["metadata"]["uid"] for _, obj in chain if obj["metadata"].get("uid")}
    query = urlencode({"fieldSelector": f"reportingComponent={REPORTER}", "limit": 500})
    try:
        events = api.get(f"/api/v1/namespaces/{namespace}/events", query).get("items") or []
    except (RefusedError, MissingError):
        return []
    ours = [event for event in events if (event.get("involvedObject") or {}).get("uid") in uids]
    return list(dict.fromkeys(f"{event.get('reason')}: {event.get('message')}" for event in ours))


def world_of(
    session: Session, api: Cluster, subject: Subject, sources: Sequence[Source], cluster: str | None
) -> World:
    """All that can be known of the references of a subject, and of those it could have."""
    wanted = _asked(sources)
    malformed = asked(*(source.annotations for source in sources)).malformed
    named = {reference for name in subject.named if (reference := reference_of(name))}
    vault = VaultView(session, subject.namespace, cluster)
    known = {
        reference: _with_secret(api, subject.namespace, reference, vault.known(reference))
        for reference in [*wanted, *sorted(named - set(wanted))]
    }
    return World(vault.cluster or "", wanted, malformed, known, vault.others(), vault.public())


def _asked(sources: Sequence[Source]) -> dict[Reference, str]:
    found: dict[Reference, str] = {}
    for source in sources:
        for key, value in sorted(source.annotations.items()):
            for reference in asked({key: value}).references:
                if reference not in found or key.startswith(REQUEST_PREFIX):
                    found.setdefault(reference, f"annotation {key} on {source.what}")
    return found


def _with_secret(api: Cluster, namespace: str, reference: Reference, known: Known) -> Known:
    """Look at the Secret's metadata itself, where the user may; else what sync reported counts."""
    try:
        secret = api.get(
            f"/api/v1/namespaces/{namespace}/secrets/{reference.secret_name}", accept=METADATA_ONLY
        )
    except MissingError:
        return replace(known, present=Held.NO, version=None)
    except RefusedError:
        return known
    annotations = secret["metadata"].get("annotations") or {}
    version = annotations.get(SECRET_VERSION, "")
    return replace(
        known,
        present=Held.YES,
        version=int(version) if version.isdecimal() else known.version,
        expires_at=_time(annotations.get(SECRET_EXPIRES, "")),
    )


def _time(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else None
