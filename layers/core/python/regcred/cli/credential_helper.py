"""``docker-credential-regcred``: gives docker, podman, crane and skopeo a login for the system registry.

It gets each login with the user's Vault token, and stores nothing. A login expires after an hour.

Contract: https://github.com/docker/docker-credential-helpers#development
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import IO, TYPE_CHECKING

from regcred.errors import RegcredError

if TYPE_CHECKING:
    from regcred.wiring.cli.system import OwnSystem

NOT_FOUND = "credentials not found in native keychain"
"""The text from which clients know that there is no login for a host. They continue without one."""

LOGIN_SECONDS = 3600
INPUT_MAX = 4096
"""The maximum length of a server's address in characters."""


def main() -> None:
    """Handle one request of a client."""
    from regcred.wiring.cli.system import system

    try:
        code = answer(sys.argv[1:], sys.stdin, sys.stdout, system)
    except RegcredError as error:
        # Clients show the helper's standard output to the user.
        sys.stdout.write(f"regcred: {error}\n")
        code = 1
    sys.exit(code)


def answer(args: Sequence[str], given: IO[str], out: IO[str], open_system: Callable[[], OwnSystem]) -> int:
    """Handle one request.

    Args:
        args: ``get``, ``store``, ``erase`` or ``list``.
        given: The client's input.
        out: The output for the client.
        open_system: Opens the system registry with the user's Vault token.

    Returns:
        The exit code.

    Raises:
        RegcredError: Vault or the token server refused, or can't be reached.
    """
    match list(args):
        case ["get"]:
            return _get(_host(given.read(INPUT_MAX)), out, open_system())
        case ["list"]:
            json.dump({}, out)
            return 0
        case ["erase"]:
            return 0  # nothing is stored
        case ["store"]:
            out.write("nothing was stored: logins for the system registry are created when they are needed\n")
            return 1
    out.write("usage: docker-credential-regcred get|store|erase|list\n")
    return 1


def _get(host: str, out: IO[str], system: OwnSystem) -> int:
    if host != system.config().host:
        out.write(f"{NOT_FOUND}\n")
        return 1
    login = system.login(seconds=LOGIN_SECONDS)
    json.dump({"ServerURL": host, "Username": login.user, "Secret": login.password.get_secret_value()}, out)
    return 0


def _host(server: str) -> str:
    """The host in an address from a client: with or without a scheme and a path."""
    return server.strip().partition("://")[2].partition("/")[0] or server.strip().partition("/")[0]
