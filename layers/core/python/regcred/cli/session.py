"""The dependencies of the commands: the user's Vault, cluster and clock. Tests replace them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

import click

from regcred.cli.delay_notice import reporting_delay
from regcred.cli.failures import BadInputError, user_input
from regcred.clock import utc_now
from regcred.errors import MissingError

if TYPE_CHECKING:
    from regcred.declare.live_platform import Operator
    from regcred.registry_reference import Reference
    from regcred.rotate import Rotate
    from regcred.selftest import SelftestParts
    from regcred.vault.interface import KeyValue
    from regcred.vault.platform import Declaration, PlatformStep
    from regcred.vault.store import Store
    from regcred.wiring.cli.sync import RunKind
    from regcred.wiring.cli.system import OwnSystem


def _own_store() -> Store:
    from regcred.wiring.cli import store

    return store(reporting_delay)


def _own_vault(mount: str) -> KeyValue:
    from regcred.wiring.cli import key_value

    return key_value(reporting_delay, mount)


class UserCluster(Protocol):
    """The API of one cluster, with the user's rights. The ``with`` block closes it."""

    namespace: str
    """The namespace of the kubeconfig's context."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def get(self, path: str, query: str = "", *, accept: str = "application/json") -> dict[str, Any]:
        """Read an object or a list at an API path.

        Raises:
            MissingError: the object does not exist.
            RefusedError: the user may not read it.
            TransientError: the API server can't be reached.
        """


def _own_cluster(context: str | None) -> UserCluster:
    from regcred.wiring.cli.cluster import OwnCluster

    with user_input():
        return OwnCluster(context, reporting_delay)


class PlatformService(Protocol):
    """The platform's declaration and the state in Vault. See :mod:`regcred.vault.platform` for the errors."""

    @property
    def notes(self) -> Sequence[str]:
        """Notes about the declaration: copies of policies that are unused or outdated."""

    def plan(self, on_unreadable: Callable[[str], None]) -> list[PlatformStep]:
        """Compare, and return the differences. Nothing is changed.

        ``on_unreadable`` gets a message for each project that can't be read.
        """

    def apply(self, on_unreadable: Callable[[str], None], *, prune: bool) -> list[PlatformStep]:
        """Change Vault to match the declaration, and return the actions. Delete only with ``prune``."""

    def ensure_project(self, project: str) -> list[PlatformStep]:
        """Set up one project, and return the actions."""

    def token_info(self) -> Mapping[str, Any]:
        """Vault's information about the user's token."""


def _own_platform(directory: Path | None) -> PlatformService:
    from regcred.wiring.cli import platform

    with _declaration():
        return platform(directory, reporting_delay)


def _own_operator(declared: Declaration | None, directory: Path | None) -> Operator:
    from regcred.wiring.cli import operator

    with _declaration():
        return operator(declared, directory, reporting_delay)


@contextmanager
def _declaration() -> Iterator[None]:
    """Turn an error about platform.yaml into wrong input, because the user names its folder."""
    with user_input():
        try:
            yield
        except MissingError as error:
            raise BadInputError(str(error)) from None


def _own_system() -> OwnSystem:
    from regcred.wiring.cli.system import system

    with user_input():
        return system(reporting_delay)


def _nudge(project: str) -> bool:
    from regcred.wiring.dispatch_nudge import nudge

    return nudge(project)


def _rotate_here(store: Store) -> Rotate:
    from regcred.wiring.cli import rotate

    return rotate(store)


def _selftest_parts(
    provider: str, reference: Reference, role_arn: str, say: Callable[[str], None]
) -> SelftestParts:
    from regcred.wiring.cli.selftest import parts

    return parts(provider, reference, role_arn, say)


def _run_sync(
    given: Mapping[str, str], context: str | None, run_kind: RunKind, say: Callable[[str], None]
) -> Sequence[str]:
    from regcred.wiring.cli.sync import run_sync

    with user_input():
        return run_sync(given, context, run_kind, say)


def _run_console(port: int, ready: Callable[[str, str], None]) -> None:
    from regcred.wiring.console.local import run

    run(port, ready)


@dataclass(slots=False)
class CliSession:
    """The dependencies of one run of the command line. Each is opened at its first use."""

    open_store: Callable[[], Store] = _own_store
    open_cluster: Callable[[str | None], UserCluster] = _own_cluster
    """Takes the kubeconfig's context; None for the current one."""
    open_platform: Callable[[Path | None], PlatformService] = _own_platform
    """Takes the folder of the declaration; None for the folder that comes with Regcred."""
    open_operator: Callable[[Declaration | None, Path | None], Operator] = _own_operator
    """Takes a declared Platform and the folder of its file. None and None for the same platform as in
    ``open_platform(None)``."""
    open_system: Callable[[], OwnSystem] = _own_system
    """The system registry, with the user's Vault token."""
    open_vault: Callable[[str], KeyValue] = _own_vault
    """Takes the path of another KV v2 mount, and opens it with the user's token."""
    nudge: Callable[[str], bool] = _nudge
    """Asks dispatch to check a project now. Returns False if that was not possible."""
    rotate_here: Callable[[Store], Rotate] = _rotate_here
    selftest_parts: Callable[[str, Reference, str, Callable[[str], None]], SelftestParts] = _selftest_parts
    """See :func:`regcred.wiring.cli.selftest.parts`."""
    run_sync: Callable[[Mapping[str, str], str | None, RunKind, Callable[[str], None]], Sequence[str]] = (
        _run_sync
    )
    """See :func:`regcred.wiring.cli.sync.run_sync`."""
    run_console: Callable[[int, Callable[[str, str], None]], None] = _run_console
    """See :func:`regcred.wiring.console.local.run`."""
    now: Callable[[], datetime] = utc_now
    sleep: Callable[[float], None] = time.sleep

    @property
    def is_own(self) -> bool:
        """Whether the session uses the Vault of the environment. Only tests use another one."""
        return self.open_store is _own_store

    @cached_property
    def store(self) -> Store:
        """The records in Vault, read and written with the user's token."""
        with user_input():
            return self.open_store()


pass_session = click.make_pass_decorator(CliSession)
