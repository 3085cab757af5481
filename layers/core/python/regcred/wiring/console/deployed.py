"""The console on Lambda and in a cluster.

It reads its sealing keys from Vault, with a Vault role for the console.
"""

from __future__ import annotations

import os
import signal
import sys
from datetime import datetime
from pathlib import Path

import hvac
from starlette.types import ASGIApp

from regcred import tracing
from regcred.clock import utc_now
from regcred.console.sealing_keys import VaultKeys
from regcred.vault.kv2 import connect
from regcred.vault.login import JwtLogin, VaultLogin, VaultToken, token_file
from regcred.wiring.console import application, log_to
from regcred.wiring.console.settings import ConsoleSettings
from regcred.wiring.tracing import set_up


def on_lambda() -> ASGIApp:
    """The console behind a function URL.

    Raises:
        MalformedError: A setting is missing or wrong.
    """
    settings = ConsoleSettings.load(os.environ)
    return _application(settings, _AwsLogin(settings), ca_file=_ca_file(settings))


def in_cluster() -> ASGIApp:
    """The console of the chart. It signs in to Vault with the projected token of the Pod.

    Raises:
        MalformedError: A setting is missing or wrong.
    """
    settings = ConsoleSettings.load(os.environ)
    login = JwtLogin(settings.auth_mount, settings.vault_role, token_file(Path(settings.vault_token_file)))
    return _application(settings, login, ca_file=settings.vault_ca_file)


def serve() -> int:
    """Serve the chart's console until a signal ends it. The Pod serves HTTP; an Ingress terminates TLS.

    Returns:
        The exit code: 2 if a setting is missing or wrong.
    """
    import uvicorn

    from regcred.errors import RegcredError
    from regcred.wiring.bounded_http import LIMITS

    try:
        app = in_cluster()
        port = ConsoleSettings.load(os.environ).console_port
    except RegcredError as error:
        print(f"regcred console: {error}", file=sys.stderr)  # noqa: T201 - logging is not set up yet
        return 2
    # uvicorn sends itself the signal again after it has stopped. By default, that would end the process here.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        uvicorn.run(
            app,
            host="0.0.0.0",  # noqa: S104 - a Pod serves its Service
            port=port,
            log_level="warning",
            lifespan="off",
            proxy_headers=False,
            **LIMITS,
        )
    finally:
        tracing.flush()
    return 0


def _application(settings: ConsoleSettings, login: VaultLogin, *, ca_file: str) -> ASGIApp:
    log_to()
    set_up("regcred-console", os.environ)
    server = settings.server(ca_file)
    options = settings.options
    keys = VaultKeys(connect(server, login, mount=settings.vault_mount), utc_now, longest=options.longest)
    return application(options, server, settings.vault_mount, keys, nudge=_nudge)


def _nudge(project: str) -> bool:
    from regcred.wiring.dispatch_nudge import nudge

    return nudge(project)


class _AwsLogin:
    """The sign-in of a function. It loads AWS's SDK at the first use, because that takes long."""

    def __init__(self, settings: ConsoleSettings) -> None:
        self._settings = settings

    def login(self, client: hvac.Client, now: datetime) -> VaultToken:
        """See :class:`VaultLogin`."""
        from regcred.wiring.aws import vault_login

        return vault_login(self._settings).login(client, now)


def _ca_file(settings: ConsoleSettings) -> str:
    if not settings.vault_ca_pem:
        return settings.vault_ca_file
    from regcred.wiring.aws import ca_file

    return ca_file(settings)
