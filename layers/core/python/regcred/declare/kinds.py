"""The objects that a file may declare: their kinds, names and values. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, Self, TypeVar

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from regcred.errors import MalformedError
from regcred.registry.definition import BaseDefinition
from regcred.registry.parsing import parse
from regcred.registry_reference import Reference
from regcred.vault.platform.declaration import ClusterTrust, Declaration
from regcred.vault.records.declared import ClusterGrants, ProjectPolicy
from regcred.vault.records.document import Declared, Label, malformed
from regcred.yaml_documents import YamlDocument

API = "regcred.dev/v1"

M = TypeVar("M", bound=BaseModel)


class DeclaredKind(StrEnum):
    """The kinds of files."""

    PLATFORM = "Platform"
    CLUSTER = "Cluster"
    PROJECT = "Project"
    REGISTRY = "Registry"
    GRANT = "Grant"


@dataclass(frozen=True, order=True, slots=True)
class ObjectKey:
    """The identity of an object."""

    kind: DeclaredKind
    scope: str
    """The project of a registry, or the cluster of a grant; otherwise empty."""
    name: str
    """The object's name. For a grant, it is the project's name."""

    def __str__(self) -> str:
        return f"{self.kind} {self.scope}/{self.name}" if self.scope else f"{self.kind} {self.name}"

    @property
    def reference(self) -> Reference:
        """The reference of a registry."""
        return Reference(self.scope, self.name)


class Grant(Declared):
    """The spec of a Grant: the namespaces of a cluster that may use a project."""

    namespaces: list[str] = Field(
        default=[], description="Exact names, or patterns (team-a-*) if globs is true."
    )
    globs: bool = Field(
        default=False,
        description="Whether names may contain '*'. If true, all grants of the cluster may have patterns.",
    )
    delegated: list[str] = Field(
        default=[],
        description=(
            "Namespaces or patterns (team-a-*) that the project's admins may grant by themselves "
            "('regcred grant own')."
        ),
    )

    @field_validator("namespaces", "delegated")
    @classmethod
    def _sorted(cls, namespaces: list[str]) -> list[str]:
        return sorted(set(namespaces))

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if not (self.namespaces or self.delegated):
            raise ValueError("name at least one namespace in namespaces or delegated")
        return self

    @classmethod
    def if_any(cls, namespaces: Sequence[str], delegated: Sequence[str], *, globs: bool) -> Self | None:
        """A grant of these namespaces; None if there are none."""
        if not (namespaces or delegated):
            return None
        return cls(namespaces=list(namespaces), delegated=list(delegated), globs=globs)

    @classmethod
    def of(cls, grants: ClusterGrants, project: str) -> Self | None:
        """The part of a cluster's grants for a project; None if there is none."""
        return cls.if_any(
            grants.grants.get(project, []), grants.delegated.get(project, []), globs=grants.globs
        )


class VaultSecret(Declared):
    """A secret in another KV v2 mount. The command reads it with the user's token."""

    mount: str = Field(min_length=1)
    path: str = Field(min_length=1)


class SecretFrom(Declared):
    """The source of a registry's upstream secret. The file itself never contains the secret."""

    file: str = Field(
        default="", description="A YAML or JSON file. The path is relative to the file that names it."
    )
    stdin: bool = Field(
        default=False,
        description="Read a mapping of PROJECT/REGISTRY to the fields of the secret from standard input.",
    )
    vault: VaultSecret | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(map(bool, (self.file, self.stdin, self.vault))) != 1:
            raise ValueError("write exactly one of file, stdin and vault")
        return self

    def __str__(self) -> str:
        if self.vault:
            return f"Vault, {self.vault.mount}/{self.vault.path}"
        return f"file {self.file}" if self.file else "standard input"


class Metadata(Declared):
    """The metadata of an object."""

    name: Label
    project: Label | None = None
    cluster: Label | None = None


class DeclaredObject(Declared):
    """The fields that all kinds have."""

    apiVersion: Literal["regcred.dev/v1"]  # noqa: N815 - as Kubernetes writes it
    kind: DeclaredKind
    metadata: Metadata
    spec: dict[str, Any] = Field(default_factory=dict)
    secretFrom: SecretFrom | None = None  # noqa: N815 - as Kubernetes writes it

    def key(self) -> ObjectKey:
        """The identity of the object.

        Raises:
            MalformedError: A field is missing, or does not belong to this kind.
        """
        needs = {DeclaredKind.REGISTRY: "project", DeclaredKind.GRANT: "cluster"}.get(self.kind)
        for field in ("project", "cluster"):
            given = getattr(self.metadata, field)
            if field == needs and given is None:
                raise MalformedError(
                    f"metadata.{field}: is missing; a {self.kind} needs it", field="metadata"
                )
            if field != needs and given is not None:
                raise MalformedError(
                    f"metadata.{field}: is not a field of a {self.kind}; remove it", field=f"metadata.{field}"
                )
        if self.secretFrom and self.kind is not DeclaredKind.REGISTRY:
            raise MalformedError(
                f"secretFrom: is not a field of a {self.kind}; remove it", field="secretFrom"
            )
        return ObjectKey(self.kind, getattr(self.metadata, needs) if needs else "", self.metadata.name)


Value = Declaration | ClusterTrust | ProjectPolicy | Grant | BaseDefinition
"""The content of an object of each kind."""


@dataclass(frozen=True, slots=True)
class Item:
    """One declared object."""

    key: ObjectKey
    value: Value
    where: str
    """File and line, for error texts."""
    source: str = ""
    """The file's name."""
    secret: SecretFrom | None = None


def item(text: YamlDocument) -> Item:
    """Parse a document.

    Raises:
        MalformedError: A field is wrong. The message names the file, the line and the field.
    """
    content = text.content
    if not isinstance(content, dict):
        raise MalformedError(f"{text.at()}: is not an object; write apiVersion, kind, metadata and spec")
    envelope = _model(DeclaredObject, content, text)
    try:
        key = envelope.key()
    except MalformedError as error:
        raise MalformedError(f"{text.at(error.field)}: {error}", field=error.field) from None
    return Item(key, _value(key, envelope.spec, text), text.at(), text.where, envelope.secretFrom)


def _value(key: ObjectKey, spec: Mapping[str, Any], text: YamlDocument) -> Value:
    if key.kind is DeclaredKind.PLATFORM:
        return _platform(spec, text, key)
    if key.kind is DeclaredKind.CLUSTER:
        return _model(ClusterTrust, spec, text, under="spec", name=str(key))
    if key.kind is DeclaredKind.PROJECT:
        return normal(_model(ProjectPolicy, spec, text, under="spec", name=str(key)))
    if key.kind is DeclaredKind.GRANT:
        grant = _model(Grant, spec, text, under="spec", name=str(key))
        # ClusterGrants checks the names and patterns.
        granted = {"grants": {key.name: grant.namespaces}, "globs": grant.globs}
        _model(ClusterGrants, granted, text, under="spec.namespaces", name=str(key))
        delegated = {"delegated": {key.name: grant.delegated}}
        _model(ClusterGrants, delegated, text, under="spec.delegated", name=str(key))
        return grant
    try:
        return parse(spec, where="")
    except MalformedError as error:
        return parse(spec, where=f"{text.at(f'spec.{error.field}')}: {key}")


def _platform(spec: Mapping[str, Any], text: YamlDocument, key: ObjectKey) -> Declaration:
    if "clusters" in spec:
        raise MalformedError(
            f"{text.at('spec.clusters')}: {key}: clusters: is not a field of a Platform; write each "
            "cluster as a document of kind Cluster",
            field="spec.clusters",
        )
    return _model(Declaration, spec, text, under="spec", name=str(key))


def normal(policy: ProjectPolicy) -> ProjectPolicy:
    """A project's policy with sorted lists, because their order has no meaning."""
    return policy.model_copy(
        update={
            "hosts": sorted(set(policy.hosts)),
            "accounts": sorted(set(policy.accounts)),
            "clusters": sorted(set(policy.clusters)),
            "paths": {host: sorted(set(paths)) for host, paths in sorted(policy.paths.items())},
        }
    )


def _model(model: type[M], content: Any, text: YamlDocument, *, under: str = "", name: str = "") -> M:
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = malformed(error, where="").field
        path = ".".join(filter(None, (under, first)))
        at = text.at(path)
        raise malformed(error, where=f"{at}: {name}" if name else at) from None
