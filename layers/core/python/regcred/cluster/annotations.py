"""The names that Regcred gives to things in a cluster, and how a request is read from an object's annotations. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

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


@dataclass(frozen=True, slots=True)
class Asked:
    """What an object asks for: its references, sorted and each once, and a line for each annotation that is wrong."""

    references: tuple[Reference, ...] = ()
    malformed: tuple[str, ...] = ()


NOTHING = Asked()


def asked(*annotations: Mapping[str, str] | None) -> Asked:
    """Read the requests of an object from its own annotations and those of its pod template.

    Args:
        annotations: One mapping of annotations each, or None where there are none. A value that is no text (in the template
            of a custom object, which nothing may check) is read as what it prints as.
    """
    pairs = [
        (key, str(value))
        for mapping in annotations
        for key, value in (mapping or {}).items()
        if key.startswith(REQUEST_PREFIX) or key == REFERENCES
    ]
    return _asked(tuple(sorted(set(pairs)))) if pairs else NOTHING


@lru_cache(maxsize=4096)
def _asked(pairs: tuple[tuple[str, str], ...]) -> Asked:
    references: set[Reference] = set()
    malformed: list[str] = []
    for key, value in pairs:
        for text in _texts(key, value):
            try:
                references.add(parse(text))
            except MalformedError as error:
                malformed.append(" ".join(f"annotation {key}: {error}".split()))
    return Asked(tuple(sorted(references)), tuple(malformed))


def _texts(key: str, value: str) -> Iterable[str]:
    return [text for text in value.split(",") if text] if key == REFERENCES else [value]


@lru_cache(maxsize=65536)
def parse(text: str) -> Reference:
    """Read one reference; equal texts share one object.

    Raises:
        MalformedError: see :meth:`Reference.parse`.
    """
    return Reference.parse(text)


def reference_of(secret_name: str) -> Reference | None:
    """The reference whose Secret has this name, or None if the name is not of our form."""
    before, _, rest = secret_name.partition(SECRET_PREFIX)
    if before or rest.count(".") != 1:
        return None
    try:
        return parse(rest.replace(".", "/"))
    except MalformedError:
        return None
