"""The part of a Kubernetes API that the CLI reads, in memory."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import parse_qs

from regcred.errors import MissingError, RefusedError


@dataclass
class FakeClusterApi:
    """Answers GET requests for objects and lists; answers 403 to paths that start with a ``forbidden``
    prefix."""

    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    forbidden: list[str] = field(default_factory=list)
    namespace: str = "default"
    gets: list[tuple[str, str]] = field(default_factory=list)
    selectors: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def get(self, path: str, query: str = "", *, accept: str = "application/json") -> dict[str, Any]:
        self.gets.append((path, accept))
        self.selectors += parse_qs(query).get("labelSelector", [])
        if any(path.startswith(prefix) for prefix in self.forbidden):
            raise RefusedError(f"the API server answered 403 to GET {path}")
        if path in self.objects:
            return self.objects[path]
        if path.rsplit("/", 1)[-1] in {"pods", "events"}:
            found = [obj for obj in self._below(path) if _selected(obj, query)]
            return {"items": found[: int(parse_qs(query).get("limit", ["500"])[0])]}
        raise MissingError(f"the API server answered 404 to GET {path}")

    def _below(self, path: str) -> list[dict[str, Any]]:
        return [obj for key, obj in self.objects.items() if key.rsplit("/", 1)[0] == path]


def _selected(obj: dict[str, Any], query: str) -> bool:
    labels = obj["metadata"].get("labels") or {}
    selector = parse_qs(query).get("labelSelector", [""])[0]
    field, _, value = parse_qs(query).get("fieldSelector", [""])[0].partition("=")
    return all(_matches(labels, part) for part in re.split(r",(?![^(]*\))", selector) if part) and (
        not field or obj.get(field) == value
    )


def _matches(labels: dict[str, str], requirement: str) -> bool:
    """Whether labels meet one requirement of a label selector; fails if the API server would refuse it."""
    if found := re.fullmatch(r"([\w./-]+) (in|notin) \(([^)]*)\)", requirement):
        key, operator, values = found[1], found[2], found[3].split(",")
        return (labels.get(key) in values) == (operator == "in")
    if found := re.fullmatch(r"([\w./-]+)=([\w.-]*)", requirement):
        return labels.get(found[1]) == found[2]
    if found := re.fullmatch(r"(!?)([\w./-]+)", requirement):
        return (found[2] in labels) != bool(found[1])
    raise AssertionError(f"the API server would refuse the selector {requirement!r}")
