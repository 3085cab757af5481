"""Finds undeclared values in Vault that change who may sign in, or what a sign-in may do. Pure.

Any unknown setting may be such a value. So each non-empty value counts, except those that this module lists
as harmless or as the server's default. Contracts: https://developer.hashicorp.com/vault/api-docs/auth/jwt,
/auth/aws, /system/auth, /system/mounts and /system/rate-limit-quotas; OpenBao serves the same paths. The
defaults are from responses of both servers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from regcred.vault.platform.resource import ResourceKind

_TUNING = {
    "token_type": ("default-service",),
    "listing_visibility": ("hidden",),
}
"""Defaults of ``config`` of a secrets engine or sign-in method."""

_DEFAULTS: Mapping[ResourceKind, Mapping[str, tuple[Any, ...]]] = {
    ResourceKind.MOUNT: _TUNING,
    ResourceKind.METHOD: _TUNING,
    ResourceKind.MOUNT_CONFIG: {"delete_version_after": ("0s",)},
    ResourceKind.METHOD_CONFIG: {"namespace_in_state": (True,), "max_retries": (-1,)},
    ResourceKind.ROLE: {"bound_claims_type": ("string",), "role_type": ("jwt",)},
    ResourceKind.ENTITY: {},
    ResourceKind.QUOTA: {"interval": (1,)},
}
"""By kind, non-empty values that are the server's default. Kinds that are not listed are not checked."""

_IGNORED: Mapping[ResourceKind, frozenset[str]] = {
    ResourceKind.MOUNT: frozenset({"default_lease_ttl", "max_lease_ttl", "identity_token_key"}),
    ResourceKind.METHOD: frozenset({"default_lease_ttl", "max_lease_ttl", "identity_token_key"}),
    ResourceKind.MOUNT_CONFIG: frozenset(),
    # Vault's operators decide how Vault signs in to AWS: its keys, or the role that it assumes.
    ResourceKind.METHOD_CONFIG: frozenset(
        {
            "status",
            "access_key",
            "role_arn",
            "identity_token_audience",
            "identity_token_ttl",
            "rotation_period",
            "rotation_schedule",
            "rotation_window",
            "disable_automated_rotation",
        }
    ),
    # The unique ID that Vault has looked up, and settings for people who sign in with a browser.
    ResourceKind.ROLE: frozenset({"role_id", "bound_iam_principal_id", "callback_mode", "poll_interval"}),
    ResourceKind.QUOTA: frozenset({"name", "type", "group_by"}),
}

_CHECKED: Mapping[ResourceKind, frozenset[str]] = {
    ResourceKind.ENTITY: frozenset({"policies", "disabled", "other_aliases"})
}
"""Kinds of which only these values are checked. The other values describe the resource's history."""

_EMPTY: Mapping[type, Any] = {bool: False, int: 0, float: 0, str: "", list: [], dict: {}}


def undeclared_values(
    kind: ResourceKind, found: Mapping[str, Any], wanted: Mapping[str, Any]
) -> dict[str, Any]:
    """The values in Vault that are not declared and matter, each with the value to which it must be reset.

    Args:
        kind: The kind of the resource.
        found: The values in Vault.
        wanted: The declared values.
    """
    defaults = _DEFAULTS.get(kind)
    if defaults is None:
        return {}
    values = found.get("config") or {} if kind in {ResourceKind.MOUNT, ResourceKind.METHOD} else found
    names = [name for name in values if name not in wanted and name not in _IGNORED.get(kind, ())]
    if kind in _CHECKED:
        names = [name for name in names if name in _CHECKED[kind]]
    return {
        name: _reset_value(values[name], defaults.get(name, ()))
        for name in sorted(names)
        if values[name] and values[name] not in defaults.get(name, ())
    }


def _reset_value(value: Any, defaults: tuple[Any, ...]) -> Any:
    return defaults[0] if defaults else _EMPTY.get(type(value), "")
