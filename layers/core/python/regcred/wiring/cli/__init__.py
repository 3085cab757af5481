"""Connects the command line to the real classes.

It uses the same environment variables and the same token file as the ``vault`` and ``bao`` commands.

Contract: https://developer.hashicorp.com/vault/docs/commands#configure-environment-variables
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from regcred.errors import MalformedError, MissingError

if TYPE_CHECKING:
    import hvac

    from regcred.rotate import Event, Rotate
    from regcred.vault.http import Server
    from regcred.vault.interface import KeyValue
    from regcred.vault.platform import Declaration, Platform, PlatformStep
    from regcred.vault.platform.fleet import FleetPlatform
    from regcred.vault.store import Store


Around = Callable[[str], AbstractContextManager[None]]
"""Returns a context manager for one request. The argument names the server for messages."""


def silently(_server: str) -> AbstractContextManager[None]:
    """Print no message while a server is slow."""
    return nullcontext()


@dataclass(frozen=True, slots=True)
class Connection:
    """Where the user's Vault is, and how to read the user's token."""

    server: Server
    token: Callable[[], SecretStr]
    mount: str


def connection(environment: Mapping[str, str], home: Path) -> Connection:
    """Read the connection from the environment.

    Args:
        environment: ``VAULT_ADDR``, ``VAULT_TOKEN``, ``VAULT_NAMESPACE``, ``VAULT_CACERT``,
            ``REGCRED_VAULT_MOUNT``.
        home: The user's home folder, which contains the token file.

    Raises:
        MalformedError: a variable is missing or wrong, or there is no token. The message names the variable.
    """
    from regcred.vault.http import Server
    from regcred.vault.kv2 import MOUNT
    from regcred.vault.login import cli_token

    address = vault_address(environment)
    ca_file = environment.get("VAULT_CACERT", "")
    if ca_file and not Path(ca_file).is_file():
        raise MalformedError(f"VAULT_CACERT: the file {ca_file} does not exist", field="VAULT_CACERT")
    try:
        server = Server(address, namespace=environment.get("VAULT_NAMESPACE", ""), ca_file=ca_file)
    except MalformedError as error:
        name = "VAULT_NAMESPACE" if error.field == "namespace" else "VAULT_ADDR"
        raise MalformedError(f"{name}: {error}", field=name) from None
    token = cli_token(environment, home)
    try:
        token()
    except MissingError as error:
        raise MalformedError(str(error), field="VAULT_TOKEN") from None
    return Connection(server, token, environment.get("REGCRED_VAULT_MOUNT", "").strip("/") or MOUNT)


def vault_address(environment: Mapping[str, str]) -> str:
    """The address of Vault.

    Raises:
        MalformedError: ``VAULT_ADDR`` is not set.
    """
    address = environment.get("VAULT_ADDR", "").strip().rstrip("/")
    if not address:
        raise MalformedError(
            "VAULT_ADDR is not set; export VAULT_ADDR=https://vault.example.com:8200 (your Vault or OpenBao)",
            field="VAULT_ADDR",
        )
    return address


def store(around: Around = silently) -> Store:
    """The records in the user's Vault. Nothing is sent yet.

    Args:
        around: See :data:`Around`.

    Raises:
        MalformedError: see :func:`connection`.
    """
    from regcred.vault.store import Store

    return Store(key_value(around))


def key_value(around: Around = silently, mount: str = "") -> KeyValue:
    """A KV v2 mount in the user's Vault. The default is Regcred's mount."""
    from regcred.vault.kv2 import connect
    from regcred.vault.login import TokenLogin

    own = connection(os.environ, Path.home())
    waiting = partial(around, f"Vault at {own.server.addr}")
    return connect(own.server, TokenLogin(own.token), mount=mount or own.mount, around=waiting)


@dataclass(frozen=True, slots=True)
class OwnPlatform:
    """The user's Vault and the declaration of the platform, for ``regcred platform`` and ``doctor``."""

    vault: hvac.Client
    platform: Platform

    @property
    def notes(self) -> Sequence[str]:
        """See :class:`regcred.vault.platform.Platform`."""
        return self.platform.notes

    def plan(self, on_unreadable: Callable[[str], None]) -> list[PlatformStep]:
        """See :func:`regcred.vault.platform.plan_platform`."""
        from regcred.vault.platform import plan_platform

        return plan_platform(self.vault, self.platform, on_unreadable=on_unreadable)

    def apply(self, on_unreadable: Callable[[str], None], *, prune: bool) -> list[PlatformStep]:
        """See :func:`regcred.vault.platform.apply_platform`."""
        from regcred.vault.platform import apply_platform

        return apply_platform(self.vault, self.platform, prune=prune, on_unreadable=on_unreadable)

    def ensure_project(self, project: str) -> list[PlatformStep]:
        """See :func:`regcred.vault.platform.ensure_project`."""
        from regcred.vault.platform import ensure_project

        return ensure_project(self.vault, self.platform, project)

    def token_info(self) -> Mapping[str, Any]:
        """Vault's information about the user's token: ``display_name``, ``policies`` and ``ttl``.

        ``ttl`` is in seconds; 0 means no expiry.

        Raises:
            RefusedError: the token is not valid, or no longer valid.
            TransientError: Vault can't be reached.
        """
        answer: Mapping[str, Any] = self.vault.adapter.get("/v1/auth/token/lookup-self")["data"]
        return answer


def platform(directory: Path | None, around: Around = silently) -> OwnPlatform:
    """Connect to the user's Vault, and load the declaration of a platform.

    Args:
        directory: The folder with ``platform.yaml``. None for the folder in ``REGCRED_PLATFORM``, or else the
            folder that comes with Regcred.
        around: See :data:`Around`.

    Raises:
        MalformedError: see :func:`connection`; or the declaration is malformed. The message names file and
            field.
        MissingError: a file of the declaration is missing.
    """
    from regcred.vault.kv2 import signed_in
    from regcred.vault.login import TokenLogin
    from regcred.vault.platform import default_directory, load

    own = connection(os.environ, Path.home())
    if directory is None and (named := os.environ.get("REGCRED_PLATFORM")):
        directory = Path(named)
    declared = load(default_directory() if directory is None else directory)
    if directory is None and own.mount != declared.declaration.mount.path:
        mount = declared.declaration.mount.model_copy(update={"path": own.mount})
        declared = declared.with_declaration(mount=mount)
    waiting = partial(around, f"Vault at {own.server.addr}")
    return OwnPlatform(signed_in(own.server, TokenLogin(own.token), around=waiting), declared)


def operator(
    declared: Declaration | None, directory: Path | None, around: Around = silently
) -> FleetPlatform:
    """Connect to the user's Vault, to read and write the platform and single clusters.

    Args:
        declared: A platform from a declared file. None for the platform that :func:`platform` loads.
        directory: The folder of the declared file. It may contain ``policies/``.
        around: See :data:`Around`.

    Raises:
        MalformedError: see :func:`platform`; or the platform's mount is not the mount of the environment.
        MissingError: see :func:`platform`.
    """
    from regcred.vault.platform.declaration import with_policies
    from regcred.vault.platform.fleet import FleetPlatform

    own = platform(None, around)
    if declared is None:
        return FleetPlatform(own.vault, own.platform)
    mount = connection(os.environ, Path.home()).mount
    if declared.mount.path != mount:
        raise MalformedError(
            f"spec.mount.path of the Platform is {declared.mount.path}, but REGCRED_VAULT_MOUNT is {mount}; "
            "set both to the same mount",
            field="REGCRED_VAULT_MOUNT",
        )
    return FleetPlatform(own.vault, with_policies(declared, directory or Path()))


class NoBus:
    """:class:`regcred.rotate.Announcer` without an event bus. Clusters notice outcomes when they poll."""

    def announce(self, events: Sequence[Event]) -> None:
        """Do nothing."""


def rotate(store: Store) -> Rotate:
    """Create rotate for this process. It has the user's rights in Vault and in AWS.

    ``REGCRED_EVENT_BUS`` names the EventBridge bus for announcements, if there is one.
    """
    from regcred.adapters.eventbridge import EventBus
    from regcred.adapters.sts import ProjectIdentities
    from regcred.clock import utc_now
    from regcred.registry.catalog import provider_for
    from regcred.registry.verify import RegistryVerifier
    from regcred.rotate import Rotate

    bus = os.environ.get("REGCRED_EVENT_BUS")
    return Rotate(
        store=store,
        provider_for=provider_for,
        identities=ProjectIdentities(),
        verifier=RegistryVerifier(),
        announcer=EventBus(bus) if bus else NoBus(),
        now=utc_now,
    )
