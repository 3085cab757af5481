"""Why an image does or does not pull, from what was observed. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from regcred.reference import Reference
from regcred.registry.definition import host_matches, split_key
from regcred.vault.records.index import IndexEntry, State
from regcred.wording import expires_in

DOCKER_HUB = "docker.io"
_HUB_ALIASES = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})

PULL_FAILURES = frozenset({"ErrImagePull", "ImagePullBackOff", "ImageInspectError", "InvalidImageName"})
"""Why a container waits when its image is what is wrong (kubelet, pkg/kubelet/images)."""

_REFUSALS = ("401", "403", "unauthorized", "denied", "authorization failed", "no basic auth")
_ABSENCES = ("not found", "manifest unknown", "name unknown")


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
    told: tuple[str, ...] = ()
    """What sync said of it by Events."""

    @property
    def is_pod(self) -> bool:
        """Whether it is a Pod, so that its imagePullSecrets and the kubelet's words count."""
        return self.kind == "Pod"


class Held(StrEnum):
    """Whether something is so."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one reference in the subject's namespace."""

    entry: IndexEntry | None = None
    defined: Held = Held.UNKNOWN
    granted: Held = Held.UNKNOWN
    present: Held = Held.UNKNOWN
    """Whether the Secret is in the namespace."""
    version: int | None = None
    """The version that it holds."""
    expires_at: datetime | None = None
    """From the Secret's annotation, where the index can't be read."""
    refused: str = ""
    """Why sync does not project it."""


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


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that is told of an image."""

    name: str
    value: str
    good: bool | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What is told of one image, and what to do; ``todo`` is empty if there is nothing."""

    image: Image
    lines: tuple[Line, ...]
    todo: str = ""
    reference: Reference | None = None


def split_image(name: str) -> tuple[str, str]:
    """Host and path of an image's name as container runtimes read it (distribution/reference)."""
    first, slash, rest = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return (DOCKER_HUB if first in _HUB_ALIASES else first), rest
    return DOCKER_HUB, name if slash else f"library/{name}"


def serves(key: str, image: str) -> bool:
    """Whether the kubelet tries a key of the ``auths`` map for an image (k8s.io/kubernetes pkg/credentialprovider)."""
    host, path = split_image(image)
    key_host, key_path = split_key(key)
    if key_host in _HUB_ALIASES:
        return host == DOCKER_HUB and (key_path in ("v1/", "v1", "") or path.startswith(key_path))
    return host_matches(key_host, host) and path.startswith(key_path)


def explain(subject: Subject, world: World, now: datetime) -> list[Answer]:
    """Explain every image of a subject."""
    return [_explain(image, subject, world, now) for image in subject.images]


def _explain(image: Image, subject: Subject, world: World, now: datetime) -> Answer:
    reference = _serving(image, world)
    if reference is None:
        return _unserved(image, subject, world)
    known = world.known.get(reference, Known())
    lines = (
        Line(
            "registry",
            f"{reference} ({world.asked.get(reference, 'named by the Pod, not by an annotation')})",
            True,
        ),
        _granted(known, subject, world),
        _secret(reference, known, subject),
        _expiry(known, now),
        _kubelet(image, subject),
    )
    return Answer(image, lines, _todo(image, reference, known, subject, world, now), reference)


def _serving(image: Image, world: World) -> Reference | None:
    """The reference that serves an image; one that is asked for and not known yet may be meant for it."""
    references = [*world.asked, *(reference for reference in world.known if reference not in world.asked)]
    hits = [reference for reference in references if _serves(world.known.get(reference), image)]
    if hits:
        return min(hits, key=lambda reference: _rank(world.known[reference]))
    host, _ = split_image(image.name)
    unknown = [reference for reference in world.asked if not _hosts(world.known.get(reference))]
    return unknown[0] if unknown and host != DOCKER_HUB else None


def _rank(known: Known) -> bool:
    return known.entry is None or known.entry.state is not State.OK


def _hosts(known: Known | None) -> Sequence[str]:
    return known.entry.hosts if known and known.entry else ()


def _serves(known: Known | None, image: Image) -> bool:
    return any(serves(key, image.name) for key in _hosts(known))


def _unserved(image: Image, subject: Subject, world: World) -> Answer:
    host, _ = split_image(image.name)
    public = next((reference for reference, hosts in world.public.items() if host in hosts), None)
    if public:
        said = Line("registry", f"{public} says that {host} is public: no credential is needed", good=True)
        return Answer(image, (said, _kubelet(image, subject)), _after_public(image))
    lines = (
        Line("registry", f"no annotation of this workload names a registry for {host}", image.pulled or None),
        _kubelet(image, subject),
    )
    offers = [
        reference
        for reference, entry in world.others.items()
        if any(serves(key, image.name) for key in entry.hosts)
    ]
    if image.pulled:
        return Answer(image, lines)
    if offers:
        key = f"registry.regcred.dev/{offers[0].registry}"
        return Answer(image, lines, f"annotate the workload: {key}: {offers[0]}")
    if image.reason in PULL_FAILURES and _says(image, _ABSENCES) and not _says(image, _REFUSALS):
        return Answer(image, lines, "check the image's name and tag: the registry does not have it")
    if image.reason in PULL_FAILURES:
        return Answer(
            image,
            lines,
            f"if {host} needs a login, register it (regcred registry add) and annotate the workload",
        )
    return Answer(image, lines)


def _after_public(image: Image) -> str:
    if image.reason not in PULL_FAILURES:
        return ""
    if _says(image, _REFUSALS):
        return "this image is not public, or does not exist: check its name, or register its registry with a login"
    return "check the image's name and tag, and whether the node reaches the registry"


def _granted(known: Known, subject: Subject, world: World) -> Line:
    where = f"namespace {subject.namespace}" + (f" of cluster {world.cluster}" if world.cluster else "")
    match known.granted:
        case Held.YES:
            return Line("granted", f"yes, to {where}", True)
        case Held.NO:
            return Line("granted", f"no: {where} may not use the project", False)
    return Line("granted", "unknown: Vault was not asked, or does not let you read it")


def _secret(reference: Reference, known: Known, subject: Subject) -> Line:
    name = reference.secret_name
    version = f", version {known.version}" if known.version else ""
    newest = known.entry.version if known.entry else 0
    stale = f" (version {newest} is on its way)" if known.version and newest > known.version else ""
    named = name in subject.named
    if known.present is Held.NO:
        return Line(
            "Secret",
            f"{name}: not in the namespace" + (f" ({known.refused})" if known.refused else ""),
            False,
        )
    if subject.is_pod and not named:
        there = "in the namespace" if known.present is Held.YES else "may be in the namespace"
        return Line("Secret", f"{name}: {there}{version}{stale}, but the Pod does not name it", False)
    if known.present is Held.UNKNOWN:
        return Line("Secret", f"{name}: not known whether it is there")
    return Line(
        "Secret",
        f"{name}: in the namespace{version}{stale}" + (", named by the Pod" if subject.is_pod else ""),
        True,
    )


def _expiry(known: Known, now: datetime) -> Line:
    entry = known.entry
    if entry is None:
        if known.expires_at:
            return Line("expires", expires_in(known.expires_at, now), known.expires_at > now)
        return Line("expires", "unknown")
    if entry.state in (State.REVOKED, State.REMOVED):
        return Line("expires", f"the registry is {entry.state}", False)
    if not entry.version:
        return Line("expires", "there is no credential yet", False)
    text = expires_in(entry.expires_at, now)
    alive = entry.expires_at is None or entry.expires_at > now
    return Line("expires", text if not alive or entry.expires_at is None else f"in {text}", alive)


def _kubelet(image: Image, subject: Subject) -> Line:
    if not subject.is_pod:
        return Line("kubelet", f"this {subject.kind} has no Pod now")
    if image.reason:
        return Line(
            "kubelet",
            f"{image.reason}" + (f": {_short(image.message)}" if image.message else ""),
            image.reason not in PULL_FAILURES,
        )
    return Line(
        "kubelet", "the image is there" if image.pulled else "has not tried yet", image.pulled or None
    )


def _todo(  # noqa: C901, PLR0911 - one question after the other, each with its own answer
    image: Image, reference: Reference, known: Known, subject: Subject, world: World, now: datetime
) -> str:
    entry = known.entry
    if known.defined is Held.NO and (entry is None or entry.state is State.REMOVED):
        return f"there is no registry {reference}: correct the annotation, or register it: regcred registry add {reference}"
    if known.granted is Held.NO:
        cluster = world.cluster or "CLUSTER"
        return f"ask a platform admin: regcred grant add --cluster {cluster} {reference.project} {subject.namespace}"
    if entry and entry.state is State.REVOKED:
        return f"it was revoked; a project admin fetches a new one: regcred rotate {reference}"
    if entry and entry.state is State.FAILING and not _usable(entry, now):
        return f"fetching it fails: {entry.error} (a project admin: regcred registry show {reference})"
    if entry and not _usable(entry, now):
        return f"it has expired and was not renewed; is the rotate function running? (regcred status {reference})"
    if entry is None and known.defined is Held.YES:
        return f"it was added and has no credential yet: wait some minutes, or regcred rotate {reference}"
    if known.refused == "clash":
        return f"a Secret {reference.secret_name} that is not Regcred's is in the way: rename or delete it"
    if known.present is Held.NO:
        return "sync has not placed the Secret: is sync running in this cluster, and may it read Vault? (its log says)"
    if subject.is_pod and reference.secret_name not in subject.named and not image.pulled:
        return f"the Pod is older than its annotation or the admission policy; make a new one: {_restart(subject)}"
    if image.reason in PULL_FAILURES:
        return _after_failure(image, reference, subject)
    return ""


def _usable(entry: IndexEntry, now: datetime) -> bool:
    return entry.version > 0 and (entry.expires_at is None or entry.expires_at > now)


def _after_failure(image: Image, reference: Reference, subject: Subject) -> str:
    if _says(image, _ABSENCES) and not _says(image, _REFUSALS):
        return "check the image's name and tag: the registry does not have it"
    if _says(image, _REFUSALS):
        return (
            f"the registry refuses this image to this credential: is the repository within its scope?"
            f" (a project admin: regcred registry verify {reference})"
        )
    if image.reason == "ImagePullBackOff":
        return f"the kubelet tries again within 5 minutes; to try at once: {_restart(subject)}"
    return "the kubelet could not reach the registry or read the image; its words above say why"


def _restart(subject: Subject) -> str:
    if subject.controller and subject.controller[0] in ("Deployment", "StatefulSet", "DaemonSet"):
        kind, name = subject.controller
        return f"kubectl -n {subject.namespace} rollout restart {kind.lower()}/{name}"
    if subject.controller:
        return f"kubectl -n {subject.namespace} delete pod {subject.name}"
    return f"delete and create Pod {subject.namespace}/{subject.name} again"


def _says(image: Image, words: Sequence[str]) -> bool:
    message = image.message.lower()
    return any(word in message for word in words)


def _short(message: str, most: int = 300) -> str:
    text = " ".join(message.split())
    return text if len(text) <= most else f"{text[:most]}…"


def headline(subject: Subject, world: World) -> str:
    """The line above the images."""
    owner = f" ({subject.controller[0]} {subject.controller[1]})" if subject.controller else ""
    cluster = f", cluster {world.cluster}" if world.cluster else ""
    return f"{subject.kind} {subject.namespace}/{subject.name}{owner}{cluster}"
