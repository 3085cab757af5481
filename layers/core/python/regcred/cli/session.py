"""What the commands work with: the user's own Vault, cluster and clock; a test puts others in their place."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING

import click

from regcred.cli.failures import user_input

if TYPE_CHECKING:
    from regcred.vault.store import Store


def _own_store() -> Store:
    from regcred.wiring.cli import store

    return store()


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=False)
class Session:
    """One run of the command line. Nothing is opened before it is used."""

    open_store: Callable[[], Store] = _own_store
    now: Callable[[], datetime] = _now
    sleep: Callable[[float], None] = time.sleep

    @cached_property
    def store(self) -> Store:
        """The records in Vault, read and written with the user's own token."""
        with user_input():
            return self.open_store()


pass_session = click.make_pass_decorator(Session)
