"""The console's settings from its environment, on Lambda and in a cluster."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from regcred.console.interface import ConsoleOptions, Method, SignInKind
from regcred.settings import Settings
from regcred.vault.http import Server
from regcred.wiring.console import PATIENCE

_METHOD = re.compile(
    r"(?P<kind>oidc|userpass|ldap|token)(@(?P<mount>[A-Za-z0-9._/-]+))?(:(?P<role>[A-Za-z0-9._-]+))?"
)


def method(text: str) -> Method:
    """Parse a sign-in method: ``KIND[@MOUNT][:ROLE]``, as in ``oidc@okta:console`` or ``userpass``."""
    found = _METHOD.fullmatch(text)
    if not found:
        raise ValueError(
            f"{text[:80]!r} is not a sign-in method; write oidc, userpass, ldap or token, as in "
            "oidc@okta:console,token"
        )
    return Method(SignInKind(found["kind"]), found["mount"] or "", found["role"] or "")


def _methods(value: Any) -> Any:
    return tuple(map(method, value.replace(",", " ").split())) if isinstance(value, str) else value


class ConsoleSettings(Settings):
    """The settings of the console. None of them is a secret."""

    vault_role: str = "console"
    console_url: str = Field(
        default="", pattern=r"^(https://[^/\s]+|http://(127\.0\.0\.1|localhost)(:\d+)?)?$"
    )
    """The public address, as in https://regcred.example.com. If it is empty, the console trusts the host name
    of each request. That is safe only behind a Lambda function URL, because AWS selects the function by the
    host name."""
    console_hosts: str = ""
    """Other host names that requests may use, such as that of a health check, separated by commas."""
    console_sign_in: Annotated[tuple[Method, ...], BeforeValidator(_methods)] = (
        Method(SignInKind.OIDC),
        Method(SignInKind.TOKEN),
    )
    """The sign-in methods, each ``KIND[@MOUNT][:ROLE]``, separated by commas."""
    console_idle_minutes: int = Field(default=30, ge=1, le=1440)
    """A session ends after this long without a request."""
    console_longest_minutes: int = Field(default=600, ge=1, le=1440)
    """A session ends this long after the sign-in."""
    console_port: int = Field(default=8080, ge=1, le=65535)
    """In a cluster: the port on which the console listens."""
    vault_token_file: str = ""
    """In a cluster: the projected ServiceAccount token with which the console itself signs in to Vault."""
    event_bus: str = ""
    """On AWS: the EventBridge bus for nudges to dispatch."""

    @property
    def options(self) -> ConsoleOptions:
        """The settings for the console's pages and sessions."""
        return ConsoleOptions(
            methods=self.console_sign_in,
            origin=self.console_url.rstrip("/"),
            hosts=tuple(self.console_hosts.replace(",", " ").split()),
            idle=timedelta(minutes=self.console_idle_minutes),
            longest=timedelta(minutes=self.console_longest_minutes),
            vault=self.vault_addr,
        )

    def server(self, ca_file: str) -> Server:
        """The Vault server of the settings."""
        return Server(self.vault_addr, namespace=self.vault_namespace, ca_file=ca_file, timeout=PATIENCE)
