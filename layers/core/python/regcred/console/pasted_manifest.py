"""Parses what a person pastes: a manifest with Pods, or names of images. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from regcred.cluster.annotations import requested
from regcred.cluster.model import WORKLOADS
from regcred.errors import MalformedError
from regcred.registry_reference import Reference
from regcred.views.explanation import Image, Subject
from regcred.wording import plural
from regcred.yaml_documents import documents

TEXT_MAX = 60_000
"""The maximum length of the text, in characters, because YAML is slow."""

OBJECTS_MAX = 20
IMAGES_MAX = 50

_IMAGE = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._:/@-]{0,400}")
_TEMPLATES = {kind.name: kind.template for kind in WORKLOADS}


@dataclass(frozen=True, slots=True)
class Pasted:
    """One object with Pods, or a list of images."""

    title: str
    subject: Subject
    requested: Mapping[Reference, str]
    malformed: tuple[str, ...] = ()


def read(text: str, *, namespace: str = "") -> list[Pasted]:
    """Parse a manifest in YAML or JSON, or names of images, one per line.

    Args:
        text: The pasted text.
        namespace: The namespace for objects that name none.

    Raises:
        MalformedError: It is neither. The message names the line.
    """
    if not text.strip():
        raise MalformedError("paste a manifest, or the name of an image", field="text")
    if len(text) > TEXT_MAX:
        raise MalformedError(f"is longer than {TEXT_MAX:,} characters; paste one object", field="text")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if all(_IMAGE.fullmatch(line) for line in lines):
        images = tuple(Image(f"image {number}", line) for number, line in enumerate(lines[:IMAGES_MAX], 1))
        title = plural(len(images), "image")
        return [Pasted(title, Subject("Manifest", namespace, "", images, frozenset()), {})]
    found = [_pasted(obj, namespace) for obj in _objects(text)]
    if not found:
        raise MalformedError(
            "contains no object with Pods: paste a Pod or a workload such as a Deployment", field="text"
        )
    return found


def _objects(text: str) -> list[Mapping[str, Any]]:
    """The first objects with Pods, from the documents and the ``items`` of lists."""
    objects = []
    for document in documents(text, "the manifest"):
        content = document.content
        items = content.get("items") if isinstance(content, dict) and "items" in content else [content]
        objects += [item for item in (items if isinstance(items, list) else []) if _has_pods(item)]
    return objects[:OBJECTS_MAX]


def _has_pods(item: Any) -> bool:
    return isinstance(item, dict) and bool(_containers(_at(item, (*_template(item), "spec"))))


def _template(obj: Mapping[str, Any]) -> tuple[str, ...]:
    """The path of the pod template. An unknown kind gets the usual path."""
    return _TEMPLATES.get(str(obj.get("kind")), ("spec", "template"))


def _at(obj: Any, path: tuple[str, ...]) -> Mapping[str, Any]:
    for part in path:
        obj = obj.get(part) if isinstance(obj, dict) else None
    return obj if isinstance(obj, dict) else {}


def _containers(spec: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    groups = [spec.get(name) for name in ("initContainers", "containers", "ephemeralContainers")]
    return [item for group in groups if isinstance(group, list) for item in group if isinstance(item, dict)]


def _pasted(obj: Mapping[str, Any], namespace: str) -> Pasted:
    template, metadata = _template(obj), _at(obj, ("metadata",))
    kind = str(obj.get("kind") or "Pod")[:80]
    name = str(metadata.get("name") or "without a name")[:253]
    spec = _at(obj, (*template, "spec"))
    sources = [(f"{kind} {name}", _texts(_at(metadata, ("annotations",))))]
    if template:
        annotations = _texts(_at(obj, (*template, "metadata", "annotations")))
        sources.append((f"the pod template of {kind} {name}", annotations))
    wanted: dict[Reference, str] = {}
    for where, annotations in sources:
        for key, value in annotations.items():
            for reference in requested({key: value}).references:
                wanted.setdefault(reference, f"annotation {key} on {where}")
    secrets = spec.get("imagePullSecrets")
    named = (
        [item.get("name") for item in secrets if isinstance(item, dict)] if isinstance(secrets, list) else []
    )
    images = tuple(
        Image(str(item.get("name") or "without a name")[:80], str(item.get("image") or "")[:500])
        for item in _containers(spec)[:IMAGES_MAX]
    )
    subject = Subject(
        kind="Manifest",
        namespace=str(metadata.get("namespace") or namespace)[:63],
        name=name,
        images=images,
        named=frozenset(str(item) for item in named if item),
    )
    return Pasted(
        f"{kind} {name}", subject, wanted, requested(*(annotations for _, annotations in sources)).malformed
    )


def _texts(annotations: Mapping[str, Any]) -> dict[str, str]:
    return {str(key): str(value)[:2000] for key, value in annotations.items()}
