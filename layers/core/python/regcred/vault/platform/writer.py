"""Carries out a plan for a platform's resources in Vault.

Contracts: https://developer.hashicorp.com/vault/api-docs/system and /identity; OpenBao serves the same paths.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hvac.adapters import Adapter

from regcred.errors import ConflictError, MalformedError
from regcred.vault.platform.plan import CLUSTER, ChangeKind, PlatformStep
from regcred.vault.platform.resource import Resource, ResourceKind
from regcred.vault.platform.server import PlatformServer, path_of


class PlatformWriter:
    """Writes to one server.

    Args:
        server: The resources in Vault. They are read again after each write.
    """

    def __init__(self, server: PlatformServer) -> None:
        self._server = server

    def apply(self, action: PlatformStep) -> None:
        """Carry out one action.

        Raises:
            ConflictError: a secrets engine or sign-in method with this name has another type.
            MalformedError: the server refused the action; names the action.
            RegcredError: the errors of :mod:`regcred.vault.http`.
        """
        try:
            if action.verb is ChangeKind.DELETE:
                self._adapter(action.resource).delete(f"/v1/{path_of(action.resource)}")
            else:
                self._write(action)
        except MalformedError as error:
            raise MalformedError(
                f"to {action}: the server refused it{_remedy(action)} ({error}); what was done before stays",
                field=error.field,
            ) from None
        # The next action may refer to the new resource.
        self._server.refresh()

    def _write(self, action: PlatformStep) -> None:
        kind, values = action.resource.kind, action.values
        if kind in {ResourceKind.MOUNT, ResourceKind.METHOD} and "type" in action.changed:
            raise ConflictError(
                f"{action.resource} exists and is of another type than {values['type']}; move it away, or "
                "choose another name"
            )
        match kind:
            case ResourceKind.METHOD if action.verb is ChangeKind.UPDATE:
                self._post(f"{path_of(action.resource)}/tune", values)
            case ResourceKind.MOUNT if action.verb is ChangeKind.UPDATE:
                self._post(f"{path_of(action.resource)}/tune", values)
            case ResourceKind.ALIAS:
                self._write_alias(action.resource.name, values)
            case ResourceKind.ROLE if _loses_unique_ids(action):
                # Vault can't change this value from true to false. It needs a new role.
                self._server.vault.adapter.delete(f"/v1/{path_of(action.resource)}")
                self._post(path_of(action.resource), values)
            case ResourceKind.ENTITY:
                for alias in self._server.other_aliases(action.resource.name):
                    self._server.vault.adapter.delete(f"/v1/identity/entity-alias/id/{alias}")
                self._post(path_of(action.resource), self._entity_body(action.resource, values))
            case ResourceKind.QUOTA:
                self._server.root.post(f"/v1/{path_of(action.resource)}", json=dict(values))
            case ResourceKind.GROUP:
                # Send only differences: a person who may set members may not be allowed to set policies.
                changed = {name: values[name] for name in action.changed or values}
                self._post(path_of(action.resource), self._group_body(action.resource, changed))
            case _:
                self._post(path_of(action.resource), values)

    def _entity_body(self, entity: Resource, values: Mapping[str, Any]) -> dict[str, Any]:
        """The entity's values. Who declares the cluster is kept in its metadata unless the values say it."""
        held = self._server.read(entity) or {}
        owner = values.get("owner", held.get("owner", ""))
        metadata = {**values["metadata"], **({"owner": owner} if owner else {})}
        body = {name: value for name, value in values.items() if name not in {"other_aliases", "owner"}}
        return {**body, "metadata": metadata}

    def _write_alias(self, entity: str, values: Mapping[str, Any]) -> None:
        held = self._server.read(Resource(ResourceKind.ALIAS, entity)) or {}
        body = {
            "name": values["name"],
            "canonical_id": self._server.entity_ids[entity],
            "mount_accessor": self._server.method_table[values["method"]]["accessor"],
        }
        self._post(f"identity/entity-alias/id/{held['id']}" if held else "identity/entity-alias", body)

    def _group_body(self, group: Resource, values: Mapping[str, Any]) -> dict[str, Any]:
        body = {name: value for name, value in values.items() if name != "members"}
        if "members" in values:
            held = self._server.get(path_of(group)) or {}
            others = {
                member
                for member in held.get("member_entity_ids") or ()
                if not self._server.entities.get(member, "").startswith(CLUSTER)
            }
            body["member_entity_ids"] = sorted(
                others | {self._server.entity_ids[name] for name in values["members"]}
            )
        return body

    def _adapter(self, resource: Resource) -> Adapter:
        return self._server.root if resource.kind is ResourceKind.QUOTA else self._server.vault.adapter

    def _post(self, path: str, body: Mapping[str, Any]) -> None:
        self._server.vault.adapter.post(f"/v1/{path}", json=dict(body))


def _loses_unique_ids(action: PlatformStep) -> bool:
    return "resolve_aws_unique_ids" in action.changed and not action.values["resolve_aws_unique_ids"]


def _remedy(action: PlatformStep) -> str:
    if action.resource.kind is ResourceKind.POLICY and "subscribe_event_types" in str(
        action.values.get("policy")
    ):
        return "; only HashiCorp Vault has events, so set 'events: false' for OpenBao"
    if action.resource.kind is ResourceKind.QUOTA:
        return (
            f"; a path can have one quota only, so delete any other quota of {action.values.get('path')} or "
            "set 'quotas: {enabled: false}'"
        )
    return ""


def carry_out(server: PlatformServer, actions: Iterable[PlatformStep], *, prune: bool) -> list[PlatformStep]:
    """Carry out actions in order; deletions only with ``prune``. Return the actions that were carried out."""
    writer = PlatformWriter(server)
    done = []
    for action in actions:
        if action.verb is not ChangeKind.DELETE or prune:
            writer.apply(action)
            done.append(action)
    return done
