"""Converts the contents of Vault to files that ``apply`` reads. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from regcred.declare.kinds import API, DeclaredKind, Grant, ObjectKey, normal
from regcred.declare.live_objects import Live
from regcred.vault.records.declared import ClusterGrants

PLATFORM = "platform"
"""The name of the exported Platform. A mount has only one Platform, and its name has no effect."""

COMMENT = "# The upstream secret stays in Vault. To create this registry in another Vault, add secretFrom.\n"


def objects(live: Live) -> Iterator[tuple[ObjectKey, dict[str, Any], bool]]:
    """Each object that can be read, its content, and whether it has an upstream secret."""
    yield from _operators(live)
    for name, project in sorted(live.projects.items()):
        if project.value:
            key = ObjectKey(DeclaredKind.PROJECT, "", name)
            spec = normal(project.value).model_dump(mode="json", exclude_defaults=True)
            yield key, _object(key, spec), False
    for reference, registry in sorted(live.registries.items()):
        if registry.value:
            key = ObjectKey(DeclaredKind.REGISTRY, reference.project, reference.registry)
            yield key, _object(key, registry.value.content()), bool(registry.value.upstream_fields())
    for cluster_name, grants in sorted(live.clusters.items()):
        all_grants = grants.value or ClusterGrants()
        for project_name in sorted({*all_grants.grants, *all_grants.delegated}):
            if grant := Grant.of(all_grants, project_name):
                key = ObjectKey(DeclaredKind.GRANT, cluster_name, project_name)
                globs = any("*" in name for name in grant.namespaces)
                spec = grant.model_copy(update={"globs": globs}).model_dump(
                    mode="json", exclude_defaults=True
                )
                yield key, _object(key, spec), False


def _operators(live: Live) -> Iterator[tuple[ObjectKey, dict[str, Any], bool]]:
    if live.platform.declaration:
        key = ObjectKey(DeclaredKind.PLATFORM, "", PLATFORM)
        spec = live.platform.declaration[0].model_dump(mode="json", exclude_defaults=True)
        yield key, _object(key, spec), False
    for name, cluster in sorted(live.platform.clusters.items()):
        if cluster.trust:
            key = ObjectKey(DeclaredKind.CLUSTER, "", name)
            yield key, _object(key, cluster.trust.model_dump(mode="json", exclude_defaults=True)), False


def unreadable(live: Live) -> list[str]:
    """The objects that can't be exported because they can't be read."""
    return sorted(
        [f"project {name}" for name, found in live.projects.items() if found.value is None]
        + [f"project {name}" for name in live.hidden]
        + [f"registry {reference}" for reference, found in live.registries.items() if found.value is None]
        + [
            f"sign-in of cluster {name}"
            for name, found in live.platform.clusters.items()
            if found.trust is None
        ]
        + [f"grants of cluster {name}" for name, found in live.clusters.items() if found.value is None]
    )


def notes(live: Live) -> list[str]:
    """Notes about the parts of the platform that a file can't declare."""
    return live.platform.declaration[1] if live.platform.declaration else []


def text(content: dict[str, Any], *, secret: bool) -> str:
    """One object as YAML."""
    body = yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=False, width=110)
    return (COMMENT if secret else "") + body


def path(key: ObjectKey) -> str:
    """The path of the object's file in a folder."""
    if key.kind is DeclaredKind.PLATFORM:
        return "platform/platform.yaml"
    folder = {
        DeclaredKind.CLUSTER: "clusters",
        DeclaredKind.PROJECT: "projects",
        DeclaredKind.REGISTRY: "registries",
        DeclaredKind.GRANT: "grants",
    }[key.kind]
    return "/".join(filter(None, (folder, key.scope, f"{key.name}.yaml")))


class _Dumper(yaml.SafeDumper):
    """Writes a text of several lines, such as a PEM key, as a block."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def _object(key: ObjectKey, spec: dict[str, Any]) -> dict[str, Any]:
    scope = {DeclaredKind.REGISTRY: {"project": key.scope}, DeclaredKind.GRANT: {"cluster": key.scope}}.get(
        key.kind, {}
    )
    return {
        "apiVersion": API,
        "kind": str(key.kind),
        "metadata": {"name": key.name, **scope},
        **({"spec": spec} if spec else {}),
    }
