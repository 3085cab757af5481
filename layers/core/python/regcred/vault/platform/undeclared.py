"""Values in Vault that nobody declared and that change who may sign in, or what a sign-in may do; pure.

A setting that we do not know may be just such a value. So every value counts that is not empty, except those that are listed
here as harmless or as the server's own.
Contracts: https://developer.hashicorp.com/vault/api-docs/auth/jwt, /auth/aws, /system/auth, /system/mounts and
/system/rate-limit-quotas; OpenBao serves the same paths. The defaults are those that the servers answer.
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
"""By kind, the values that are not empty and still the server's own choice. A kind that is not here is not looked at."""

_IGNORED: Mapping[ResourceKind, frozenset[str]] = {
    ResourceKind.MOUNT: frozenset({"default_lease_ttl", "max_lease_ttl", "identity_token_key"}),
    ResourceKind.METHOD: frozenset({"default_lease_ttl", "max_lease_ttl", "identity_token_key"}),
    ResourceKind.MOUNT_CONFIG: frozenset(),
    # How Vault itself signs in at AWS is set by its operators: its keys, or the role that it takes on.
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
    # The unique id that Vault has looked up, and how people sign in by a browser.
    ResourceKind.ROLE: frozenset({"role_id", "bound_iam_principal_id", "callback_mode", "poll_interval"}),
    ResourceKind.QUOTA: frozenset({"name", "type", "group_by"}),
}

_CHECKED: Mapping[ResourceKind, frozenset[str]] = {
    ResourceKind.ENTITY: frozenset({"policies", "disabled", "other_aliases"})
}
"""Kinds of which only these values matter: the others tell of its history."""

_EMPTY: Mapping[type, Any] = {bool: False, int: 0, float: 0, str: "", list: [], dict: {}}


def foreign(kind: ResourceKind, held: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The values that somebody has set and nobody declared, each with what it must be reset to.

    Args:
        kind: What it is.
        held: What Vault holds.
        wanted: What is declared.
    """
    defaults = _DEFAULTS.get(kind)
    if defaults is None:
        return {}
    values = held.get("config") or {} if kind in {ResourceKind.MOUNT, ResourceKind.METHOD} else held
    names = [name for name in values if name not in wanted and name not in _IGNORED.get(kind, ())]
    if kind in _CHECKED:
        names = [name for name in names if name in _CHECKED[kind]]
    return {
        name: _reset(values[name], defaults.get(name, ()))
        for name in sorted(names)
        if values[name] and values[name] not in defaults.get(name, ())
    }


def _reset(value: Any, defaults: tuple[Any, ...]) -> Any:
    return defaults[0] if defaults else _EMPTY.get(type(value), "")
