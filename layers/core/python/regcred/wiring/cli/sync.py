"""Connects ``regcred sync`` to Vault: as the cluster in a Pod, and as the user elsewhere."""

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

RunKind = Literal["loop", "once", "dry-run"]

_VAULT_NAMES = {"REGCRED_VAULT_NAMESPACE": "VAULT_NAMESPACE", "REGCRED_VAULT_CA_FILE": "VAULT_CACERT"}
"""By setting of sync: the variable of the ``vault`` command that is used if the setting is not set."""


def run_sync(
    given: Mapping[str, str], context: str | None, run_kind: RunKind, say: Callable[[str], None]
) -> Sequence[str]:
    """Run sync.

    Args:
        given: Settings that override the environment.
        context: The kubeconfig's context; None for the current one.
        run_kind: The loop, one run, or a dry run.
        say: Prints the lines of one run.

    Returns:
        A line for each failed or held action; always empty for the loop.

    Raises:
        RegcredError: see :mod:`regcred.wiring.sync`; MalformedError names the wrong setting.
    """
    environment = {**os.environ, **given}
    if not environment.get("REGCRED_VAULT_ADDR"):
        environment["REGCRED_VAULT_ADDR"] = vault_address(environment)
    for ours, theirs in _VAULT_NAMES.items():
        environment[ours] = environment.get(ours) or environment.get(theirs, "")
    if run_kind != "loop":
        # The command prints the plan or the outcome. A log would repeat it.
        environment.setdefault("REGCRED_LOG_LEVEL", "error")
    settings = SyncSettings.load(environment)
    set_up_logging(settings.log_level)
    login = _login(settings, environment)
    if run_kind == "loop":
        asyncio.run(sync_forever(settings, login=login, context=context))
        return []
    return asyncio.run(
        sync_once(settings, dry_run=run_kind == "dry-run", say=say, login=login, context=context)
    ).failures


def _login(settings: SyncSettings, environment: Mapping[str, str]) -> TokenLogin | None:
    """The sign-in as the user. None in a Pod, where the projected token signs in as the cluster.

    Raises:
        MissingError: there is no token of the user and no projected token.
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
