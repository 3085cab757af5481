"""The token server of the system registry with its real classes: on Lambda, in a cluster and on a laptop."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from regcred.clock import utc_now
from regcred.settings import TokenServerSettings
from regcred.token.service import TokenService
from regcred.vault.records.system import ACCESS_KEY, CLIENT_ID, LOGIN_KEY

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from regcred.vault.login import VaultLogin


def token_service(settings: TokenServerSettings) -> TokenService:
    """Create the token service. It signs in to Vault at the first request.

    Raises:
        MalformedError: a setting is wrong.
    """
    from regcred.adapters.identity_tokens import IdentityTokens
    from regcred.token.document_cache import CachedRecords
    from regcred.vault.http import Server
    from regcred.vault.kv2 import VaultKeyValue, signed_in
    from regcred.vault.system import SystemRecords, VaultPeople
    from regcred.vault.transit import TransitSigner

    server = Server(settings.vault_addr, namespace=settings.vault_namespace, ca_file=_ca_file(settings))
    client = signed_in(server, _login(settings))
    return TokenService(
        records=CachedRecords(SystemRecords(VaultKeyValue(client, mount=settings.vault_mount))),
        people=VaultPeople(client, CLIENT_ID),
        issuers=IdentityTokens(),
        tokens=TransitSigner(client, settings.transit_mount, ACCESS_KEY),
        logins=TransitSigner(client, settings.transit_mount, LOGIN_KEY),
        now=utc_now,
    )


def _ca_file(settings: TokenServerSettings) -> str:
    if not settings.vault_ca_pem:
        return settings.vault_ca_file
    from regcred.wiring.aws import ca_file

    return ca_file(settings)


def _login(settings: TokenServerSettings) -> VaultLogin:
    if settings.vault_token_file:
        from regcred.vault.login import JwtLogin, token_file

        return JwtLogin(settings.auth_mount, settings.vault_role, token_file(Path(settings.vault_token_file)))
    from regcred.wiring.aws import vault_login

    return vault_login(settings)


def token_application() -> Starlette:
    """Create the web application from the process's environment.

    Warm invocations share it, with its connections and its Vault token.

    Raises:
        MalformedError: a setting is missing or wrong.
    """
    return application_of(os.environ)


def application_of(environment: Mapping[str, str]) -> Starlette:
    """Create the web application from these environment variables.

    Raises:
        MalformedError: a setting is missing or wrong.
    """
    from regcred.token.web import application

    return application(token_service(TokenServerSettings.load(environment)))


def main() -> int:
    """Serve in a cluster, when functions/token/app.py runs as a program.

    Returns:
        The exit code: 2 if a setting is missing or wrong.
    """
    import sys

    import uvicorn

    from regcred.errors import RegcredError
    from regcred.wiring.bounded_http import LIMITS

    try:
        app = application_of(os.environ)
    except RegcredError as error:
        print(f"regcred token server: {error}", file=sys.stderr)  # noqa: T201 - logging is not set up yet
        return 2
    uvicorn.run(
        app,
        host=os.environ.get("REGCRED_TOKEN_HOST", "0.0.0.0"),  # noqa: S104 - a Pod serves its Service
        port=int(os.environ.get("REGCRED_TOKEN_PORT", "8443")),
        limit_concurrency=256,
        timeout_keep_alive=30,
        ssl_certfile=os.environ.get("REGCRED_TOKEN_CERTIFICATE") or None,
        ssl_keyfile=os.environ.get("REGCRED_TOKEN_KEY") or None,
        **LIMITS,
    )
    return 0
