"""Reads the upstream secret's fields, with one clear line where one is missing.

A static login may be there twice (``username_2``, ``password_2``): both are handed out, the kubelet tries each, and so
its owner can replace one while the other works.
"""

from __future__ import annotations

from pydantic import SecretStr

from regcred.credential import Login
from regcred.errors import MalformedError, MissingError
from regcred.registry.interface import MintContext

USERNAME = "username"
PASSWORD = "password"  # noqa: S105 - a field's name
SECOND = "_2"
"""What the fields of a second login end with."""

JSON_KEY = "key"
"""The field of a key that is itself a mapping, as Google's are."""

PRIVATE_PART = "private_key"
"""What such a mapping holds."""


def described(username: str, password: str) -> dict[str, str]:
    """The fields of a static login, each with a line for people."""
    return {USERNAME: username, PASSWORD: password}


def logins(context: MintContext, keys: tuple[str, ...], *, username: str = "") -> tuple[Login, ...]:
    """The login of the upstream secret, and the second one where there is one.

    Args:
        context: Whose upstream secret it is.
        keys: The keys of the ``auths`` map.
        username: The user name where the vendor has but one; else it is a field.

    Raises:
        MissingError, MalformedError: See :func:`field_of`.
    """
    found = [_login(context, keys, username, "")]
    if f"{PASSWORD}{SECOND}" in context.upstream:
        found.append(_login(context, keys, username, SECOND))
    return tuple(found)


def _login(context: MintContext, keys: tuple[str, ...], username: str, ending: str) -> Login:
    name = username or field_of(context, f"{USERNAME}{ending}").get_secret_value()
    return Login(name, field_of(context, f"{PASSWORD}{ending}"), keys)


def field_of(context: MintContext, name: str, *, document: bool = False) -> SecretStr:
    """A field of the upstream secret.

    Args:
        context: Whose upstream secret it is.
        name: The field.
        document: Whether it is a file's content, whose last line end does not matter.

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
    if plain != plain.strip() and not document:
        raise MalformedError(
            f"{where}: the field {name!r} has white space at its start or end; write it again", field=name
        )
    return value
