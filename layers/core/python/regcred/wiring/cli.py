"""The real classes behind the command line: the user's own Vault token, as the ``vault`` and ``bao`` commands find it.

Contract: https://developer.hashicorp.com/vault/docs/commands#configure-environment-variables
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr

from regcred.errors import MalformedError, MissingError

if TYPE_CHECKING:
    from regcred.vault.http import Server
    from regcred.vault.store import Store


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach Vault as the user."""

    server: Server
    token: Callable[[], SecretStr]
    mount: str


def connection(environment: Mapping[str, str], home: Path) -> Connection:
    """Read the environment.

    Args:
        environment: ``VAULT_ADDR``, ``VAULT_TOKEN``, ``VAULT_NAMESPACE``, ``VAULT_CACERT``, ``REGCRED_MOUNT``.
        home: Where the token file lies if ``VAULT_TOKEN`` is not set.

    Raises:
        MalformedError: names the variable and what to set it to.
    """
    from regcred.vault.http import Server
    from regcred.vault.kv2 import MOUNT
    from regcred.vault.login import cli_token

    address = environment.get("VAULT_ADDR", "").strip().rstrip("/")
    if not address:
        raise MalformedError(
            "VAULT_ADDR is not set; export VAULT_ADDR=https://vault.example.com:8200 (your Vault or OpenBao)",
            field="VAULT_ADDR",
        )
    ca_file = environment.get("VAULT_CACERT", "")
    if ca_file and not Path(ca_file).is_file():
        raise MalformedError(f"VAULT_CACERT: there is no file {ca_file}", field="VAULT_CACERT")
    try:
        server = Server(address, namespace=environment.get("VAULT_NAMESPACE", ""), ca_file=ca_file)
    except MalformedError as error:
        raise MalformedError(f"VAULT_ADDR: {error}", field="VAULT_ADDR") from None
    token = cli_token(environment, home)
    try:
        token()
    except MissingError as error:
        raise MalformedError(str(error), field="VAULT_TOKEN") from None
    return Connection(server, token, environment.get("REGCRED_MOUNT", "").strip("/") or MOUNT)


def store() -> Store:
    """The records in the Vault of the user who runs this process; nothing is sent yet.

    Raises:
        MalformedError: see :func:`connection`.
    """
    from regcred.vault.kv2 import connect
    from regcred.vault.login import TokenLogin
    from regcred.vault.store import Store

    own = connection(os.environ, Path.home())
    return Store(connect(own.server, TokenLogin(own.token), mount=own.mount))
