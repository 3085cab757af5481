"""Reads and writes the imagePullSecrets of ServiceAccounts."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from regcred.cluster.annotations import reference_of
from regcred.cluster.interface import DeniedError
from regcred.cluster.model import SERVICE_ACCOUNT
from regcred.cluster.object_parser import pull_secrets
from regcred.cluster.secrets import WRITTEN_BY
from regcred.cluster.session import KubeSession
from regcred.errors import ConflictError, MalformedError, RefusedError, TransientError

ATTEMPTS = 4
"""How often to retry a write while others change the ServiceAccount."""


async def set_pull_secrets(
    session: KubeSession, namespace: str, account: str, *, add: Sequence[str], remove: Sequence[str]
) -> bool:
    """See :meth:`Cluster.set_pull_secrets`. The write uses the resourceVersion that was read."""
    path = SERVICE_ACCOUNT.path(namespace, account)
    for _ in range(ATTEMPTS):
        obj = await session.call("GET", path)
        old = pull_secrets(obj)
        new = merge_pull_secrets(old, add=add, remove=remove)
        if new == old:
            return False
        obj["metadata"].pop("managedFields", None)  # the API server keeps its own; ours may be cut
        obj["imagePullSecrets"] = [{"name": name} for name in new]
        try:
            await session.call("PUT", path, query=WRITTEN_BY, body=orjson.dumps(obj))
            return True
        except ConflictError:
            continue
        except (RefusedError, MalformedError) as error:
            words = error.answer.words if error.answer else ""
            raise DeniedError(
                f"ServiceAccount {namespace}/{account} was not written: {words or error}",
                words=words or str(error),
            ) from None
    raise TransientError(f"ServiceAccount {namespace}/{account} is being written by others all the time")


def merge_pull_secrets(old: Sequence[str], *, add: Sequence[str], remove: Sequence[str]) -> list[str]:
    """A ServiceAccount's list with our names changed: other entries in their order, then ours, sorted."""
    ours = {name for name in old if reference_of(name)}
    wanted = (ours - set(remove)) | set(add)
    if wanted == ours:
        return list(old)
    return [*(name for name in old if name not in ours), *sorted(wanted)]
