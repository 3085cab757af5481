"""Reads the upstream secret's fields, with a clear error for a missing one.

A static login may exist twice (``username_2``, ``password_2``). Both are handed out, and the kubelet tries
each. So the owner can replace one while the other works.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import SecretStr

from regcred.credential import Login
from regcred.errors import MalformedError, MissingError
from regcred.registry.interface import MintContext

USERNAME = "username"
PASSWORD = "password"  # noqa: S105 - the name of a field
SECOND = "_2"
"""The suffix of the fields of a second login."""

JSON_KEY = "key"
"""The field of a key that is itself a mapping, such as Google's."""

PRIVATE_PART = "private_key"
"""The contents of such a mapping."""


class StaticLogin(dict[str, str]):
    """The fields of a login that is handed out as it is, each with a description. It may exist twice."""


def described(username: str, password: str) -> dict[str, str]:
    """The fields of a static login, each with a description."""
    return StaticLogin({USERNAME: username, PASSWORD: password})


def second_of(wanted: Mapping[str, str]) -> dict[str, str]:
    """The optional fields of a second login, each with a description; empty if the secret can't have one.

    Args:
        wanted: The required fields of the upstream secret.
    """
    if not isinstance(wanted, StaticLogin):
        return {}
    return {f"{name}{SECOND}": meaning for name, meaning in wanted.items()}


def logins(context: MintContext, keys: tuple[str, ...], *, username: str = "") -> tuple[Login, ...]:
    """The login of the upstream secret, and the second one if it exists.

    Args:
        context: The registry's context.
        keys: The keys of the ``auths`` map.
        username: The user name, if the vendor has only one; otherwise it is a field.

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
        context: The registry's context.
        name: The field.
        document: Whether it is the content of a file. Then a line end after the last line does not matter.

    Raises:
        MissingError: There is no upstream secret.
        MalformedError: The field is missing, empty, or has white space around it (often a pasted line end).
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
