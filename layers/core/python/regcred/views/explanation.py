"""Explains why an image can or can't be pulled. Pure.

Where an observation is missing, the text is "unknown".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from regcred.image_name import is_key_for, parse
from regcred.registry_reference import Reference
from regcred.vault.records.index import State
from regcred.views.advice import PULL_FAILURES, other_advice, todo
from regcred.views.observed import Fact, Image, Naming, ReferenceFacts, ReportedEvent, Subject, World
from regcred.wording import duration, expires_in

REGISTRIES_SHOWN = 3
"""The maximum number of registries whose hosts an explanation names."""

__all__ = [
    "Fact",
    "Image",
    "ImageExplanation",
    "Line",
    "Naming",
    "ReferenceFacts",
    "ReportedEvent",
    "Subject",
    "World",
    "event_line",
    "explain",
    "headline",
]


@dataclass(frozen=True, slots=True)
class Line:
    """One fact about an image."""

    name: str
    value: str
    good: bool | None = None


@dataclass(frozen=True, slots=True)
class ImageExplanation:
    """The facts about one image, and the advice; ``todo`` is empty if there is none."""

    image: Image
    lines: tuple[Line, ...]
    todo: str = ""
    reference: Reference | None = None
    """The registry of the image; None if there is none, or if it is unknown."""
    candidates: tuple[Reference, ...] = ()
    """The possible registries, if the right one is unknown."""


def explain(subject: Subject, world: World, now: datetime) -> list[ImageExplanation]:
    """Explain every image of a subject."""
    return [_explain(image, subject, world, now) for image in subject.images]


def _explain(image: Image, subject: Subject, world: World, now: datetime) -> ImageExplanation:
    references = [
        *world.requested,
        *(reference for reference in world.known if reference not in world.requested),
    ]
    serving = [ref for ref in references if any(is_key_for(key, image.name) for key in _hosts(ref, world))]
    if serving:
        reference = min(serving, key=lambda reference: _is_out_of_force(world.known[reference]))
        return _served(image, reference, subject, world, now)
    candidates = tuple(ref for ref in references if not _hosts(ref, world))
    return (
        _perhaps_served(image, candidates, subject, world, now)
        if candidates
        else _unserved(image, subject, world)
    )


def _hosts(reference: Reference, world: World) -> Sequence[str]:
    known = world.known.get(reference, ReferenceFacts())
    return known.entry.hosts if known.entry and known.entry.hosts else known.typed_hosts


def _is_out_of_force(known: ReferenceFacts) -> bool:
    return known.entry is None or known.entry.state is not State.OK


def _served(
    image: Image, reference: Reference, subject: Subject, world: World, now: datetime
) -> ImageExplanation:
    known = world.known[reference]
    why = world.requested.get(reference, "named by the Pod, not by an annotation")
    lines = (
        Line("registry", f"{reference} ({why})", good=True),
        *_credential(reference, known, subject, world, now),
        _kubelet(image, subject),
    )
    return ImageExplanation(image, lines, todo(image, reference, known, subject, world, now), reference)


def _credential(
    reference: Reference, known: ReferenceFacts, subject: Subject, world: World, now: datetime
) -> tuple[Line, Line, Line]:
    return _granted(known, subject, world), _secret(reference, known, subject), _expiry(known, now)


def _perhaps_served(
    image: Image, candidates: tuple[Reference, ...], subject: Subject, world: World, now: datetime
) -> ImageExplanation:
    """Explain an image that may come from registries whose hosts are unknown."""
    host = parse(image.name).host
    names = ", ".join(map(str, candidates))
    lines = [
        Line("registry", f"unknown: the hosts of {names} are not known, so it may or may not serve {host}")
    ]
    for reference in candidates:
        found = _credential(reference, world.known.get(reference, ReferenceFacts()), subject, world, now)
        lines += found if len(candidates) == 1 else [found[1]]
    lines.append(_kubelet(image, subject))
    return ImageExplanation(
        image, tuple(lines), _perhaps_served_todo(image, candidates, subject, world, now), None, candidates
    )


def _perhaps_served_todo(
    image: Image, candidates: tuple[Reference, ...], subject: Subject, world: World, now: datetime
) -> str:
    if image.pulled:
        return ""
    # The kubelet's message may be about another registry.
    without_message = Image(image.container, image.name)
    for reference in candidates:
        known = world.known.get(reference, ReferenceFacts())
        if found := todo(without_message, reference, known, subject, world, now):
            return found if known.defined is Fact.NO else f"if {reference} serves this image: {found}"
    if image.reason in PULL_FAILURES:
        return (
            "the reason is unknown, because only Vault has the hosts of the registries: set VAULT_ADDR and "
            "sign in, or ask a project admin"
        )
    return ""


def _unserved(image: Image, subject: Subject, world: World) -> ImageExplanation:
    host = parse(image.name).host
    public = next(
        (ref for ref, keys in world.public.items() if any(is_key_for(key, image.name) for key in keys)), None
    )
    if public:
        line = Line("registry", f"{public} defines {host} as public: no credential is needed", good=True)
        return ImageExplanation(
            image, (line, _kubelet(image, subject)), other_advice(image) or _after_public(image)
        )
    annotated = f"no annotation of this workload names a registry for {host}{_served_hosts(world)}"
    lines = (Line("registry", annotated, image.pulled or None), _kubelet(image, subject))
    return ImageExplanation(image, lines, "" if image.pulled else _unserved_todo(image, host, world))


def _served_hosts(world: World) -> str:
    """The hosts of the requested registries, which show a misspelt host in the image's name."""
    served = [
        f"{reference} serves {hosts[0]}" + (f" and {len(hosts) - 1} more" if len(hosts) > 1 else "")
        for reference in world.requested
        if (hosts := _hosts(reference, world))
    ]
    more = f" and {len(served) - REGISTRIES_SHOWN} more" if len(served) > REGISTRIES_SHOWN else ""
    return f" ({'; '.join(served[:REGISTRIES_SHOWN])}{more})" if served else ""


def _unserved_todo(image: Image, host: str, world: World) -> str:
    offers = [
        ref for ref, entry in world.others.items() if any(is_key_for(key, image.name) for key in entry.hosts)
    ]
    if offers:
        verb = "correct the annotation" if world.malformed else "annotate the workload"
        return f"{verb}: registry.regcred.dev/{offers[0].registry}: {offers[0]}"
    if world.malformed:
        return "correct the malformed annotation; until then, Regcred ignores it"
    if image.reason in PULL_FAILURES:
        return (
            f"check the image's name and tag; if {host} needs a login, register it (regcred registry add) "
            "and annotate the workload"
        )
    return ""


def _after_public(image: Image) -> str:
    if image.reason not in PULL_FAILURES:
        return ""
    return (
        "check the image's name and tag, and that the node can reach the registry; an image that is not "
        "public needs a registry with a login (regcred registry add)"
    )


def _granted(known: ReferenceFacts, subject: Subject, world: World) -> Line:
    where = f"namespace {subject.namespace}" + (f" of cluster {world.cluster}" if world.cluster else "")
    match known.granted:
        case Fact.YES:
            return Line("granted", f"yes, to {where}", good=True)
        case Fact.NO:
            return Line("granted", f"no: {where} may not use the project", good=False)
    if not world.cluster:
        return Line("granted", "unknown: the cluster's name or its grants could not be read in Vault")
    return Line("granted", f"unknown: the grants of {where} could not be read in Vault")


def _secret(reference: Reference, known: ReferenceFacts, subject: Subject) -> Line:
    name = reference.secret_name
    version = f", version {known.version}" if known.version else ""
    newest, here = known.entry.version if known.entry else 0, known.version or known.ledger
    stale = f" (version {newest} is on its way)" if here and newest > here else ""
    unnamed_by = ", but the Pod does not name it" if subject.is_pod and name not in subject.named else ""
    if known.present is Fact.NO:
        gone = (
            f"sync placed version {known.ledger}, but it no longer exists"
            if known.ledger
            else known.detail or known.refused
        )
        return Line("Secret", f"{name}: not in the namespace" + (f" ({gone})" if gone else ""), good=False)
    if known.present is Fact.YES:
        named = ", named by the Pod" if subject.is_pod and not unnamed_by else unnamed_by
        held = f"; sync would remove it ({known.held}), and the brake holds that" if known.held else ""
        return Line("Secret", f"{name}: in the namespace{version}{stale}{named}{held}", good=not unnamed_by)
    if not known.ledger:
        return Line("Secret", f"{name}: unknown whether it exists{unnamed_by}", False if unnamed_by else None)
    text = (
        f"{name}: sync placed version {known.ledger}{stale}; your account may not check whether it still "
        f"exists{unnamed_by}"
    )
    return Line("Secret", text, False if unnamed_by else None)


def _expiry(known: ReferenceFacts, now: datetime) -> Line:
    entry = known.entry
    if entry is None:
        if known.expires_at:
            return _lives(known.expires_at, now)
        return Line("expires", "unknown")
    if entry.state in (State.REVOKED, State.REMOVED):
        return Line("expires", f"the registry is {entry.state}", good=False)
    if not entry.version:
        return Line("expires", "there is no credential yet", good=False)
    line = Line("expires", "never", good=True) if entry.expires_at is None else _lives(entry.expires_at, now)
    if entry.state is State.FAILING:
        more = f"its rotation fails: {_short(entry.error)}"
    elif entry.shown_state != entry.state:
        more = f"{entry.shown_state}: {entry.why_unverified}"
    else:
        return line
    return Line("expires", f"{line.value}; {more}", False if line.good is False else None)


def _lives(until: datetime, now: datetime) -> Line:
    alive = until > now
    text = expires_in(until, now)
    return Line("expires", f"in {text}" if alive else text, alive)


def _kubelet(image: Image, subject: Subject) -> Line:
    if not subject.is_pod:
        return Line("kubelet", subject.pods or f"this {subject.kind} has no Pod now")
    if image.reason:
        return Line(
            "kubelet",
            f"{image.reason}" + (f": {_short(image.message)}" if image.message else ""),
            False if image.reason in PULL_FAILURES else image.pulled or None,
        )
    return Line(
        "kubelet",
        "the image is on the node" if image.pulled else "has not tried yet",
        image.pulled or None,
    )


def _short(message: str, most: int = 300) -> str:
    text = " ".join(message.split())
    return text if len(text) <= most else f"{text[:most]}…"


def headline(subject: Subject, world: World) -> str:
    """The first line of the explanation."""
    owner = f" ({subject.controller[0]} {subject.controller[1]})" if subject.controller else ""
    cluster = f", cluster {world.cluster}" if world.cluster else ""
    return f"{subject.kind} {subject.namespace}/{subject.name}{owner}{cluster}"


def event_line(event: ReportedEvent, now: datetime) -> str:
    """One Event of sync, with its age, because an old one may no longer be true."""
    age = f"{duration(now - event.at)} ago" if event.at else "at an unknown time"
    times = f", {event.count} times" if event.count > 1 else ""
    return f"{age}{times}: {event.reason}: {event.message}"
