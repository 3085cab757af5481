"""Reads the few fields that sync needs from an object's JSON, without parsing the rest.

A parsed object (containers, environment, managedFields) takes many times the memory of its bytes, and tenants
decide what is in it. So each level is split into raw slices, and only the fields that sync needs are decoded.
No content causes an error: a field of an unexpected type counts as absent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from regcred.cluster.annotations import ANNOTATED, MIRROR_POD, MODE, is_request, reference_of
from regcred.cluster.interface import MissingSecretEvent
from regcred.cluster.json_depth import flattened
from regcred.cluster.model import POD, SERVICE_ACCOUNT, Kind

T = TypeVar("T")
Reader = Callable[[bytes | msgspec.Raw], Any]
"""Reads one field from its JSON; None if it has another type."""

NAMES_MAX = 256
"""How many names of our Secrets count in one object."""

LISTED_MAX = 32
"""The maximum number of entries of a ServiceAccount's list that is kept with the names of others."""

NOTE_MAX = 4096
"""How many characters of an Event's note are read. The kubelet writes at most 1,024."""

NAME_MAX = 253
"""The maximum length of an object's name."""

WRONG_VALUE_MAX = 200
"""How many bytes are kept of an annotation that is not a string."""

STUCK = frozenset({"ErrImagePull", "ImagePullBackOff"})
"""The reasons for which a container waits when its image can't be pulled (kubelet, pkg/kubelet/images)."""


class _OwnerReference(msgspec.Struct, gc=False):
    api_version: str = msgspec.field(default="", name="apiVersion")
    kind: str = ""
    controller: bool | None = None


class _Named(msgspec.Struct, gc=False):
    name: str = ""


class _WaitingState(msgspec.Struct, gc=False):
    reason: str = ""


class _ContainerState(msgspec.Struct, gc=False):
    waiting: _WaitingState | None = None
    running: dict[str, msgspec.Raw] | None = None
    terminated: dict[str, msgspec.Raw] | None = None


class _Container(msgspec.Struct, gc=False):
    state: _ContainerState | None = None
    lastState: _ContainerState | None = None  # noqa: N815 - the API's name


class _RawList(msgspec.Struct):
    metadata: msgspec.Raw
    items: list[msgspec.Raw] | None = None


_LEVEL = msgspec.json.Decoder(dict[str, msgspec.Raw])
_TEXT = msgspec.json.Decoder(str)
_OWNERS = msgspec.json.Decoder(list[_OwnerReference])
_NAMED = msgspec.json.Decoder(list[_Named])
_CONTAINERS = msgspec.json.Decoder(list[_Container])
_PAGE = msgspec.json.Decoder(_RawList)


def page(content: bytes) -> tuple[str, str, list[msgspec.Raw]]:
    """Split a page of a list into its resourceVersion, the token for the next page, and its objects.

    Raises:
        ValueError: it is not a list.
    """
    found = _decoded(_PAGE, content)
    if found is None:
        raise ValueError("it is not a list")
    metadata = _fields(found.metadata, {"resourceVersion": _text, "continue": _text}) or {}
    return metadata.get("resourceVersion") or "", metadata.get("continue") or "", found.items or []


def watch_event(line: bytes) -> tuple[str, msgspec.Raw]:
    """Split a line of a watch into the type of the event (as in ``ADDED``) and its object.

    Raises:
        ValueError: it is not a watch event.
    """
    level = _decoded(_LEVEL, line) or {}
    event = _text(level["type"]) if "type" in level else None
    if not event or "object" not in level:
        raise ValueError("it is not a watch event")
    return event, level["object"]


def status(raw: bytes | msgspec.Raw) -> dict[str, Any]:
    """The code and the reason of a Status."""
    level = _decoded(_LEVEL, raw) or {}
    code = _decoded(msgspec.json.Decoder(int), level["code"]) if "code" in level else None
    return {"code": code, "reason": _text(level["reason"]) if "reason" in level else None}


def missing_secret_event(raw: bytes | msgspec.Raw) -> MissingSecretEvent | None:
    """The namespace of an Event and the start of its note; None without a namespace."""
    found = _fields(raw, {"metadata": {"namespace": _text}, "note": _text}) or {}
    namespace = found.get("metadata", {}).get("namespace")
    return MissingSecretEvent(namespace, found.get("note", "")[:NOTE_MAX]) if namespace else None


def prune(kind: Kind, raw: bytes | msgspec.Raw) -> dict[str, Any]:
    """The fields of an object that :class:`regcred.cluster.object_parser.ObjectParser` reads.

    Raises:
        ValueError: it has no metadata.
    """
    shape: dict[str, Any] = {"metadata": _METADATA}
    if kind is POD:
        shape |= {"spec": _POD_SPEC, "status": _POD_STATUS}
    elif kind is SERVICE_ACCOUNT:
        shape |= {"imagePullSecrets": _account_pull_secrets}
    inner: Any = _TEMPLATE
    for part in reversed(kind.template):
        inner = {part: inner}
    if kind.custom and isinstance(inner := inner if kind.template else {}, dict):
        inner = {
            root: {"workloadRef": {"kind": _name, "name": _name}} | fields for root, fields in inner.items()
        }
    found = _fields(raw, shape | (inner if kind.template else {}))
    if not found or "metadata" not in found:
        raise ValueError("it is not an object")
    return found


def _fields(raw: bytes | msgspec.Raw, shape: Mapping[str, Any]) -> dict[str, Any] | None:
    level = _decoded(_LEVEL, raw)
    if level is None:
        return None
    found = {}
    for key, inner in shape.items():
        if key in level:
            value = _fields(level[key], inner) if isinstance(inner, Mapping) else inner(level[key])
            if value is not None:
                found[key] = value
    return found


def _decoded(decoder: msgspec.json.Decoder[T], raw: bytes | msgspec.Raw) -> T | None:
    """The value that a decoder reads; None if the JSON is invalid or has another type.

    A decoder also parses the fields that it skips. A tenant can nest these more deeply than it allows.
    """
    try:
        return decoder.decode(raw)
    except RecursionError:
        pass
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    try:
        return decoder.decode(flattened(bytes(raw)))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _text(raw: bytes | msgspec.Raw) -> str | None:
    return _decoded(_TEXT, raw)


def _name(raw: bytes | msgspec.Raw) -> str | None:
    """The name of an object; None if the text can't be a name."""
    text = _text(raw)
    return text if text and len(text) <= NAME_MAX and text.isprintable() else None


def _annotations(raw: bytes | msgspec.Raw) -> dict[str, str]:
    level = _decoded(_LEVEL, raw) or {}
    return {
        key: text if (text := _text(value)) is not None else _printed(value)
        for key, value in level.items()
        if is_request(key) or key == MIRROR_POD
    }


def _printed(raw: msgspec.Raw) -> str:
    return bytes(raw)[:WRONG_VALUE_MAX].decode(errors="replace")


def _pull_secrets(raw: bytes | msgspec.Raw) -> list[dict[str, str]]:
    names = {entry.name: None for entry in _decoded(_NAMED, raw) or () if reference_of(entry.name)}
    return [{"name": name} for name in list(names)[:NAMES_MAX]]


def _account_pull_secrets(raw: bytes | msgspec.Raw) -> list[dict[str, str]]:
    """A short list, unchanged. Of a longer list, only our names, and an empty entry that marks the cut."""
    entries = _decoded(_NAMED, raw)
    if entries is None or len(entries) > LISTED_MAX or any(len(entry.name) > NAME_MAX for entry in entries):
        return [*_pull_secrets(raw), {}]
    return [{"name": entry.name} for entry in entries]


def _owners(raw: bytes | msgspec.Raw) -> list[dict[str, Any]]:
    return [
        {"apiVersion": owner.api_version, "kind": owner.kind, "controller": True}
        for owner in _decoded(_OWNERS, raw) or ()
        if owner.controller
    ][:1]


def _containers(raw: bytes | msgspec.Raw) -> list[dict[str, Any]]:
    """One entry for each reason why a container waits for its image, and one if any container has run."""
    containers = _decoded(_CONTAINERS, raw) or ()
    reasons = {
        container.state.waiting.reason
        for container in containers
        if container.state and container.state.waiting
    }
    waiting = [{"state": {"waiting": {"reason": reason}}} for reason in sorted(reasons & STUCK)]
    ran: list[dict[str, Any]] = [{"state": {"running": {}}}] if any(map(_has_run, containers)) else []
    return [*waiting, *ran]


def _has_run(container: _Container) -> bool:
    states = (container.state, container.lastState)
    return any(state and (state.running is not None or state.terminated is not None) for state in states)


_METADATA: Mapping[str, Any] = {
    "name": _text,
    "namespace": _text,
    "uid": _text,
    "resourceVersion": _text,
    "creationTimestamp": _text,
    "deletionTimestamp": _text,
    "labels": {ANNOTATED: _text, MODE: _text},
    "annotations": _annotations,
    "ownerReferences": _owners,
}
_ACCOUNT: Mapping[str, Any] = {"serviceAccountName": _name, "serviceAccount": _name}
_POD_SPEC: Mapping[str, Any] = {**_ACCOUNT, "imagePullSecrets": _pull_secrets}
_POD_STATUS: Mapping[str, Any] = {"containerStatuses": _containers, "initContainerStatuses": _containers}
_TEMPLATE: Mapping[str, Any] = {"metadata": {"annotations": _annotations}, "spec": _ACCOUNT}
