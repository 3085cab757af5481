"""Compares two policies of a project: what both allow, and what changes. Pure.

A plan first writes what both policies allow, so that access is removed before access is given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from regcred.image_name import host_matches
from regcred.vault.records.declared import ProjectPolicy


def common_policy(old: ProjectPolicy, new: ProjectPolicy) -> ProjectPolicy:
    """The policy that allows what both policies allow.

    It keeps the old IAM role. The role changes when the new policy is written.
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
    # Without an entry, the whole host is allowed. With an empty list, nothing on the host is allowed.
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
    # host_matches compares a '*' of the narrow form as a character, so only a '*' of the wide form covers it.
    return wide == narrow or host_matches(wide, narrow)


def _covers_path(wide: str, narrow: str) -> bool:
    return wide == narrow or narrow.startswith(wide.rstrip("/") + "/")


def changes(old: ProjectPolicy, new: ProjectPolicy) -> tuple[list[str], list[str]]:
    """What the new policy removes and what it adds, as texts."""
    removed: list[str] = []
    added: list[str] = []
    for name in ("hosts", "accounts", "clusters"):
        before, after = set(getattr(old, name)), set(getattr(new, name))
        removed += [f"{name}: -{item}" for item in sorted(before - after)]
        added += [f"{name}: +{item}" for item in sorted(after - before)]
    for host in sorted({*old.paths, *new.paths}):
        _path_changes(host, old.paths, new.paths, removed, added)
    if old.max_registries != new.max_registries:
        lowered = new.max_registries < old.max_registries
        (removed if lowered else added).append(
            f"max_registries: {old.max_registries} -> {new.max_registries}"
        )
    if old.role_arn != new.role_arn:
        added.append(f"role_arn: {old.role_arn or 'none'} -> {new.role_arn or 'none'}")
    return removed, added


def _path_changes(
    host: str,
    old: Mapping[str, Sequence[str]],
    new: Mapping[str, Sequence[str]],
    removed: list[str],
    added: list[str],
) -> None:
    before, after = old.get(host), new.get(host)
    if before == after:
        return
    if after is None:
        added.append(f"paths: +{host} without limit")
    elif before is None:
        removed.append(f"paths: {host} limited to {', '.join(after) or 'nothing'}")
    else:
        removed += [f"paths: -{host}/{item}" for item in sorted({*before} - {*after})]
        added += [f"paths: +{host}/{item}" for item in sorted({*after} - {*before})]
