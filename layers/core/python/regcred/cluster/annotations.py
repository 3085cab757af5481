"""The names that Regcred gives to things in a cluster, and how a request is read from an object's annotations. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from regcred.errors import MalformedError
from regcred.reference import Reference

REQUEST_PREFIX = "registry.regcred.dev/"
"""``registry.regcred.dev/<any key>: <project>/<registry>`` on a workload, its pod template, a Namespace or a Pod."""

REFERENCES = "regcred.dev/references"
"""Set at admission on the workload: all its references, sorted, joined by ``,``."""

INHERITED = "regcred.dev/inherited"
"""Set at admission on the pod template: what its workload asks for by its own annotations, in the form of :data:`REFERENCES`."""

ANNOTATED = "regcred.dev/annotated"
"""The label set at admission beside :data:`REFERENCES`; its value is ``"true"``."""

MODE = "regcred.dev/mode"
"""The label by which a Namespace chooses another mode than its cluster's."""

MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "regcred"
"""The value of :data:`MANAGED_BY` on our Secrets, and our field manager."""

SECRET_PREFIX = "regcred."  # noqa: S105 - a name
"""How the name of each of our Secrets begins; see :attr:`Reference.secret_name`."""

SECRET_REFERENCE = "regcred.dev/reference"  # noqa: S105 - a name
SECRET_VERSION = "regcred.dev/version"  # noqa: S105 - a name
SECRET_EXPIRES = "regcred.dev/expires-at"  # noqa: S105 - a name
"""Annotations of our Secrets, for people who run ``kubectl describe``."""

REPORTER = "regcred.dev/sync"
"""The ``reportingController`` of the Events that sync writes."""

MIRROR_POD = "kubernetes.io/config.mirror"
"""On Pods that the kubelet made of a static manifest; they can't use Secrets."""


KEYS = 64
"""How many references of one object count; a workload has a few containers, so more is a mistake or an attack."""

LINES = 8
"""How many wrong annotations of one object are described one by one."""

MOST = 400
"""How many characters of a wrong key or value are looked at to say what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What an object asks for: its references, sorted and each once, and a line for each annotation that is wrong.

    Bounded whatever the object holds: at most :data:`KEYS` references and :data:`LINES` lines, and a line about the rest.
    """

    references: tuple[Reference, ...] = ()
    malformed: tuple[str, ...] = ()


NOTHING = Asked()

_REFERENCE = re.compile(r"[a-z0-9-]{1,63}/[a-z0-9-]{1,63}")
"""What may be a reference; :meth:`Reference.parse` decides."""


def is_request(key: str) -> bool:
    """Whether an annotation with this key asks for something."""
    return key.startswith(REQUEST_PREFIX) or key == REFERENCES


def asked(*annotations: Mapping[str, str] | None) -> Asked:
    """Read the requests of an object from its own annotations and those of its pod template.

    Args:
        annotations: One mapping of annotations each, or None where there are none. A value that is no text (in the template
            of a custom object, which nothing may check) is read as what it prints as.
    """
    pairs = sorted(
        {
            (key, str(value))
            for mapping in annotations
            for key, value in (mapping or {}).items()
            if is_request(key)
        }
    )
    if not pairs:
        return NOTHING
    good: dict[tuple[str, str], str] = {}
    bad: list[tuple[str, str]] = []
    for key, value in pairs:
        for text in _texts(key, value):
            if _REFERENCE.fullmatch(text):
                project, _, registry = text.partition("/")
                good[project, registry] = key
            else:
                bad.append((key, text))
    references: list[Reference] = []
    for (project, registry), key in sorted(good.items()):
        try:
            references.append(Reference.parse(f"{project}/{registry}"))
        except MalformedError:
            bad.append((key, f"{project}/{registry}"))
        if len(references) == KEYS:
            break
    surplus = len(good) - KEYS if len(references) == KEYS else 0
    return Asked(tuple(references), _lines(bad, surplus))


def _lines(bad: Sequence[tuple[str, str]], surplus: int) -> tuple[str, ...]:
    lines = [_line(key, text) for key, text in bad[:LINES]]
    if len(bad) > LINES:
        lines.append(f"{len(bad) - LINES} more annotations are wrong in the same or another way")
    if surplus > 0:
        lines.append(f"it asks for {KEYS + surplus} references; only the first {KEYS} of them count")
    return tuple(lines)


def _line(key: str, text: str) -> str:
    problem = f"the value has {len(text)} characters; write <project>/<registry>, as in payments/ecr-prod"
    if len(text) <= MOST:
        try:
            Reference.parse(text)
        except MalformedError as error:
            problem = str(error)
    return " ".join(f"annotation {key[:MOST]}: {problem}".split())


def _texts(key: str, value: str) -> Iterable[str]:
    return [text for text in value.split(",") if text] if key == REFERENCES else [value]


def reference_of(secret_name: str) -> Reference | None:
    """The reference whose Secret has this name, or None if the name is not of our form."""
    before, _, rest = secret_name.partition(SECRET_PREFIX)
    if before or rest.count(".") != 1:
        return None
    try:
        return Reference.parse(rest.replace(".", "/"))
    except MalformedError:
        return None
