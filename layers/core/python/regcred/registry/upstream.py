"""Reads the upstream secret's fields, with one clear line where one is missing."""

from __future__ import annotations

from pydantic import SecretStr

from regcred.errors import MalformedError, MissingError
from regcred.registry.interface import MintContext


def field_of(context: MintContext, name: str) -> SecretStr:
    """A field of the upstream secret.

    Raises:
        MissingError: There is no upstream secret.
        MalformedError: The field is missing, empty, or has white space around it (a pasted line end, mostly).
    """
    where = f"upstream/{context.reference}"
    if not context.upstream:
        raise MissingError(
            f"{where}: there is no upstream secret; write its field {name!r} with 'regcred registry add'"
        )
    value = context.upstream.get(name, SecretStr(""))
    plain = value.get_secret_value()
    if not plain:
        raise MalformedError(f"{where}: the field {name!r} is missing or empty", field=name)
    if plain != plain.strip():
        raise MalformedError(
            f"{where}: the field {name!r} has white space at its start or end; write it again", field=name
        )
    return value
