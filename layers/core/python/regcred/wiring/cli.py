"""The real classes behind the command line: the user's own Vault token, as the ``vault`` and ``bao`` commands find it.

Contract: https://developer.hashicorp.com/vault/docs/commands#configure-environment-variables
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from regcred.errors import MalformedError

MOUNT = "regcred"
"""The KV v2 mount, if ``REGCRED_MOUNT`` names no other."""

TOKEN_FILE = ".vault-token"  # noqa: S105 - a file's name
"""Where ``vault login`` and ``bao login`` leave the token, in the home directory."""


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach Vault as the user."""

    address: str
    token: SecretStr = field(repr=False)
    namespace: str = ""
    ca_file: str = ""
    mount: str = MOUNT


def connection(environment: Mapping[str, str], home: Path) -> Connection:
    """Read the environment.

    Args:
        environment: ``VAULT_ADDR``, ``VAULT_TOKEN``, ``VAULT_NAMESPACE``, ``VAULT_CACERT``, ``REGCRED_MOUNT``.
        home: Where the token file lies if ``VAULT_TOKEN`` is not set.

    Raises:
        MalformedError: names the variable and what to set it to.
    """
    address = environment.get("VAULT_ADDR", "").rstrip("/")
    if not address:
        raise MalformedError(
            "VAULT_ADDR is not set; export VAULT_ADDR=https://vault.example.com:8200 (your Vault or OpenBao)",
            field="VAULT_ADDR",
        )
    parts = urlsplit(address)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username:
        raise MalformedError(
            "VAULT_ADDR is no address of a server; write it as in https://vault.example.com:8200",
            field="VAULT_ADDR",
        )
    ca_file = environment.get("VAULT_CACERT", "")
    if ca_file and not Path(ca_file).is_file():
        raise MalformedError(f"VAULT_CACERT: there is no file {ca_file}", field="VAULT_CACERT")
    return Connection(
        address=address,
        token=_token(environment, home),
        namespace=environment.get("VAULT_NAMESPACE", ""),
        ca_file=ca_file,
        mount=environment.get("REGCRED_MOUNT", "").strip("/") or MOUNT,
    )


def _token(environment: Mapping[str, str], home: Path) -> SecretStr:
    token = environment.get("VAULT_TOKEN", "").strip()
    if not token:
        try:
            token = (home / TOKEN_FILE).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError):
            token = ""
    if not token:
        raise MalformedError(
            f"there is no Vault token in VAULT_TOKEN or ~/{TOKEN_FILE}; sign in by 'vault login' or 'bao login'",
            field="VAULT_TOKEN",
        )
    if not token.isascii() or not token.isprintable():
        raise MalformedError(
            "the Vault token holds characters that no token has; sign in again", field="VAULT_TOKEN"
        )
    return SecretStr(token)


def own_connection() -> Connection:
    """The connection of the user who runs this process.

    Raises:
        MalformedError: see :func:`connection`.
    """
    return connection(os.environ, Path.home())
