"""Reads the upstream secret's fields, with a clear error for a missing one.

There may be a second static login (``username_2``, ``password_2``). The credential then contains both, and
the kubelet tries each. So the owner can replace one while the other works.
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
"""The suffix of a second login's fields."""

JSON_KEY = "key"
"""The field with a key file in JSON, such as Google's."""

PRIVATE_PART = "private_key"
"""The field of such a file that contains the secret."""


class StaticLogin(dict[str, str]):
    """The fields of a login that is used as it is, each with a description. There may be a second login."""


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
        username: The user name, if the vendor has a fixed one. Otherwise it is a field.

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
        document: Whether it is the content of a file, which may end with a newline.

    Raises:
        MissingError: There is no upstream secret.
        MalformedError: The field is missing or empty, or has white space around it.
    """
    where = f"upstream/{context.reference}"
    if not context.upstream:
        raise MissingError(
            f"{where}: the upstream secret does not exist; enter its field {name!r} with "
            f"'regcred registry set-secret {context.reference}'"
        )
    value = context.upstream.get(name, SecretStr(""))
    plain = value.get_secret_value()
    if not plain:
        raise MalformedError(f"{where}: the field {name!r} is missing or empty", field=name)
    if plain != plain.strip() and not document:
        raise MalformedError(
            f"{where}: the field {name!r} starts or ends with white space; enter it again", field=name
        )
    return value
