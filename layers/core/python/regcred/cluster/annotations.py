"""Reads the requests in annotations, and defines the names that Regcred uses in a cluster. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from regcred.errors import MalformedError
from regcred.registry_reference import Reference

REQUEST_PREFIX = "registry.regcred.dev/"
"""``registry.regcred.dev/<any key>: <project>/<registry>`` on a workload, its pod template, a Namespace or a
Pod."""

REFERENCES = "regcred.dev/references"
"""Set at admission on the workload: all its references, sorted, joined by ``,``."""

INHERITED = "regcred.dev/inherited"
"""Set at admission on the pod template: the references of the workload's own annotations, in the form of
:data:`REFERENCES`."""

ANNOTATED = "regcred.dev/annotated"
"""The label set at admission with :data:`REFERENCES`; its value is ``"true"``."""

MODE = "regcred.dev/mode"
"""The label with which a Namespace chooses a mode other than its cluster's."""

MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "regcred"
"""The value of :data:`MANAGED_BY` on our Secrets, and our field manager."""

SECRET_PREFIX = "regcred."  # noqa: S105 - a name
"""The prefix of the names of our Secrets; see :attr:`Reference.secret_name`."""

SECRET_REFERENCE = "regcred.dev/reference"  # noqa: S105 - a name
SECRET_VERSION = "regcred.dev/version"  # noqa: S105 - a name
SECRET_EXPIRES = "regcred.dev/expires-at"  # noqa: S105 - a name
"""Annotations of our Secrets, for readers of ``kubectl describe``."""

REPORTER = "regcred.dev/sync"
"""The ``reportingController`` of the Events that sync writes."""

MIRROR_POD = "kubernetes.io/config.mirror"
"""The annotation of Pods that the kubelet created from a static manifest. They can't use Secrets."""


KEYS_MAX = 64
"""How many annotations of one object or template count, sorted by key, and how many references of one object.
A workload has a few containers, so more is a mistake or an attack. The admission policies use the same
limit."""

LINES_MAX = 8
"""How many wrong annotations of one object get a message each."""

TEXT_MAX = 400
"""The maximum length of a wrong key in a message, and of a wrong value that is parsed, in characters."""


@dataclass(frozen=True, slots=True)
class RequestedReferences:
    """What an object requests: its references, sorted and unique, and a line for each wrong annotation.

    The size is limited for any object: at most :data:`KEYS_MAX` references and :data:`LINES_MAX` lines. If
    something is left out, one more line says so.
    """

    references: tuple[Reference, ...] = ()
    malformed: tuple[str, ...] = ()


NOTHING = RequestedReferences()

_REFERENCE = re.compile(r"[a-z0-9-]{1,63}/[a-z0-9-]{1,63}")
"""A text that may be a reference. :meth:`Reference.parse` decides."""


def is_request(key: str) -> bool:
    """Whether an annotation with this key is a request."""
    return key.startswith(REQUEST_PREFIX) or key == REFERENCES


def requested(*annotations: Mapping[str, str] | None) -> RequestedReferences:
    """Read the requests of an object from its own annotations and those of its pod template.

    Args:
        annotations: The mappings of annotations; None if there are none. The API server does not validate the
            template of a custom object. So if a value is not a string, its JSON text counts.
    """
    pairs, most = _requests(annotations)
    if not pairs:
        return NOTHING
    good: dict[tuple[str, str], str] = {}
    bad: list[tuple[str, str]] = []
    for key, value in sorted(pairs):
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
        if len(references) == KEYS_MAX:
            break
    count = len(good) if len(references) == KEYS_MAX else len(references)
    return RequestedReferences(tuple(references), _lines(bad, keys=most, references=count))


def _requests(annotations: Iterable[Mapping[str, str] | None]) -> tuple[set[tuple[str, str]], int]:
    """The keys and values that count, and the largest number of request keys in one mapping."""
    pairs: set[tuple[str, str]] = set()
    most = 0
    for mapping in annotations:
        if not mapping:
            continue
        keys = sorted(key for key in mapping if key.startswith(REQUEST_PREFIX))
        most = max(most, len(keys))
        pairs.update((key, str(mapping[key])) for key in keys[:KEYS_MAX])
        if REFERENCES in mapping:
            pairs.add((REFERENCES, str(mapping[REFERENCES])))
    return pairs, most


def _lines(bad: Sequence[tuple[str, str]], *, keys: int, references: int) -> tuple[str, ...]:
    lines = [_line(key, text) for key, text in bad[:LINES_MAX]]
    if len(bad) > LINES_MAX:
        lines.append(f"{len(bad) - LINES_MAX} more annotations are wrong in the same or another way")
    if keys > KEYS_MAX:
        lines.append(
            f"it has {keys} annotations {REQUEST_PREFIX}...; only the first {KEYS_MAX} of them, sorted by "
            "key, count"
        )
    if references > KEYS_MAX:
        lines.append(
            f"it requests {references} references; only the first {KEYS_MAX} of them, sorted by name, count"
        )
    return tuple(lines)


def _line(key: str, text: str) -> str:
    problem = f"the value has {len(text)} characters; write <project>/<registry>, as in payments/ecr-prod"
    if len(text) <= TEXT_MAX:
        try:
            Reference.parse(text)
        except MalformedError as error:
            problem = str(error)
    return " ".join(f"annotation {key[:TEXT_MAX]}: {problem}".split())


def _texts(key: str, value: str) -> Iterable[str]:
    return [text for text in value.split(",") if text] if key == REFERENCES else [value]


def reference_of(secret_name: str) -> Reference | None:
    """The reference of the Secret with this name, or None if the name does not have our form."""
    before, _, rest = secret_name.partition(SECRET_PREFIX)
    if before or rest.count(".") != 1:
        return None
    try:
        return Reference.parse(rest.replace(".", "/"))
    except MalformedError:
        return None
