"""A cluster's API as the command line reads it: objects by path, and what the user may not read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import parse_qs

from regcred.errors import MissingError, RefusedError


@dataclass
class FakeClusterApi:
    """Answers GET of objects and lists; ``forbidden`` holds prefixes of paths."""

    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    forbidden: list[str] = field(default_factory=list)
    namespace: str = "default"
    gets: list[tuple[str, str]] = field(default_factory=list)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def get(self, path: str, query: str = "", *, accept: str = "application/json") -> dict[str, Any]:
        self.gets.append((path, accept))
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
    selector = parse_qs(query).get("labelSelector", [""])[0]
    wanted = dict(pair.split("=", 1) for pair in selector.split(",") if pair)
    labels = obj["metadata"].get("labels") or {}
    field, _, value = parse_qs(query).get("fieldSelector", [""])[0].partition("=")
    return all(labels.get(key) == value for key, value in wanted.items()) and (
        not field or obj.get(field) == value
    )
