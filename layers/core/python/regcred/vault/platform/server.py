"""Reads a platform's resources in Vault. :mod:`regcred.vault.platform.writer` changes them.

Contracts: https://developer.hashicorp.com/vault/api-docs/system and /identity; OpenBao serves the same paths.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any

import hvac
from hvac.adapters import Adapter
from hvac.exceptions import InvalidPath

from regcred.errors import RefusedError
from regcred.vault.http import without_namespace
from regcred.vault.platform.plan import CLUSTER, PREFIX, quota_prefix
from regcred.vault.platform.resource import Resource, ResourceKind

_LISTS = {
    ResourceKind.POLICY: "sys/policies/acl",
    ResourceKind.ENTITY: "identity/entity/name",
    ResourceKind.GROUP: "identity/group/name",
    ResourceKind.QUOTA: "sys/quotas/rate-limit",
}
"""The kinds whose names can be listed with one request."""


class PlatformServer:
    """The state of one server. It is read on demand and cached, so it lacks later changes by others.

    Args:
        vault: The client.
        quotas: Whether the platform has quotas.
        lists: Whether to list the names of a kind before its first resource is read. Then resources that are
            not in the list need no request. This saves requests if there are many resources.
    """

    def __init__(self, vault: hvac.Client, *, quotas: bool = True, lists: bool = False) -> None:
        self.vault = vault
        # Quotas are in the root namespace, even those for another namespace.
        self.root = without_namespace(vault)
        self._quotas = quotas
        self._lists = lists
        self._listing = threading.Lock()
        self._listed: dict[ResourceKind, frozenset[str] | None] = {}
        self._entities: dict[str, Mapping[str, Any] | None] = {}

    @property
    def namespace(self) -> str:
        """The namespace of everything but the quotas; empty for none."""
        return str(self.vault.adapter.namespace or "").strip("/")

    def need_namespaces(self) -> None:
        """Check that the server has namespaces, if the client uses one.

        HashiCorp Vault Community Edition ignores the namespace of a request, so everything would be set up in
        the root namespace. Contract: https://developer.hashicorp.com/vault/api-docs/system/health, which
        needs no rights. OpenBao does not report an edition, and has namespaces.

        Raises:
            RefusedError: the server is HashiCorp Vault Community Edition.
        """
        if not self.namespace:
            return
        answer = self.root.get("/v1/sys/health", params={"standbyok": "true", "perfstandbyok": "true"})
        if isinstance(answer, Mapping) and answer.get("enterprise") is False:
            raise RefusedError(
                f"HashiCorp Vault Community Edition has no namespaces and ignores {self.namespace!r}; unset "
                "the namespace (VAULT_NAMESPACE)"
            )

    def observe(self, wanted: Iterable[Resource]) -> dict[Resource, Mapping[str, Any]]:
        """The wanted resources that exist in Vault."""
        found = ((resource, self.read(resource)) for resource in wanted)
        return {resource: values for resource, values in found if values is not None}

    def ours(self) -> list[Resource]:
        """All resources outside the mount with our prefix, and the roles of our sign-in methods."""
        methods = [name for name in self.method_table if name.startswith(PREFIX)]
        resources = [Resource(ResourceKind.METHOD, name) for name in methods]
        resources += [
            Resource(ResourceKind.ROLE, f"{method}/{role}")
            for method in methods
            for role in self._list(f"auth/{method}/role", self.vault.adapter)
        ]
        for kind in (ResourceKind.POLICY, ResourceKind.ENTITY, ResourceKind.GROUP):
            resources += [Resource(kind, name) for name in self._names(kind) if name.startswith(PREFIX)]
        if self._quotas:
            names, prefix = self._names(ResourceKind.QUOTA), quota_prefix(self.namespace)
            resources += [Resource(ResourceKind.QUOTA, name) for name in names if name.startswith(prefix)]
        return resources

    def has_documents(self, mount: str) -> bool:
        """Whether the mount exists and can store documents."""
        return (self._mounts.get(mount) or {}).get("type") == "kv"

    def methods(self) -> list[str]:
        """The names of all sign-in methods."""
        return list(self.method_table)

    def clusters(self) -> frozenset[str]:
        """The clusters that have an entity."""
        names = self.entities.values()
        return frozenset(name.removeprefix(CLUSTER) for name in names if name.startswith(CLUSTER))

    def read(self, resource: Resource) -> Mapping[str, Any] | None:  # noqa: PLR0911 - one per kind
        """The values of a resource; None if it does not exist."""
        if self._cannot_exist(resource):
            return None
        kind, name = resource.kind, resource.name
        match kind:
            case ResourceKind.MOUNT:
                return self._mounts.get(name)
            case ResourceKind.METHOD:
                return self.method_table.get(name)
            case ResourceKind.ALIAS:
                return self._alias(name)
            case ResourceKind.GROUP:
                return self._group(name)
            case ResourceKind.ENTITY:
                entity = self.entity(name)
                return entity and {**_with_owner(entity), "other_aliases": self.other_aliases(name)}
            case ResourceKind.QUOTA:
                return self._answer(self.root.get, path_of(resource))
        return self.get(path_of(resource))

    def other_aliases(self, entity: str) -> list[str]:
        """The IDs of aliases through which another sign-in method than the cluster's own gives its rights."""
        values = self.entity(entity) or {}
        own = self.method_table.get(entity, {}).get("accessor")
        return sorted(alias["id"] for alias in values.get("aliases") or () if alias["mount_accessor"] != own)

    def _alias(self, entity: str) -> Mapping[str, Any] | None:
        methods = {method["accessor"]: name for name, method in self.method_table.items()}
        values = self.entity(entity) or {}
        for alias in values.get("aliases") or ():
            if (method := methods.get(alias["mount_accessor"], "")) == entity:
                return {"id": alias["id"], "name": alias["name"], "method": method}
        return None

    def _group(self, name: str) -> Mapping[str, Any] | None:
        group = self.get(f"identity/group/name/{name}")
        if group is None:
            return None
        names = (self.entities.get(member, "") for member in group.get("member_entity_ids") or ())
        return {**group, "members": sorted(member for member in names if member.startswith(CLUSTER))}

    def entity(self, name: str) -> Mapping[str, Any] | None:
        """An entity as Vault returns it, with its ID and its aliases; None if it does not exist."""
        if name not in self._entities:
            self._entities[name] = self.get(f"identity/entity/name/{name}")
        return self._entities[name]

    def refresh(self, kind: ResourceKind) -> None:
        """Forget cached values that a write of this kind may have changed."""
        caches = {ResourceKind.MOUNT: "_mounts", ResourceKind.METHOD: "method_table"}
        if kind in {ResourceKind.ENTITY, ResourceKind.ALIAS}:
            self._entities.clear()
            self.__dict__.pop("entities", None)
        elif kind in caches:
            self.__dict__.pop(caches[kind], None)

    def _cannot_exist(self, resource: Resource) -> bool:
        """Whether the parent of a resource does not exist, or a list does not contain the resource."""
        kind, parent = resource.kind, resource.name.partition("/")[0]
        if kind in {ResourceKind.METHOD_CONFIG, ResourceKind.ROLE}:
            return parent not in self.method_table
        if kind is ResourceKind.SIGNING_KEY:
            return parent not in self._mounts
        if kind is ResourceKind.MOUNT_CONFIG:
            return not self.has_documents(resource.name)
        return self._lists and self._is_not_listed(resource)

    def _is_not_listed(self, resource: Resource) -> bool:
        """Whether the list of its kind lacks a resource. False if the token may not list."""
        kind = ResourceKind.ENTITY if resource.kind is ResourceKind.ALIAS else resource.kind
        if kind not in _LISTS:
            return False
        with self._listing:
            if kind not in self._listed:
                try:
                    self._listed[kind] = frozenset(self._names(kind))
                except RefusedError:
                    self._listed[kind] = None
            names = self._listed[kind]
        return names is not None and resource.name not in names

    def _names(self, kind: ResourceKind) -> list[str]:
        return self._list(_LISTS[kind], self.root if kind is ResourceKind.QUOTA else self.vault.adapter)

    @cached_property
    def _mounts(self) -> dict[str, Mapping[str, Any]]:
        return self._table("sys/mounts")

    @cached_property
    def method_table(self) -> dict[str, Mapping[str, Any]]:
        """The sign-in methods by name."""
        return self._table("sys/auth")

    @cached_property
    def entities(self) -> dict[str, str]:
        """The names of all entities by their ID."""
        answer = self._answer(self.vault.adapter.list, "identity/entity/id") or {}
        return {key: str(info["name"]) for key, info in answer.get("key_info", {}).items()}

    @property
    def entity_ids(self) -> dict[str, str]:
        """The IDs of all entities by their name."""
        return {name: key for key, name in self.entities.items()}

    def _table(self, path: str) -> dict[str, Mapping[str, Any]]:
        return {name.rstrip("/"): values for name, values in (self.get(path) or {}).items()}

    def _list(self, path: str, adapter: Adapter) -> list[str]:
        return list((self._answer(adapter.list, path) or {}).get("keys", []))

    def get(self, path: str) -> Mapping[str, Any] | None:
        """The data at a path; None if there is nothing."""
        return self._answer(self.vault.adapter.get, path)

    @staticmethod
    def _answer(call: Callable[[str], Any], path: str) -> Mapping[str, Any] | None:
        try:
            answer = call(f"/v1/{path}")
        except InvalidPath:
            return None
        return answer.get("data") if isinstance(answer, dict) else None


def _with_owner(entity: Mapping[str, Any]) -> dict[str, Any]:
    """An entity's values, with its owner as a value of its own and not in the metadata."""
    metadata = dict(entity.get("metadata") or {})
    return {**entity, "owner": metadata.pop("owner", ""), "metadata": metadata}


def path_of(resource: Resource) -> str:
    """The path of a resource in the API."""
    method, _, role = resource.name.partition("/")
    config = "config/client" if resource.name.endswith("-iam") else "config"
    return {
        ResourceKind.MOUNT: f"sys/mounts/{resource.name}",
        ResourceKind.MOUNT_CONFIG: f"{resource.name}/config",
        ResourceKind.SIGNING_KEY: f"{method}/keys/{role}",
        ResourceKind.IDENTITY_KEY: f"identity/oidc/key/{resource.name}",
        ResourceKind.IDENTITY_ROLE: f"identity/oidc/role/{resource.name}",
        ResourceKind.POLICY: f"sys/policies/acl/{resource.name}",
        ResourceKind.METHOD: f"sys/auth/{resource.name}",
        ResourceKind.METHOD_CONFIG: f"auth/{resource.name}/{config}",
        ResourceKind.ROLE: f"auth/{method}/role/{role}",
        ResourceKind.ENTITY: f"identity/entity/name/{resource.name}",
        ResourceKind.ALIAS: f"identity/entity/name/{resource.name}",
        ResourceKind.GROUP: f"identity/group/name/{resource.name}",
        ResourceKind.QUOTA: f"sys/quotas/rate-limit/{resource.name}",
    }[resource.kind]
