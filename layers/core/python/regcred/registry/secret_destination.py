"""Limits where a secret may be sent: only to the destination that it was entered or created for. Pure.

A person who may change a definition may not read its upstream secret or its credential. Without this limit,
that person could change the host and receive them there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from pydantic import BaseModel

from regcred.errors import RefusedError
from regcred.registry.definition import BaseDefinition

FREE = frozenset(
    {
        "allow_unverified",
        "create_repositories",
        "description",
        "endpoints",
        "groups",
        "hardened_images",
        "harbor_project",
        "harbor_projects",
        "lifetime_days",
        "lifetime_seconds",
        "period_days",
        "probe",
        "repositories",
        "session_seconds",
        "users",
    }
)
"""Fields that do not affect where a secret is sent, so they may change. All other fields are part of the
destination, including those of providers in other packages."""

LONGEST = 200_000
"""The maximum length of a stored destination in characters. A person who may write an upstream secret can
write anything there."""


def destination_text(definition: BaseDefinition) -> str:
    """The destination of a definition as JSON text, to store with the upstream secret."""
    return json.dumps(_destination(definition), sort_keys=True, separators=(",", ":"))


def destination_hash(definition: BaseDefinition) -> str:
    """The hash of a definition's destination, to store with the credential.

    It is a hash, because clusters read credentials and must not learn the definition. Fields with default
    values are left out, so the hash stays the same if a release adds fields.
    """
    named = {name: value for name, value in definition.content().items() if name not in FREE}
    text = json.dumps(named, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def check_destination(bound_to: str, definition: BaseDefinition, *, where: str, remedy: str) -> None:
    """Check that an upstream secret may be sent where its definition says.

    Args:
        bound_to: The result of :func:`destination_text` when the secret was entered, or empty.
        definition: The definition with the new destination.
        where: The path of the secret, for the error text.
        remedy: How to enter the secret again, for the error text.

    Raises:
        RefusedError: The destination changed. The text names the field with its old and new value.
    """
    known = _read(bound_to)
    if known is None:
        raise RefusedError(
            f"{where}: Vault has no record of the hosts that this secret was entered for, so Regcred "
            f"does not send it; {remedy}"
        )
    if change := _changed(known, definition):
        raise RefusedError(
            f"{where}: {change}, and Regcred sends a secret only to the destination for which it was "
            f"entered; undo the change, or {remedy}"
        )


def _changed(known: Mapping[str, list[str]], definition: BaseDefinition) -> str:
    """Describe the first field with a destination that is new to a secret; empty if there is none."""
    defaults = _defaults(type(definition))
    for name, now in _destination(definition).items():
        then = known.get(name, defaults.get(name, []))
        if new := [value for value in now if value not in then]:
            was = ", ".join(then)[:200] or "empty"
            return f"'{name}' of the definition is now {', '.join(new)[:200]} (it was {was})"
    return ""


def destination_change(old: BaseDefinition, new: BaseDefinition) -> str:
    """Describe how a definition's destination changed; empty if the upstream secret can stay."""
    return _changed(_destination(old), new)


def _destination(definition: BaseDefinition) -> dict[str, list[str]]:
    return {
        name: _texts(value) for name, value in definition.model_dump(mode="json").items() if name not in FREE
    }


def _defaults(model: type[BaseModel]) -> dict[str, list[str]]:
    """The default values, for fields that are not in an older record of a destination."""
    return {
        name: _texts(field.get_default(call_default_factory=True, validated_data={}))
        for name, field in model.model_fields.items()
        if not field.is_required()
    }


def _texts(value: object) -> list[str]:
    if isinstance(value, (list, tuple)):
        return [text for item in value for text in _texts(item)]
    if isinstance(value, Mapping):
        return [json.dumps(value, sort_keys=True)]
    return [] if value is None or value == "" else [str(value)]


def _read(text: str) -> dict[str, list[str]] | None:
    if not text or len(text) > LONGEST:
        return None
    try:
        known = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(known, dict):
        return None
    return {name: _texts(value) for name, value in known.items()}
