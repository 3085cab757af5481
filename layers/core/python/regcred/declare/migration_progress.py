"""Decides whether an old pull secret can be deleted after a migration. Pure.

A Pod must have pulled with the new Secret, and nothing may name the old one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from regcred.cluster.object_parser import mapping_at
from regcred.declare.migration import Migration
from regcred.declare.pull_secrets import ObjectName, names_in
from regcred.errors import MalformedError
from regcred.image_name import matching_keys
from regcred.registry_reference import Reference

STEPS_MAX = 20_000
"""The maximum number of Secrets in the record of a migration."""


_PULLED = re.compile(r'Successfully pulled image "([^"]{1,500})"')
"""The kubelet's message (k8s.io/kubernetes pkg/kubelet/images/image_manager.go)."""


class Stage(StrEnum):
    """How far the replacement of a Secret is."""

    MISSING = "no new Secret"
    STILL_NAMED = "still named"
    NOT_PULLED = "not pulled yet"
    READY = "ready"
    GONE = "deleted"


@dataclass(frozen=True, slots=True)
class Replaced:
    """A Secret to replace, and its replacements."""

    old: ObjectName
    hosts: Mapping[Reference, tuple[str, ...]]
    """The references that replace the Secret, with the hosts of each registry."""


@dataclass(frozen=True, slots=True)
class SeenPod:
    """The fields of a Pod that the check needs."""

    name: str
    pull_secrets: frozenset[str]
    pulled: frozenset[str]
    """The images that were pulled for it, according to the kubelet's Events."""


@dataclass(frozen=True, slots=True)
class Progress:
    """The state of one Secret."""

    replaced: Replaced
    stage: Stage
    detail: str


def record(migration: Migration) -> dict[str, Any]:
    """The record of a migration for a later check, as a JSON document."""
    found: dict[ObjectName, set[Reference]] = {}
    hosts = {one.reference: list(one.hosts) for one in migration.registries}
    replacements: dict[ObjectName, set[Reference]] = {}
    for one in migration.registries:
        for source in one.sources:
            replacements.setdefault(source, set()).add(one.reference)
    for new in migration.annotations:
        for old in new.replaces:
            found.setdefault(old, set()).update(replacements.get(old, set()) & set(new.references))
    return {
        "cluster": migration.cluster,
        "secrets": [
            {
                "namespace": old.namespace,
                "name": old.name,
                "replacedBy": {str(reference): hosts[reference] for reference in sorted(references)},
            }
            for old, references in sorted(found.items())
            if references
        ],
    }


def read_record(content: Any) -> list[Replaced]:
    """Read a record.

    Raises:
        MalformedError: it is not a record.
    """
    try:
        entries = content["secrets"]
        if len(entries) > STEPS_MAX:
            raise MalformedError(f"names more than {STEPS_MAX} Secrets")
        return [
            Replaced(
                ObjectName(str(entry["namespace"]), str(entry["name"])),
                {
                    Reference.parse(text): tuple(map(str, hosts))
                    for text, hosts in entry["replacedBy"].items()
                },
            )
            for entry in entries
        ]
    except (KeyError, TypeError, AttributeError):
        raise MalformedError("is not a file that 'regcred migrate' wrote") from None


def seen_pods(pods: Iterable[Mapping[str, Any]], events: Iterable[Mapping[str, Any]]) -> list[SeenPod]:
    """The Pods of a namespace, with the images that the kubelet pulled for them.

    Args:
        pods: The Pods.
        events: The kubelet's Events with the reason ``Pulled``.
    """
    pulled: dict[str, set[str]] = {}
    for event in events:
        message = str(event.get("message") or "")
        uid = (mapping_at(event, ("involvedObject",)) or {}).get("uid")
        # "already present on machine" needs no credential, so it proves nothing.
        if isinstance(uid, str) and (image := _PULLED.match(message)):
            pulled.setdefault(uid, set()).add(image[1])
    found = []
    for pod in pods:
        metadata = mapping_at(pod, ("metadata",)) or {}
        names = names_in(mapping_at(pod, ("spec",)) or {})
        images = frozenset(pulled.get(str(metadata.get("uid")), ()))
        found.append(SeenPod(str(metadata.get("name")), names, images))
    return found


def check(
    replaced: Replaced,
    *,
    old_exists: bool,
    new_secrets: Mapping[Reference, bool],
    accounts: Mapping[str, frozenset[str]],
    pods: Sequence[SeenPod],
) -> Progress:
    """Decide whether the old Secret can be deleted.

    Args:
        replaced: The Secret.
        old_exists: Whether the old Secret exists.
        new_secrets: By reference, whether its Secret is in the namespace.
        accounts: The ``imagePullSecrets`` of each ServiceAccount of the namespace.
        pods: The Pods of the namespace.
    """
    if not old_exists:
        return Progress(replaced, Stage.GONE, "")
    missing = [str(reference) for reference in replaced.hosts if not new_secrets.get(reference)]
    if missing:
        detail = f"the Secret of {', '.join(missing)} does not exist; 'regcred explain' says why"
        return Progress(replaced, Stage.MISSING, detail)
    name = replaced.old.name
    holders = [f"ServiceAccount {account}" for account, names in sorted(accounts.items()) if name in names]
    holders += [f"Pod {pod.name}" for pod in pods if name in pod.pull_secrets]
    unseen = [
        str(reference)
        for reference, hosts in replaced.hosts.items()
        if not any(_has_pulled(pod, reference, hosts, name) for pod in pods)
    ]
    if holders:
        more = f" and {len(holders) - 3} more" if len(holders) > 3 else ""  # noqa: PLR2004 - a line for people
        detail = f"{', '.join(holders[:3])}{more} still name it; remove it from their imagePullSecrets"
        return Progress(replaced, Stage.STILL_NAMED, detail)
    if unseen:
        detail = f"no Pod has pulled with only {', '.join(unseen)}; restart a workload"
        return Progress(replaced, Stage.NOT_PULLED, detail)
    return Progress(replaced, Stage.READY, f"kubectl -n {replaced.old.namespace} delete secret {name}")


def _has_pulled(pod: SeenPod, reference: Reference, hosts: Sequence[str], old: str) -> bool:
    if old in pod.pull_secrets or reference.secret_name not in pod.pull_secrets:
        return False
    return any(matching_keys(hosts, image) for image in pod.pulled)
