"""Reads and writes the imagePullSecrets of ServiceAccounts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from regcred.cluster.annotations import reference_of
from regcred.cluster.interface import DeniedError
from regcred.cluster.model import SERVICE_ACCOUNT, PullSecretList
from regcred.cluster.object_parser import pull_secrets
from regcred.cluster.secrets import WRITTEN_BY
from regcred.cluster.session import MERGE_PATCH, KubeSession
from regcred.errors import ConflictError, MalformedError, RefusedError, TransientError

ATTEMPTS = 4
"""How often a change is tried while other clients change the ServiceAccount."""


async def set_pull_secrets(
    session: KubeSession,
    namespace: str,
    account: str,
    *,
    add: Sequence[str],
    remove: Sequence[str],
    known: PullSecretList | None = None,
) -> bool:
    """See :meth:`Cluster.set_pull_secrets`.

    The patch names the resourceVersion of the list that it replaces. If the ServiceAccount has changed
    meanwhile, the API server answers with a conflict.
    """
    path = SERVICE_ACCOUNT.path(namespace, account)
    for _ in range(ATTEMPTS):
        if known is None:
            known = _list_of(await session.call("GET", path), path)
        new = merge_pull_secrets(known.names, add=add, remove=remove)
        if new == list(known.names):
            return False
        patch = {
            "metadata": {"resourceVersion": known.version},
            "imagePullSecrets": [{"name": name} for name in new],
        }
        try:
            await session.call(
                "PATCH", path, query=WRITTEN_BY, body=orjson.dumps(patch), content_type=MERGE_PATCH
            )
            return True
        except ConflictError:
            known = None
        except (RefusedError, MalformedError) as error:
            words = error.answer.words if error.answer else ""
            raise DeniedError(
                f"ServiceAccount {namespace}/{account} was not written: {words or error}",
                words=words or str(error),
            ) from None
    raise TransientError(
        f"other clients changed ServiceAccount {namespace}/{account} at each of {ATTEMPTS} tries"
    )


def _list_of(account: dict[str, Any], path: str) -> PullSecretList:
    version = account["metadata"].get("resourceVersion")
    if not version:  # without it, the patch would undo simultaneous writes of other clients
        raise TransientError(f"the answer to {path} has no resourceVersion; is this a Kubernetes API server?")
    return PullSecretList(tuple(pull_secrets(account)), version)


def merge_pull_secrets(old: Sequence[str], *, add: Sequence[str], remove: Sequence[str]) -> list[str]:
    """The new list of a ServiceAccount: the entries of others in their order, then ours, sorted.

    If our names don't change, the list stays as it is.
    """
    ours = {name for name in old if reference_of(name)}
    wanted = (ours - set(remove)) | set(add)
    if wanted == ours:
        return list(old)
    return [*(name for name in old if name not in ours), *sorted(wanted)]
