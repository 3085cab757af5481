"""Compares two policies of a project: what both allow, and what changes. Pure.

What both allow is written first, so that no step widens before another narrows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from regcred.image_name import host_matches
from regcred.vault.records.declared import ProjectPolicy


def common_policy(old: ProjectPolicy, new: ProjectPolicy) -> ProjectPolicy:
    """The policy that allows what both policies allow.

    It keeps the old IAM role, which changes with the widening.
    """
    return ProjectPolicy(
        hosts=_common(old.hosts, new.hosts, _covers_host),
        paths={host: _paths(old, new, host) for host in sorted({*old.paths, *new.paths})},
        accounts=sorted({*old.accounts} & {*new.accounts}),
        clusters=sorted({*old.clusters} & {*new.clusters}),
        max_registries=min(old.max_registries, new.max_registries),
        role_arn=old.role_arn,
    )


def _paths(old: ProjectPolicy, new: ProjectPolicy, host: str) -> list[str]:
    # Without an entry, the whole host is allowed. With an empty list, nothing of it is.
    if host not in old.paths:
        return sorted(new.paths[host])
    if host not in new.paths:
        return sorted(old.paths[host])
    return _common(old.paths[host], new.paths[host], _covers_path)


def _common(old: Iterable[str], new: Iterable[str], covers: Callable[[str, str], bool]) -> list[str]:
    old, new = list(old), list(new)
    return sorted(
        {item for item in new if any(covers(wide, item) for wide in old)}
        | {item for item in old if any(covers(wide, item) for wide in new)}
    )


def _covers_host(wide: str, narrow: str) -> bool:
    # A '*' in the narrow one is matched as a character, so only a '*' of the wide one covers it.
    return wide == narrow or host_matches(wide, narrow)


def _covers_path(wide: str, narrow: str) -> bool:
    return wide == narrow or narrow.startswith(wide.rstrip("/") + "/")


def changes(old: ProjectPolicy, new: ProjectPolicy) -> tuple[list[str], list[str]]:
    """What the new policy removes and what it adds, as texts."""
    gone: list[str] = []
    come: list[str] = []
    for name in ("hosts", "accounts", "clusters"):
        before, after = set(getattr(old, name)), set(getattr(new, name))
        gone += [f"{name}: -{item}" for item in sorted(before - after)]
        come += [f"{name}: +{item}" for item in sorted(after - before)]
    for host in sorted({*old.paths, *new.paths}):
        _path_changes(host, old.paths, new.paths, gone, come)
    if old.max_registries != new.max_registries:
        lowered = new.max_registries < old.max_registries
        (gone if lowered else come).append(f"max_registries: {old.max_registries} -> {new.max_registries}")
    if old.role_arn != new.role_arn:
        come.append(f"role_arn: {old.role_arn or 'none'} -> {new.role_arn or 'none'}")
    return gone, come


def _path_changes(
    host: str,
    old: Mapping[str, Sequence[str]],
    new: Mapping[str, Sequence[str]],
    gone: list[str],
    come: list[str],
) -> None:
    before, after = old.get(host), new.get(host)
    if before == after:
        return
    if after is None:
        come.append(f"paths: +{host} whole")
    elif before is None:
        gone.append(f"paths: {host} only {', '.join(after) or 'nothing'}")
    else:
        gone += [f"paths: -{host}/{item}" for item in sorted({*before} - {*after})]
        come += [f"paths: +{host}/{item}" for item in sorted({*after} - {*before})]
