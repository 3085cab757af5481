"""Creates JSON schemas of the kinds from the models, for editors and for checks before a commit."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from regcred.declare.kinds import API, DeclaredKind, Grant, SecretFrom
from regcred.registry import catalog
from regcred.vault.platform.declaration import ClusterTrust, Declaration
from regcred.vault.records.declared import ProjectPolicy

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_LABEL = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"}


def schema(kind: DeclaredKind) -> dict[str, Any]:
    """The schema of one kind."""
    definitions: dict[str, Any] = {}
    scope = {DeclaredKind.REGISTRY: ["project"], DeclaredKind.GRANT: ["cluster"]}.get(kind, [])
    properties: dict[str, Any] = {
        "apiVersion": {"const": API},
        "kind": {"const": str(kind)},
        "metadata": _object(dict.fromkeys(("name", *scope), _LABEL), required=["name", *scope]),
        "spec": _spec(kind, definitions),
    }
    if kind is DeclaredKind.REGISTRY:
        properties["secretFrom"] = _model(SecretFrom, definitions)
    required = [
        "apiVersion",
        "kind",
        "metadata",
        *([] if kind in {DeclaredKind.PLATFORM, DeclaredKind.PROJECT} else ["spec"]),
    ]
    found = {"$schema": DIALECT, "title": f"Regcred {kind}", **_object(properties, required=required)}
    return found | ({"$defs": definitions} if definitions else {})


def _spec(kind: DeclaredKind, definitions: dict[str, Any]) -> dict[str, Any]:
    if kind is DeclaredKind.REGISTRY:
        return {"oneOf": [_provider(name, definitions) for name in catalog.names()]}
    models: dict[DeclaredKind, type[BaseModel]] = {
        DeclaredKind.PLATFORM: Declaration,
        DeclaredKind.CLUSTER: ClusterTrust,
        DeclaredKind.PROJECT: ProjectPolicy,
        DeclaredKind.GRANT: Grant,
    }
    found = _model(models[kind], definitions)
    if kind is DeclaredKind.PLATFORM:
        # In files, each cluster is a separate object.
        del found["properties"]["clusters"]
        definitions.pop("ClusterTrust", None)
    return found


def _provider(name: str, definitions: dict[str, Any]) -> dict[str, Any]:
    found = _model(catalog.definition_model(name), definitions)
    return found | {
        "title": name,
        "description": catalog.definition_model(name).summary,
        "properties": found["properties"] | {"provider": {"const": name}},
    }


def _model(model: type[BaseModel], definitions: dict[str, Any]) -> dict[str, Any]:
    found = model.model_json_schema(ref_template="#/$defs/{model}")
    definitions |= {name: _without_docstring(nested) for name, nested in found.pop("$defs", {}).items()}
    return _without_docstring(found)


def _without_docstring(found: dict[str, Any]) -> dict[str, Any]:
    """Remove the description, which pydantic takes from the class's docstring: it is no text for users."""
    return {name: value for name, value in found.items() if name != "description"}


def _object(properties: dict[str, Any], *, required: list[str]) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": required,
        "properties": properties,
    }
