"""Describes problems with the Secrets of a registry in one cluster, from the status that sync wrote.

All commands and pages use these texts. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from regcred.printable import command
from regcred.vault.records.status import Placement, Status
from regcred.wording import plural

_QUOTED = {
    "not-written": "the cluster denies the Secret",
    "not-read": "sync can't read the credential in Vault, and needs it for the Secret",
    "not-attached": "the cluster denies the Secret's name in a ServiceAccount, so new Pods don't use it",
}
"""The meaning of the refusals that have the message of a server as detail."""

_REFUSALS = {
    "not-granted": (
        "the namespace may not use this project",
        "grant it to the namespace, or remove the annotation",
    ),
    "no-such-registry": ("the registry does not exist", "correct the annotation, or add the registry"),
    "not-ready": ("there is no credential yet", "wait for the first rotation, or rotate it now"),
    "public": ("the registry is public", "remove the annotation: no credential is needed"),
    "unreadable": (
        "the cluster may not read the credential in Vault",
        "add the cluster to the bounds of the project",
    ),
    "revoked": ("the credential was revoked", "rotate the registry to fetch a new one"),
    "removed": ("the registry was removed", "remove the annotation, or add the registry again"),
    "clash": (
        "a Secret of the same name exists that Regcred did not create",
        "delete that Secret, or create it again under another name",
    ),
    "not-written": ("the cluster denies the Secret", "see 'regcred status' for the reason; fix the cause"),
    "not-read": (
        "sync can't read the credential in Vault",
        "see 'regcred status' for the reason; check that the cluster may read it",
    ),
    "not-attached": (
        "the cluster denies the Secret's name in a ServiceAccount",
        "see 'regcred status' for the reason; fix the cause",
    ),
    "restart-needed": ("the workload is older than the admission policies", "restart the workload"),
    "unneeded": ("no workload uses it any more", "nothing: sync removes the Secret after a grace period"),
}
"""For each refusal in a status: its meaning and the remedy."""

_FAULTS = frozenset({*_QUOTED, "clash"})
_NAMED = 3


@dataclass(frozen=True, slots=True)
class PlacementProblem:
    """One problem in a cluster."""

    text: str
    is_fault: bool = False
    """Whether a person must fix it. If not, somebody wants it so, or it waits for a decision."""


def refusal(reason: str) -> str:
    """The meaning of a refusal; its name if it is unknown."""
    return _REFUSALS.get(reason, (reason, ""))[0]


def remedy(reason: str) -> str:
    """The remedy for a refusal."""
    return _REFUSALS.get(reason, ("", "check the log of sync"))[1]


def held_removals(statuses: Mapping[str, Status]) -> dict[str, dict[str, dict[str, str]]]:
    """The removals that the brake holds in one cluster.

    Args:
        statuses: By project, its status in the cluster.

    Returns:
        By project, registry and namespace: why the Secret would be removed.
    """
    found = {
        project: {
            name: dict(placement.held)
            for name, placement in sorted(status.registries.items())
            if placement.held
        }
        for project, status in sorted(statuses.items())
    }
    return {project: registries for project, registries in found.items() if registries}


def count_held(registries: Mapping[str, Mapping[str, str]]) -> int:
    """The number of held removals of one project in :func:`held_removals`."""
    return sum(map(len, registries.values()))


def sync_description(status: Status) -> str:
    """Sync's version and mode as text; empty if the status has neither."""
    version = f"version {status.sync_version}" if status.sync_version else ""
    mode = f"mode {status.mode}" if status.mode else ""
    return ", ".join(filter(None, (version, mode)))


def placement_problems(cluster: str, placement: Placement) -> list[PlacementProblem]:
    """The refused, denied and held Secrets in a cluster.

    Args:
        cluster: Its name.
        placement: Sync's report about one registry.
    """
    return [
        *_refused(placement.refused, placement.details),
        *_denied(placement),
        *_held(cluster, placement.held),
    ]


def _refused(refused: Mapping[str, str], details: Mapping[str, str]) -> list[PlacementProblem]:
    found: dict[tuple[str, str], list[str]] = {}
    for namespace, reason in sorted(refused.items()):
        detail = details.get(namespace, "") if reason in _QUOTED else ""
        found.setdefault((reason, detail), []).append(namespace)
    problems = []
    for (reason, detail), names in sorted(found.items()):
        if reason in _QUOTED:
            text = f"{_QUOTED[reason]} in {_where(names)}: {detail or reason}"
        else:
            todo = remedy(reason)
            text = f"in {_where(names)}: {refusal(reason)}" + (f" ({todo})" if todo else "")
        problems.append(PlacementProblem(text, reason in _FAULTS))
    return problems


def _denied(placement: Placement) -> list[PlacementProblem]:
    found: dict[str, list[str]] = {}
    for namespace, detail in sorted(placement.details.items()):
        if placement.refused.get(namespace) not in _QUOTED:
            found.setdefault(detail, []).append(namespace)
    return [
        PlacementProblem(f"the cluster denied the last change in {_where(names)}: {detail}", is_fault=True)
        for detail, names in found.items()
    ]


def _held(cluster: str, held: Mapping[str, str]) -> list[PlacementProblem]:
    if not held:
        return []
    counts = Counter(held.values())
    why = ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
    words = ("regcred", "cluster", "confirm-removals", cluster)
    return [
        PlacementProblem(
            f"the brake holds back the removal of {plural(len(held), 'Secret')} ({why}), in "
            f"{_where(sorted(held))}; if these removals are wanted, a platform admin runs: {command(*words)}"
        )
    ]


def _where(names: Sequence[str]) -> str:
    """The number of namespaces, and the first of them."""
    return f"{plural(len(names), 'namespace')} ({_few(names)})"


def _few(names: Iterable[str]) -> str:
    listed = list(names)
    more = len(listed) - _NAMED
    return ", ".join(listed[:_NAMED]) + (f" and {more} more" if more > 0 else "")
