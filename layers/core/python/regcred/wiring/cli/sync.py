"""Sync for the command line: in a Pod as the cluster, manually as the user."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from regcred.errors import MissingError
from regcred.wiring.cli import vault_address
from regcred.wiring.sync import sync_forever, sync_once
from regcred.wiring.sync.log_setup import set_up_logging
from regcred.wiring.sync.settings import SyncSettings

if TYPE_CHECKING:
    from regcred.vault.login import TokenLogin

Way = Literal["loop", "once", "dry-run"]

_OWN = {"REGCRED_VAULT_NAMESPACE": "VAULT_NAMESPACE", "REGCRED_VAULT_CA_FILE": "VAULT_CACERT"}
"""The names of our settings in the ``vault`` command."""


def run_sync(
    given: Mapping[str, str], context: str | None, way: Way, say: Callable[[str], None]
) -> Sequence[str]:
    """Run sync.

    Args:
        given: Settings that override the environment.
        context: The kubeconfig's context; None for the current one.
        way: The loop, one run, or a dry run.
        say: Prints the lines of one run.

    Returns:
        A line for each failed or held action; none for the loop.

    Raises:
        RegcredError: see :mod:`regcred.wiring.sync`; MalformedError names the wrong setting.
    """
    environment = {**os.environ, **given}
    if not environment.get("REGCRED_VAULT_ADDR"):
        environment["REGCRED_VAULT_ADDR"] = vault_address(environment)
    for ours, theirs in _OWN.items():
        environment[ours] = environment.get(ours) or environment.get(theirs, "")
    if way != "loop":
        # A person wants the plan or the outcome. A log beside it would repeat everything.
        environment.setdefault("REGCRED_LOG_LEVEL", "error")
    settings = SyncSettings.load(environment)
    set_up_logging(settings.log_level)
    login = _login(settings, environment)
    if way == "loop":
        asyncio.run(sync_forever(settings, login=login, context=context))
        return []
    return asyncio.run(
        sync_once(settings, dry_run=way == "dry-run", say=say, login=login, context=context)
    ).failures


def _login(settings: SyncSettings, environment: Mapping[str, str]) -> TokenLogin | None:
    """The user's own sign-in. None in a Pod, where the projected token signs in as the cluster.

    Raises:
        MissingError: neither exists.
    """
    from regcred.vault.login import TokenLogin, cli_token

    if settings.vault_token_file.is_file():
        return None
    token = cli_token(environment, Path.home())
    try:
        token()
    except MissingError as error:
        raise MissingError(f"{error}; in a Pod, project a token to {settings.vault_token_file}") from None
    return TokenLogin(token)
