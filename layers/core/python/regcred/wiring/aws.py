"""Connects the Lambda functions to Vault, with their sign-in. The import makes no calls."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from regcred.adapters.aws_clients import own_keys
from regcred.adapters.sts import own_jwt
from regcred.clock import utc_now
from regcred.settings import Settings, VaultAuth
from regcred.vault.http import Server
from regcred.vault.login import AwsIamLogin, JwtLogin, VaultLogin

if TYPE_CHECKING:
    from regcred.vault.store import Store


def store(settings: Settings) -> Store:
    """The records in Vault. Signs in at the first request, and again before the token expires."""
    # The token server uses only vault_login() and must not load the records.
    from regcred.vault.kv2 import connect
    from regcred.vault.store import Store

    server = Server(settings.vault_addr, namespace=settings.vault_namespace, ca_file=ca_file(settings))
    return Store(connect(server, vault_login(settings), mount=settings.vault_mount, now=utc_now))


def vault_login(settings: Settings) -> VaultLogin:
    """The function's sign-in to Vault: AWS IAM or JWT, as its settings say."""
    if settings.vault_auth is VaultAuth.AWS:
        return AwsIamLogin(
            settings.auth_mount,
            settings.vault_role,
            own_keys,
            server_id=settings.vault_server_id,
            region=settings.vault_sts_region,
        )
    return JwtLogin(settings.auth_mount, settings.vault_role, lambda: own_jwt(settings.vault_audience))


def ca_file(settings: Settings) -> str:
    """The file with the CA certificates of Vault; empty for those of the system.

    A setting can contain the certificates themselves. They are written to a file, because requests reads them
    only from a file.
    """
    if settings.vault_ca_file or not settings.vault_ca_pem:
        return settings.vault_ca_file
    path = Path(tempfile.gettempdir()) / "regcred-vault-ca.pem"
    path.write_text(settings.vault_ca_pem, "utf-8")
    return str(path)
