"""Reads the facts for ``regcred explain``: from the cluster, and with :mod:`.vault_facts` from Vault."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from regcred.cli.explain.vault_facts import VaultView
from regcred.cli.explain.workload_pods import Owners, pods_of
from regcred.cli.session import CliSession, UserCluster
from regcred.cluster.annotations import (
    INHERITED,
    MODE,
    REFERENCES,
    REPORTER,
    REQUEST_PREFIX,
    SECRET_EXPIRES,
    SECRET_VERSION,
    reference_of,
    requested,
)
from regcred.cluster.model import POD, SERVICE_ACCOUNT, WORKLOADS, Kind, Mode
from regcred.cluster.object_parser import mapping_at
from regcred.errors import MissingError, RefusedError
from regcred.registry_reference import Reference
from regcred.views.advice import PULL_FAILURES
from regcred.views.observed import Fact, Image, Naming, ReferenceFacts, ReportedEvent, Subject, World

Json = Mapping[str, Any]

METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
"""The media type that requests only a Secret's metadata. The API server does not send the content."""


@dataclass(frozen=True, slots=True)
class Source:
    """An object whose annotations may apply to the subject, with its name for people."""

    what: str
    annotations: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ClusterObservation:
    """The observations in the cluster."""

    subject: Subject
    sources: Sequence[Source]
    namespace_uid: str = ""
    """Empty if the user may not read the namespace."""


def look(
    api: UserCluster, kind: Kind, namespace: str, name: str, kinds: Sequence[Kind] = WORKLOADS
) -> ClusterObservation:
    """Read the Pod to explain, and the objects whose annotations may apply to it.

    For a workload, this is the Pod with the worst problem.

    Args:
        api: The cluster.
        kind: The kind of the subject.
        namespace: Its namespace.
        name: Its name.
        kinds: The kinds of workloads that may control a Pod.

    Raises:
        MissingError: the object does not exist.
    """
    try:
        found = api.get(kind.path(namespace, name))
    except MissingError:
        raise MissingError(
            f"there is no {kind.name} {name} in namespace {namespace}; is the namespace right? (-n NS)"
        ) from None
    owners = Owners(api, namespace, kinds)
    chain: list[tuple[Kind, Json]] = [(kind, found)]
    pods = ""
    if kind is not POD:
        made, pods = pods_of(owners, kind, found)
        if made:
            chain = [(POD, _worst(made))]
    chain += owners.above(chain[0][1])
    referred = [other for of_kind, obj in chain if (other := owners.referred(of_kind, obj))]
    sources = [source for kind, obj in (*chain, *referred) for source in _sources(kind, obj)]
    space: Json = {}
    with suppress(RefusedError, MissingError):
        space = api.get(f"/api/v1/namespaces/{namespace}")
        sources.append(Source(f"Namespace {namespace}", space["metadata"].get("annotations") or {}))
    subject = _subject(chain, referred, namespace)
    naming = _naming(owners, chain, referred, subject.named, space)
    events = tuple(_events(api, (*chain, *referred), namespace))
    return ClusterObservation(
        replace(subject, naming=naming, events=events, pods=pods),
        sources,
        (space.get("metadata") or {}).get("uid") or "",
    )


def _worst(pods: Sequence[Json]) -> Json:
    """The newest Pod whose image can't be pulled, or else the newest waiting Pod, or else the newest Pod."""
    for wanted in (PULL_FAILURES.__contains__, bool):
        for pod in pods:
            if any(wanted(image.reason) for image in _images(pod)):
                return pod
    return pods[0]


def _sources(kind: Kind, obj: Json) -> list[Source]:
    name = obj["metadata"]["name"]
    found = [Source(f"{kind.name} {name}", obj["metadata"].get("annotations") or {})]
    if kind.template and (template := mapping_at(obj, kind.template)):
        annotations = mapping_at(template, ("metadata", "annotations")) or {}
        found.append(Source(f"the pod template of {kind.name} {name}", annotations))
    return found


def _subject(
    chain: Sequence[tuple[Kind, Json]], referred: Sequence[tuple[Kind, Json]], namespace: str
) -> Subject:
    kind, obj = chain[0]
    spec = _pod_spec(kind, obj)
    if spec is None and referred:
        spec = _pod_spec(*referred[0])
    top = chain[-1] if len(chain) > 1 else None
    return Subject(
        kind=kind.name,
        namespace=namespace,
        name=obj["metadata"]["name"],
        images=tuple(_images({"spec": spec or {}, "status": obj.get("status") if kind is POD else {}})),
        named=frozenset(_listed(spec)),
        controller=(top[0].name, top[1]["metadata"]["name"]) if top else None,
    )


def _pod_spec(kind: Kind, obj: Json) -> Json | None:
    return mapping_at(obj, (*kind.template, "spec"))


def _listed(spec: Json | None) -> list[str]:
    entries = (spec or {}).get("imagePullSecrets")
    return [
        str(entry["name"])
        for entry in (entries if isinstance(entries, list) else ())
        if isinstance(entry, Mapping) and entry.get("name")
    ]


def _naming(
    owners: Owners,
    chain: Sequence[tuple[Kind, Json]],
    referred: Sequence[tuple[Kind, Json]],
    named: frozenset[str],
    space: Json,
) -> Naming:
    """The facts about how the Pod gets the names of its Secrets."""
    kind, obj = chain[0]
    spec = _pod_spec(kind, obj) or {}
    account = str(spec.get("serviceAccountName") or spec.get("serviceAccount") or "default")
    found = owners.read(SERVICE_ACCOUNT, account)
    names = frozenset(_listed(found)) if found else None
    templates = [
        found for kind, obj in (*chain[1:], *referred) if kind.template and (found := _pod_spec(kind, obj))
    ]
    if templates:
        own = Fact.YES if any(_listed(template) for template in templates) else Fact.NO
    elif names is not None and named - names:
        own = Fact.YES if not chain[1:] and kind is POD else Fact.UNKNOWN
    else:
        own = Fact.UNKNOWN
    labels = (space.get("metadata") or {}).get("labels") or {}
    return Naming(
        mode=labels.get(MODE, "") if labels.get(MODE) in set(Mode) else "",
        own_list=own,
        account=account,
        account_names=names,
        marked=frozenset(requested(obj["metadata"].get("annotations"), _inherited(obj)).references)
        if kind is POD
        else frozenset(),
        admitted=frozenset(ref for _, obj in chain[1:] for ref in _recorded(obj)),
    )


def _inherited(pod: Json) -> dict[str, str]:
    value = (pod["metadata"].get("annotations") or {}).get(INHERITED, "")
    return {REFERENCES: str(value)} if value else {}


def _recorded(obj: Json) -> tuple[Reference, ...]:
    value = (obj["metadata"].get("annotations") or {}).get(REFERENCES)
    return requested({REFERENCES: str(value)}).references if value else ()


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
        container=container.get("name") or "without a name",  # Knative allows this in its pod template
        name=container.get("image") or "",
        pulled=bool(status.get("imageID")),
        reason=str(waiting.get("reason") or ""),
        message=str(waiting.get("message") or ""),
    )


def _events(api: UserCluster, seen: Sequence[tuple[Kind, Json]], namespace: str) -> list[ReportedEvent]:
    """Sync's Events about the objects, newest last. Of equal Events, only the newest."""
    uids = {obj["metadata"]["uid"] for _, obj in seen if obj["metadata"].get("uid")}
    query = urlencode({"fieldSelector": f"reportingComponent={REPORTER}", "limit": 500})
    try:
        events = api.get(f"/api/v1/namespaces/{namespace}/events", query).get("items") or []
    except (RefusedError, MissingError):
        return []
    ours = [_event(event) for event in events if (event.get("involvedObject") or {}).get("uid") in uids]
    ours.sort(key=lambda event: event.at or datetime.min.replace(tzinfo=UTC))
    return list({(event.reason, event.message): event for event in ours}.values())


def _event(event: Json) -> ReportedEvent:
    """Parse an Event. Its time is in one of several fields.

    Contract: https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/
    """
    series = event.get("series") or {}
    times = (
        series.get("lastObservedTime"),
        event.get("lastTimestamp"),
        event.get("eventTime"),
        event.get("firstTimestamp"),
        (event.get("metadata") or {}).get("creationTimestamp"),
    )
    return ReportedEvent(
        reason=str(event.get("reason") or ""),
        message=str(event.get("message") or ""),
        at=next((time for text in times if text and (time := _time(str(text)))), None),
        count=int(series.get("count") or event.get("count") or 1),
    )


def with_vault(
    session: CliSession, api: UserCluster, seen: ClusterObservation, cluster: str | None
) -> tuple[Subject, World]:
    """Add the facts in Vault, and the Secrets of the references.

    Args:
        session: Vault.
        api: The cluster.
        seen: The observations in the cluster.
        cluster: The cluster's name in Regcred; None to find it in Vault.

    Returns:
        The subject with the mode of its namespace, and all other facts.
    """
    subject, sources = seen.subject, seen.sources
    wanted = _requested(sources)
    malformed = requested(*(source.annotations for source in sources)).malformed
    named = {reference for name in subject.named if (reference := reference_of(name))}
    vault = VaultView(session, subject.namespace, cluster, seen.namespace_uid)
    known = {
        reference: _with_secret(api, subject.namespace, reference, vault.known(reference))
        for reference in [*wanted, *sorted(named - set(wanted))]
    }
    naming = replace(subject.naming, mode=subject.naming.mode or vault.mode(known))
    world = World(vault.cluster or "", wanted, malformed, known, vault.others(), vault.public())
    return replace(subject, naming=naming), world


def _requested(sources: Sequence[Source]) -> dict[Reference, str]:
    found: dict[Reference, str] = {}
    for source in sources:
        for key, value in sorted(source.annotations.items()):
            for reference in requested({key: value}).references:
                if reference not in found or key.startswith(REQUEST_PREFIX):
                    found.setdefault(reference, f"annotation {key} on {source.what}")
    return found


def _with_secret(
    api: UserCluster, namespace: str, reference: Reference, known: ReferenceFacts
) -> ReferenceFacts:
    """Add the Secret's metadata. If the user may not read it, keep the facts from sync's status."""
    try:
        secret = api.get(
            f"/api/v1/namespaces/{namespace}/secrets/{reference.secret_name}", accept=METADATA_ONLY
        )
    except MissingError:
        return replace(known, present=Fact.NO, version=None)
    except RefusedError:
        return replace(known, present=Fact.UNKNOWN, version=None)
    annotations = secret["metadata"].get("annotations") or {}
    version = annotations.get(SECRET_VERSION, "")
    return replace(
        known,
        present=Fact.YES,
        version=int(version) if version.isascii() and version.isdecimal() else known.version,
        expires_at=_time(annotations.get(SECRET_EXPIRES, "")),
    )


def _time(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else None
