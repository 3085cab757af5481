"""Writes the grants of one cluster. They are one document, even if several sources declare them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from regcred.declare.kinds import Grant
from regcred.declare.live_objects import owners_of
from regcred.declare.namespace_sets import common_grant
from regcred.declare.steps import Step, StepKind, changed_meanwhile
from regcred.errors import ConflictError
from regcred.vault.records.declared import ClusterGrants
from regcred.vault.store import Store
from regcred.vault.store.base import CAS_ATTEMPTS


def write_grants(store: Store, steps: Sequence[Step]) -> None:
    """Write all steps of one cluster with one write. Keep the changes by others.

    Raises:
        ConflictError: a grant has changed since the plan was made, or others wrote during each attempt.
    """
    cluster, version = steps[0].key.scope, 0
    for _ in range(CAS_ATTEMPTS):
        found = store.cluster(cluster)
        old = found.value if found else ClusterGrants()
        owners = owners_of(found) if found else {}
        # A new document has version 0. After a deletion it has a higher one, which the next attempt uses.
        version = found.version if found else version
        for step in steps:
            _check_seen(step, old)
        new, owners = _with(old, owners, steps)
        record = json.dumps(owners, sort_keys=True, separators=(",", ":")) if owners else ""
        try:
            store.write_cluster(cluster, new, cas=version, owner=record)
        except ConflictError:
            version = store.cluster_version(cluster)
            continue
        return
    raise ConflictError(
        f"grants of cluster {cluster}: somebody else wrote them during each of {CAS_ATTEMPTS} attempts; "
        "run the command again"
    )


def _check_seen(step: Step, grants: ClusterGrants) -> None:
    seen = step.seen if isinstance(step.seen, Grant) else None
    to = step.to if isinstance(step.to, Grant) else None
    narrowed = common_grant(seen, to) if seen and to else None
    now = _names(Grant.of(grants, step.key.name))
    if now not in (_names(seen), _names(narrowed)):  # an earlier step of the same plan may have narrowed it
        raise changed_meanwhile(step)


def _names(grant: Grant | None) -> tuple[list[str], list[str]]:
    return (grant.namespaces, grant.delegated) if grant else ([], [])


def _with(
    old: ClusterGrants, owners: Mapping[str, str], steps: Iterable[Step]
) -> tuple[ClusterGrants, dict[str, str]]:
    grants, delegated = dict(old.grants), dict(old.delegated)
    owned, globs = dict(owners), old.globs
    for step in steps:
        project = step.key.name
        grants.pop(project, None)
        delegated.pop(project, None)
        if isinstance(step.to, Grant):
            globs = globs or step.to.globs
            if step.to.namespaces:
                grants[project] = list(step.to.namespaces)
            if step.to.delegated:
                delegated[project] = list(step.to.delegated)
        if step.verb is StepKind.REMOVE or not step.owner:
            owned.pop(project, None)
        else:
            owned[project] = step.owner
    return old.model_copy(update={"grants": grants, "globs": globs, "delegated": delegated}), owned
