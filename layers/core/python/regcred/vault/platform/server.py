"""Reads a platform's resources in Vault, and carries out a plan. Only this module calls the server.

Contracts: https://developer.hashicorp.com/vault/api-docs/system and /identity; OpenBao serves the same paths.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any

import hvac
from hvac.adapters import Adapter
from hvac.exceptions import InvalidPath

from regcred.errors import ConflictError, MalformedError
from regcred.vault.http import without_namespace
from regcred.vault.platform.plan import CLUSTER, PREFIX, ChangeKind, PlatformStep, quota_prefix
from regcred.vault.platform.resource import Resource, ResourceKind


class PlatformServer:
    """One server's state, read on demand and cached. Create a new view after a change by others."""

    def __init__(self, vault: hvac.Client, *, quotas: bool = True) -> None:
        self._vault = vault
        # Quotas are in the root namespace, whatever namespace they limit.
        self._root = without_namespace(vault)
        self._quotas = quotas

    @property
    def namespace(self) -> str:
        """The namespace of everything but the quotas; empty for none."""
        return str(self._vault.adapter.namespace or "").strip("/")

    def observe(self, wanted: Iterable[Resource]) -> dict[Resource, Mapping[str, Any]]:
        """The wanted resources that exist in Vault."""
        found = ((resource, self._read(resource)) for resource in wanted)
        return {resource: values for resource, values in found if values is not None}

    def ours(self) -> list[Resource]:
        """All resources outside the mount with our prefix, and the roles of our sign-in methods."""
        methods = [name for name in self._methods if name.startswith(PREFIX)]
        resources = [Resource(ResourceKind.METHOD, name) for name in methods]
        resources += [
            Resource(ResourceKind.ROLE, f"{method}/{role}")
            for method in methods
            for role in self._list(f"auth/{method}/role")
        ]
        for kind, path in (
            (ResourceKind.POLICY, "sys/policies/acl"),
            (ResourceKind.ENTITY, "identity/entity/name"),
            (ResourceKind.GROUP, "identity/group/name"),
        ):
            resources += [Resource(kind, name) for name in self._list(path) if name.startswith(PREFIX)]
        if self._quotas:
            names = (self._answer(self._root.list, "sys/quotas/rate-limit") or {}).get("keys", [])
            prefix = quota_prefix(self.namespace)
            resources += [Resource(ResourceKind.QUOTA, name) for name in names if name.startswith(prefix)]
        return resources

    def has_documents(self, mount: str) -> bool:
        """Whether the mount exists and can store documents."""
        return (self._mounts.get(mount) or {}).get("type") == "kv"

    def methods(self) -> list[str]:
        """The names of all sign-in methods."""
        return list(self._methods)

    def clusters(self) -> frozenset[str]:
        """The clusters that have an entity."""
        names = self._entities.values()
        return frozenset(name.removeprefix(CLUSTER) for name in names if name.startswith(CLUSTER))

    def apply(self, action: PlatformStep) -> None:
        """Carry out one action.

        Raises:
            ConflictError: a secrets engine or sign-in method with this name has another type.
            MalformedError: the server refused the action; names the action.
            RegcredError: the errors of :mod:`regcred.vault.http`.
        """
        try:
            if action.verb is ChangeKind.DELETE:
                self._adapter(action.resource).delete(f"/v1/{_path(action.resource)}")
            else:
                self._write(action)
        except MalformedError as error:
            raise MalformedError(
                f"to {action}: the server refused it{_remedy(action)} ({error}); what was done before stays",
                field=error.field,
            ) from None
        # The next action may refer to the new resource.
        for cache in ("_methods", "_mounts", "_entities"):
            self.__dict__.pop(cache, None)

    def _write(self, action: PlatformStep) -> None:
        kind, values = action.resource.kind, action.values
        if kind in {ResourceKind.MOUNT, ResourceKind.METHOD} and "type" in action.changed:
            raise ConflictError(
                f"{action.resource} exists and is of another type than {values['type']}; move it away, or choose another name"
            )
        match kind:
            case ResourceKind.METHOD if action.verb is ChangeKind.UPDATE:
                self._post(f"{_path(action.resource)}/tune", values)
            case ResourceKind.MOUNT if action.verb is ChangeKind.UPDATE:
                self._post(f"{_path(action.resource)}/tune", values)
            case ResourceKind.ALIAS:
                self._write_alias(action.resource.name, values)
            case ResourceKind.ROLE if _loses_unique_ids(action):
                # Vault can't change this value from true to false. It needs a new role.
                self._vault.adapter.delete(f"/v1/{_path(action.resource)}")
                self._post(_path(action.resource), values)
            case ResourceKind.ENTITY:
                for alias in self._other_aliases(action.resource.name):
                    self._vault.adapter.delete(f"/v1/identity/entity-alias/id/{alias}")
                self._post(_path(action.resource), self._entity_body(action.resource, values))
            case ResourceKind.QUOTA:
                self._root.post(f"/v1/{_path(action.resource)}", json=dict(values))
            case ResourceKind.GROUP:
                # Send only differences: a person who may set members may not be allowed to set policies.
                changed = {name: values[name] for name in action.changed or values}
                self._post(_path(action.resource), self._group_body(action.resource, changed))
            case _:
                self._post(_path(action.resource), values)

    def _entity_body(self, entity: Resource, values: Mapping[str, Any]) -> dict[str, Any]:
        """The entity's values. Who declares the cluster is kept in its metadata unless the values say it."""
        held = self._read(entity) or {}
        owner = values.get("owner", held.get("owner", ""))
        metadata = {**values["metadata"], **({"owner": owner} if owner else {})}
        body = {name: value for name, value in values.items() if name not in {"other_aliases", "owner"}}
        return {**body, "metadata": metadata}

    def _write_alias(self, entity: str, values: Mapping[str, Any]) -> None:
        held = self._read(Resource(ResourceKind.ALIAS, entity)) or {}
        body = {
            "name": values["name"],
            "canonical_id": self._entity_ids[entity],
            "mount_accessor": self._methods[values["method"]]["accessor"],
        }
        self._post(f"identity/entity-alias/id/{held['id']}" if held else "identity/entity-alias", body)

    def _group_body(self, group: Resource, values: Mapping[str, Any]) -> dict[str, Any]:
        body = {name: value for name, value in values.items() if name != "members"}
        if "members" in values:
            held = self._get(_path(group)) or {}
            others = {
                member
                for member in held.get("member_entity_ids") or ()
                if not self._entities.get(member, "").startswith(CLUSTER)
            }
            body["member_entity_ids"] = sorted(
                others | {self._entity_ids[name] for name in values["members"]}
            )
        return body

    def _read(self, resource: Resource) -> Mapping[str, Any] | None:  # noqa: PLR0911 - one per kind
        kind, name = resource.kind, resource.name
        if (
            kind in {ResourceKind.METHOD_CONFIG, ResourceKind.ROLE}
            and name.partition("/")[0] not in self._methods
        ):
            return None
        if kind is ResourceKind.SIGNING_KEY and name.partition("/")[0] not in self._mounts:
            return None
        if kind is ResourceKind.MOUNT_CONFIG and not self.has_documents(name):
            return None
        match kind:
            case ResourceKind.MOUNT:
                return self._mounts.get(name)
            case ResourceKind.METHOD:
                return self._methods.get(name)
            case ResourceKind.ALIAS:
                return self._alias(name)
            case ResourceKind.GROUP:
                return self._group(name)
            case ResourceKind.ENTITY:
                held = self._get(_path(resource))
                return held and {**_owned(held), "other_aliases": self._other_aliases(name)}
            case ResourceKind.QUOTA:
                return self._answer(self._root.get, _path(resource))
        return self._get(_path(resource))

    def _adapter(self, resource: Resource) -> Adapter:
        return self._root if resource.kind is ResourceKind.QUOTA else self._vault.adapter

    def _other_aliases(self, entity: str) -> list[str]:
        """IDs of aliases that let a sign-in method other than the cluster's own sign in as the cluster."""
        held = self._get(f"identity/entity/name/{entity}") or {}
        own = self._methods.get(entity, {}).get("accessor")
        return sorted(alias["id"] for alias in held.get("aliases") or () if alias["mount_accessor"] != own)

    def _alias(self, entity: str) -> Mapping[str, Any] | None:
        methods = {method["accessor"]: name for name, method in self._methods.items()}
        held = self._get(f"identity/entity/name/{entity}") or {}
        for alias in held.get("aliases") or ():
            if (method := methods.get(alias["mount_accessor"], "")) == entity:
                return {"id": alias["id"], "name": alias["name"], "method": method}
        return None

    def _group(self, name: str) -> Mapping[str, Any] | None:
        held = self._get(f"identity/group/name/{name}")
        if held is None:
            return None
        names = (self._entities.get(member, "") for member in held.get("member_entity_ids") or ())
        return {**held, "members": sorted(member for member in names if member.startswith(CLUSTER))}

    @cached_property
    def _mounts(self) -> dict[str, Mapping[str, Any]]:
        return self._table("sys/mounts")

    @cached_property
    def _methods(self) -> dict[str, Mapping[str, Any]]:
        return self._table("sys/auth")

    @cached_property
    def _entities(self) -> dict[str, str]:
        answer = self._answer(self._vault.adapter.list, "identity/entity/id") or {}
        return {key: str(info["name"]) for key, info in answer.get("key_info", {}).items()}

    @property
    def _entity_ids(self) -> dict[str, str]:
        return {name: key for key, name in self._entities.items()}

    def _table(self, path: str) -> dict[str, Mapping[str, Any]]:
        return {name.rstrip("/"): values for name, values in (self._get(path) or {}).items()}

    def _list(self, path: str) -> list[str]:
        return list((self._answer(self._vault.adapter.list, path) or {}).get("keys", []))

    def _get(self, path: str) -> Mapping[str, Any] | None:
        return self._answer(self._vault.adapter.get, path)

    def _post(self, path: str, body: Mapping[str, Any]) -> None:
        self._vault.adapter.post(f"/v1/{path}", json=dict(body))

    @staticmethod
    def _answer(call: Callable[[str], Any], path: str) -> Mapping[str, Any] | None:
        try:
            answer = call(f"/v1/{path}")
        except InvalidPath:
            return None
        return answer.get("data") if isinstance(answer, dict) else None


def _owned(entity: Mapping[str, Any]) -> dict[str, Any]:
    """An entity's values with its owner apart from the rest of its metadata."""
    metadata = dict(entity.get("metadata") or {})
    return {**entity, "owner": metadata.pop("owner", ""), "metadata": metadata}


def _path(resource: Resource) -> str:
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


def _loses_unique_ids(action: PlatformStep) -> bool:
    return "resolve_aws_unique_ids" in action.changed and not action.values["resolve_aws_unique_ids"]


def _remedy(action: PlatformStep) -> str:
    if action.resource.kind is ResourceKind.POLICY and "subscribe_event_types" in str(
        action.values.get("policy")
    ):
        return "; only HashiCorp Vault has events, so set 'events: false' for OpenBao"
    return ""


def carry_out(server: PlatformServer, actions: Iterable[PlatformStep], *, prune: bool) -> list[PlatformStep]:
    """Carry out actions in order; deletions only with ``prune``. Return the actions that were carried out."""
    done = []
    for action in actions:
        if action.verb is not ChangeKind.DELETE or prune:
            server.apply(action)
            done.append(action)
    return done
