"""Carries out the steps of a plan for a platform in Vault.

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
        server: The state of the server. It is read again after each write.
    """

    def __init__(self, server: PlatformServer) -> None:
        self._server = server

    def apply(self, step: PlatformStep) -> None:
        """Carry out one step.

        Raises:
            ConflictError: a secrets engine, sign-in method or signing key with this name has settings that
                Vault can't change.
            MalformedError: the server refused the step. The error names the step.
            RegcredError: the errors of :mod:`regcred.vault.http`.
        """
        try:
            if step.verb is ChangeKind.DELETE:
                self._adapter(step.resource).delete(f"/v1/{path_of(step.resource)}")
            else:
                self._write(step)
        except MalformedError as error:
            raise MalformedError(
                f"the server refused to {step}{_remedy(step)} ({error}); earlier steps stay done",
                field=error.field,
            ) from None
        self._server.refresh(step.resource.kind)  # the next step may refer to the new resource

    def _write(self, step: PlatformStep) -> None:
        kind, values = step.resource.kind, step.values
        _check_type(step)
        match kind:
            case ResourceKind.SIGNING_KEY if step.verb is ChangeKind.UPDATE:
                raise ConflictError(_replace_key(step))
            case ResourceKind.METHOD if step.verb is ChangeKind.UPDATE:
                self._post(f"{path_of(step.resource)}/tune", values)
            case ResourceKind.MOUNT if step.verb is ChangeKind.UPDATE:
                self._post(f"{path_of(step.resource)}/tune", self._mount_body(step.resource, values))
            case ResourceKind.ALIAS:
                self._write_alias(step.resource.name, values)
            case ResourceKind.ROLE if _loses_unique_ids(step):
                # Vault can't change this value from true to false, so the role is created again.
                self._server.vault.adapter.delete(f"/v1/{path_of(step.resource)}")
                self._post(path_of(step.resource), values)
            case ResourceKind.ENTITY:
                for alias in self._server.other_aliases(step.resource.name):
                    self._server.vault.adapter.delete(f"/v1/identity/entity-alias/id/{alias}")
                self._post(path_of(step.resource), self._entity_body(step.resource, values))
            case ResourceKind.QUOTA:
                self._server.root.post(f"/v1/{path_of(step.resource)}", json=dict(values))
            case ResourceKind.GROUP:
                # Send only differences: a person who may set members may not be allowed to set policies.
                changed = {name: values[name] for name in step.changed or values}
                self._post(path_of(step.resource), self._group_body(step.resource, changed))
            case _:
                self._post(path_of(step.resource), values)

    def _mount_body(self, mount: Resource, values: Mapping[str, Any]) -> dict[str, Any]:
        """The engine's values. Both servers keep an option that is not sent, and remove one that is empty."""
        held = self._server.read(mount) or {}
        options = {**dict.fromkeys(held.get("options") or (), ""), **values.get("options", {})}
        return {**values, "options": options}

    def _entity_body(self, entity: Resource, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values to send. The recorded owner stays in the metadata unless the values name another one."""
        found = self._server.read(entity) or {}
        owner = values.get("owner", found.get("owner", ""))
        metadata = {**values["metadata"], **({"owner": owner} if owner else {})}
        body = {name: value for name, value in values.items() if name not in {"other_aliases", "owner"}}
        return {**body, "metadata": metadata}

    def _write_alias(self, entity: str, values: Mapping[str, Any]) -> None:
        found = self._server.read(Resource(ResourceKind.ALIAS, entity)) or {}
        owner = self._server.entity(entity)
        if owner is None:
            raise ConflictError(
                f"somebody removed the entity {entity} in the meantime; run the command again"
            )
        body = {
            "name": values["name"],
            "canonical_id": owner["id"],
            "mount_accessor": self._server.method_table[values["method"]]["accessor"],
        }
        self._post(f"identity/entity-alias/id/{found['id']}" if found else "identity/entity-alias", body)

    def _group_body(self, group: Resource, values: Mapping[str, Any]) -> dict[str, Any]:
        body = {name: value for name, value in values.items() if name != "members"}
        if "members" in values:
            found = self._server.get(path_of(group)) or {}
            others = {
                member
                for member in found.get("member_entity_ids") or ()
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


def _loses_unique_ids(step: PlatformStep) -> bool:
    return "resolve_aws_unique_ids" in step.changed and not step.values["resolve_aws_unique_ids"]


def _remedy(step: PlatformStep) -> str:
    if step.resource.kind is ResourceKind.POLICY and "subscribe_event_types" in str(
        step.values.get("policy")
    ):
        return "; only HashiCorp Vault has events, so set 'events: false' for OpenBao"
    if step.resource.kind is ResourceKind.QUOTA:
        return (
            f"; a path can have one quota only, so delete any other quota of {step.values.get('path')} or "
            "set 'quotas: {enabled: false}'"
        )
    return ""


def carry_out(server: PlatformServer, steps: Iterable[PlatformStep], *, prune: bool) -> list[PlatformStep]:
    """Carry out steps in order; deletions only with ``prune``. Return the steps that were carried out."""
    writer = PlatformWriter(server)
    done = []
    for step in steps:
        if step.verb is not ChangeKind.DELETE or prune:
            writer.apply(step)
            done.append(step)
    return done


def _check_type(step: PlatformStep) -> None:
    kinds = {ResourceKind.MOUNT, ResourceKind.METHOD}
    if step.resource.kind in kinds and "type" in step.changed:
        raise ConflictError(
            f"{step.resource} exists with another type than {step.values['type']}; move it, or choose "
            "another name"
        )


def _replace_key(step: PlatformStep) -> str:
    """What to do about a key that may leave Vault. Vault never withdraws this permission.

    Contract: https://developer.hashicorp.com/vault/api-docs/secret/transit#update-key-configuration
    """
    mount, _, key = step.resource.name.partition("/")
    return (
        f"{step.resource} has other settings than declared ({', '.join(step.changed)}), and Vault can't "
        "change them; somebody may have a copy of the key. Replace it: vault write "
        f"{mount}/keys/{key}/config "
        f"deletion_allowed=true && vault delete {mount}/keys/{key} && regcred platform apply; then give the "
        "registry the new keys (regcred system keys)"
    )
