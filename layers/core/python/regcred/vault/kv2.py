"""A KV v2 mount of HashiCorp Vault or OpenBao."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from datetime import datetime
from typing import Any

import hvac
from hvac.exceptions import InvalidPath

from regcred.clock import utc_now
from regcred.errors import MalformedError, TransientError
from regcred.vault.http import Around, Server, VaultSession, client
from regcred.vault.interface import Document
from regcred.vault.login import Tokens, VaultLogin

MOUNT = "regcred"
"""The default path of the mount."""


def connect(
    server: Server,
    login: VaultLogin,
    *,
    mount: str = MOUNT,
    now: Callable[[], datetime] = utc_now,
    sleep: Callable[[float], None] = time.sleep,
    around: Around = nullcontext,
) -> VaultKeyValue:
    """Open a mount.

    This sends nothing. The client signs in at the first request, and again before the token expires.

    Args:
        server: The address of Vault.
        login: How to sign in.
        mount: The path of the KV v2 mount.
        now: Returns the time.
        sleep: Waits between tries, in seconds.
        around: A context manager around each request.
    """
    return VaultKeyValue(signed_in(server, login, now=now, sleep=sleep, around=around), mount=mount)


def signed_in(
    server: Server,
    login: VaultLogin,
    *,
    now: Callable[[], datetime] = utc_now,
    sleep: Callable[[float], None] = time.sleep,
    around: Around = nullcontext,
) -> hvac.Client:
    """An hvac client that signs in when needed. Its requests raise :mod:`regcred.errors`."""
    anonymous = client(server, VaultSession(server, sleep=sleep, around=around))
    return client(server, VaultSession(server, Tokens(login, anonymous, now), sleep=sleep, around=around))


class VaultKeyValue:
    """:class:`regcred.vault.interface.KeyValue` over hvac. Thread-safe."""

    def __init__(self, vault: hvac.Client, *, mount: str = MOUNT) -> None:
        self._kv = vault.secrets.kv.v2
        self._mount = mount

    def read(self, path: str) -> Document | None:
        """See :class:`KeyValue`."""
        answer = _or_none(
            self._kv.read_secret_version, path, mount_point=self._mount, raise_on_deleted_version=False
        )
        if answer is None:
            return None
        fields, version = _get(answer, "data", "data"), _number(answer, "data", "metadata", "version")
        if fields is None:
            return None
        if not isinstance(fields, dict):
            raise _unexpected("data.data")
        for name, value in fields.items():
            if not isinstance(value, str):
                raise MalformedError(
                    f"{path}: the field {name!r} is {_json_type(value)}; write it as a string", field=name
                )
        return Document(fields, version)

    def version(self, path: str) -> int:
        """See :class:`KeyValue`."""
        answer = _or_none(self._kv.read_secret_metadata, path, mount_point=self._mount)
        return 0 if answer is None else _number(answer, "data", "current_version")

    def write(self, path: str, fields: Mapping[str, str], *, cas: int) -> int:
        """See :class:`KeyValue`."""
        for name, value in fields.items():
            if not isinstance(value, str):
                raise MalformedError(f"{path}: the field {name!r} is not a string", field=name)
        answer = self._kv.create_or_update_secret(path, dict(fields), cas=cas, mount_point=self._mount)
        return _number(answer, "data", "version")

    def destroy(self, path: str, versions: Sequence[int]) -> None:
        """See :class:`KeyValue`."""
        if versions:
            self._kv.destroy_secret_versions(path, list(versions), mount_point=self._mount)

    def delete(self, path: str) -> None:
        """See :class:`KeyValue`."""
        self._kv.delete_metadata_and_all_versions(path, mount_point=self._mount)

    def list(self, folder: str) -> list[str]:
        """See :class:`KeyValue`."""
        answer = _or_none(self._kv.list_secrets, folder, mount_point=self._mount)
        if answer is None:
            return []
        names = _get(answer, "data", "keys")
        if not isinstance(names, list):
            raise _unexpected("data.keys")
        return sorted(str(name) for name in names)


def _or_none(call: Callable[..., Any], path: str, **kwargs: Any) -> Any:
    """The response, or None for a 404 from Vault. The session raises every other failure."""
    try:
        return call(path, **kwargs)
    except InvalidPath:
        return None


def _get(answer: Any, *keys: str) -> Any:
    for key in keys:
        try:
            answer = answer[key]
        except (KeyError, TypeError, IndexError):
            raise _unexpected(".".join(keys)) from None
    return answer


def _number(answer: Any, *keys: str) -> int:
    found = _get(answer, *keys)
    if not isinstance(found, int) or isinstance(found, bool):
        raise _unexpected(".".join(keys))
    return found


def _unexpected(field: str) -> TransientError:
    return TransientError(
        f"Vault: the field {field} of the answer is missing or has another type; is a proxy in between?"
    )


def _json_type(value: object) -> str:
    names = {
        bool: "a boolean",
        int: "a number",
        float: "a number",
        list: "a list",
        dict: "an object",
        type(None): "null",
    }
    return names.get(type(value), "not a string")
