"""Events: the kubelet's about Pods that name a missing pull Secret, and the names of our own.

Contract: k8s.io/kubernetes pkg/kubelet/events and pkg/kubelet/kubelet_pods.go (getPullSecretsForPod). Anybody
who may create Events in a namespace can write such an Event. It is a hint to check, and not a proof.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from collections.abc import Set as AbstractSet
from urllib.parse import quote

import aiohttp

from regcred.cluster.interface import ExpiredError, Miss, SilentError, TooLargeError
from regcred.cluster.model import Kind
from regcred.cluster.pages import METADATA_LIST, OBJECT_BYTES, pages
from regcred.cluster.pruning import message, miss, page, prune, status
from regcred.cluster.session import KubeSession, Streamed, unreachable
from regcred.errors import TransientError

EVENTS = Kind("events.k8s.io", "v1", "events", "Event")
REASON = "FailedToRetrieveImagePullSecret"
WATCH_SECONDS = 600
NAMES = 10_000
"""How many names of Events are read."""


async def misses(session: KubeSession, large: asyncio.Semaphore, *, silence: float) -> AsyncIterator[Miss]:
    """Watch new Events until the server ends the watch.

    Args:
        session: The connection.
        large: Held while a large line is read.
        silence: Seconds without a byte after which the watch counts as broken.

    Raises:
        SilentError, ExpiredError, RegcredError: start the watch again.
    """
    newest = await session.fetch(EVENTS.path(), query="limit=1", accept=METADATA_LIST, most=OBJECT_BYTES)
    try:
        version, _, _ = page(newest)
    except ValueError:
        raise TransientError("the answer to a list of events is not a list") from None
    query = (
        f"watch=1&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}"
        f"&resourceVersion={quote(version)}&fieldSelector={quote(f'reason={REASON}')}"
    )
    response = await session.stream(EVENTS.path(), query=query, accept="application/json", silence=silence)
    async with Streamed(response, large, OBJECT_BYTES) as stream:
        try:
            while line := await stream.line():
                if found := _read(line):
                    yield found
        except TimeoutError:
            raise SilentError(f"the watch of events sent nothing for {silence:.0f} s") from None
        except TooLargeError as error:
            raise ExpiredError(f"the watch of events can't go on: {error}") from None
        except (aiohttp.ClientError, OSError) as error:
            raise unreachable("the watch of events", error) from None


async def event_names(session: KubeSession, reason: str) -> AbstractSet[str]:
    """The names of the Events with a reason, :data:`NAMES` at most.

    Of an Event that was written again, its first name counts as well.
    """
    names: set[str] = set()
    query = f"fieldSelector={quote(f'reason={reason}')}"
    async for some in pages(session, EVENTS.path(), query=query, accept=METADATA_LIST):
        found = {prune(EVENTS, raw)["metadata"].get("name", "") for raw in some.objects}
        names |= found | {name.rpartition(".")[0] for name in found}
        if len(names) >= NAMES:
            break
    return names


def _read(line: bytes) -> Miss | None:
    try:
        what, raw = message(line)
    except ValueError:
        raise TransientError("the watch of events brought something that is not a message") from None
    if what == "ERROR":
        raise ExpiredError(f"the watch of events has ended: {status(raw).get('reason')}")
    return miss(raw) if what in {"ADDED", "MODIFIED"} else None
