"""Checks a definition against the policy of its project: hosts, paths and accounts. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from regcred.errors import RefusedError
from regcred.image_name import host_matches, normal_host
from regcred.printable import command
from regcred.registry.definition import BaseDefinition


def check_allowed(
    definition: BaseDefinition,
    *,
    hosts: Sequence[str],
    paths: Mapping[str, Sequence[str]],
    accounts: Sequence[str],
) -> None:
    """Check that a project may use everything that its definition names.

    Args:
        definition: The definition from the project's admin.
        hosts: Hosts allowed for the project, with one ``*`` glob per label (``*.jfrog.io``). Ports must be
            equal.
        paths: By allowed host, the repository prefixes that the project may use. Other hosts are allowed
            completely.
        accounts: Cloud accounts allowed for the project.

    Raises:
        RefusedError: Names the host, path or account, and who can allow it.
    """
    for host in definition.typed_hosts():
        if not any(_same(pattern, host) for pattern in hosts):
            raise _not_allowed(f"host {host}", "--host", host)
        for allowed_host, prefixes in paths.items():
            if _same(allowed_host, host):
                _check_paths(definition, host, prefixes)
    for account in definition.accounts():
        if account not in accounts:
            raise _not_allowed(f"account {account}", "--account", account)


def _same(pattern: str, host: str) -> bool:
    """Whether an allowed host matches a typed host, also if they are written in different forms."""
    return host_matches(pattern, host) or host_matches(normal_host(pattern), normal_host(host))


def _check_paths(definition: BaseDefinition, host: str, prefixes: Sequence[str]) -> None:
    if not definition.scopes():
        raise RefusedError(
            f"this project may use only {', '.join(prefixes) or 'no path'} on {host}; name them under "
            "'repositories'"
        )
    for scope in definition.scopes():
        if not any(scope == prefix or scope.startswith(prefix.rstrip("/") + "/") for prefix in prefixes):
            raise _not_allowed(f"path {scope} on {host}", "--path", f"{host}/{scope}")


def _not_allowed(what: str, option: str, value: str) -> RefusedError:
    allow = command("regcred", "project", "add", "PROJECT", option, value)
    return RefusedError(f"{what} is not allowed for this project; a platform admin can allow it: {allow}")
