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
            f"{text[:80]!r} is not a way to sign in; write oidc, userpass, ldap or token, as in "
            "oidc@okta:console,token"
        )
    return Method(SignInKind(found["kind"]), found["mount"] or "", found["role"] or "")


def _methods(value: Any) -> Any:
    return tuple(map(method, value.replace(",", " ").split())) if isinstance(value, str) else value


class ConsoleSettings(Settings):
    """The settings of the console. No secret is among them."""

    vault_role: str = "console"
    console_url: str = Field(
        default="", pattern=r"^(https://[^/\s]+|http://(127\.0\.0\.1|localhost)(:\d+)?)?$"
    )
    """The public address, as in https://regcred.example.com. If it is empty, the console uses the host of
    each request. That is safe only for a Lambda function URL, because Lambda selects the function by the
    host."""
    console_hosts: str = ""
    """More host names that requests may name, separated by commas, such as that of a health check."""
    console_sign_in: Annotated[tuple[Method, ...], BeforeValidator(_methods)] = (
        Method(SignInKind.OIDC),
        Method(SignInKind.TOKEN),
    )
    """The ways to sign in, by commas, each ``KIND[@MOUNT][:ROLE]``."""
    console_idle_minutes: int = Field(default=30, ge=1, le=1440)
    """A session ends after this long without a request."""
    console_longest_minutes: int = Field(default=600, ge=1, le=1440)
    """A session ends after this long, whatever happens."""
    console_port: int = Field(default=8080, ge=1, le=65535)
    """In a cluster: where it listens."""
    vault_token_file: str = ""
    """In a cluster: the projected ServiceAccount token that signs the console itself in."""
    event_bus: str = ""
    """On AWS: the bus that notifies dispatch of new requests."""

    @property
    def options(self) -> ConsoleOptions:
        """The settings of the console itself."""
        return ConsoleOptions(
            methods=self.console_sign_in,
            origin=self.console_url.rstrip("/"),
            hosts=tuple(self.console_hosts.replace(",", " ").split()),
            idle=timedelta(minutes=self.console_idle_minutes),
            longest=timedelta(minutes=self.console_longest_minutes),
            vault=self.vault_addr,
        )

    def server(self, ca_file: str) -> Server:
        """The address of Vault."""
        return Server(self.vault_addr, namespace=self.vault_namespace, ca_file=ca_file, timeout=PATIENCE)
