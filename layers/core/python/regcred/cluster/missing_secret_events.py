"""Reads Events: those of the kubelet about Pods that name a missing pull Secret, and the names of our own.

Contract: k8s.io/kubernetes pkg/kubelet/events and pkg/kubelet/kubelet_pods.go (getPullSecretsForPod). Anybody
who may create Events in a namespace can forge such an Event. So it is no proof.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from collections.abc import Set as AbstractSet
from urllib.parse import quote

import aiohttp

from regcred.cluster.interface import ExpiredError, MissingSecretEvent, SilentError, TooLargeError
from regcred.cluster.model import Kind
from regcred.cluster.pages import METADATA_LIST, OBJECT_BYTES, pages
from regcred.cluster.pruning import missing_secret_event, page, prune, status, watch_event
from regcred.cluster.session import KubeSession, Streamed, unreachable
from regcred.errors import TransientError

EVENTS = Kind("events.k8s.io", "v1", "events", "Event")
REASON = "FailedToRetrieveImagePullSecret"
WATCH_SECONDS = 600
NAMES_MAX = 10_000
"""How many names of Events are read."""


async def missing_secret_events(
    session: KubeSession, large: asyncio.Semaphore, *, silence: float
) -> AsyncIterator[MissingSecretEvent]:
    """Watch new Events about missing pull Secrets until the server ends the watch.

    Args:
        session: The connection.
        large: Acquired while a large line is read.
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
            raise ExpiredError(f"the watch of events can't continue: {error}") from None
        except (aiohttp.ClientError, OSError) as error:
            raise unreachable("the watch of events", error) from None


async def event_names(session: KubeSession, reason: str) -> AbstractSet[str]:
    """The names of the Events with a reason, about :data:`NAMES_MAX` at most.

    If an Event was written again, the name of the first one is included.
    """
    names: set[str] = set()
    query = f"fieldSelector={quote(f'reason={reason}')}"
    async for some in pages(session, EVENTS.path(), query=query, accept=METADATA_LIST):
        found = {prune(EVENTS, raw)["metadata"].get("name", "") for raw in some.objects}
        names |= found | {name.rpartition(".")[0] for name in found}
        if len(names) >= NAMES_MAX:
            break
    return names


def _read(line: bytes) -> MissingSecretEvent | None:
    try:
        event, raw = watch_event(line)
    except ValueError:
        raise TransientError("the watch of events sent a line that is not a watch event") from None
    if event == "ERROR":
        raise ExpiredError(f"the watch of events has ended: {status(raw).get('reason')}")
    return missing_secret_event(raw) if event in {"ADDED", "MODIFIED"} else None
