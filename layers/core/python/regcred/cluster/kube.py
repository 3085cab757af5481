"""All calls to the Kubernetes API, over one :class:`KubeSession`. Makes no decisions.

Contract: https://kubernetes.io/docs/reference/using-api/api-concepts/
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson

from regcred.clock import utc_now
from regcred.cluster.annotations import ANNOTATED, REPORTER
from regcred.cluster.dockerconfig import SecretBody
from regcred.cluster.interface import (
    AlreadyExistsError,
    Change,
    ExpiredError,
    Listing,
    Message,
    MissingSecretEvent,
    SilentError,
    TooLargeError,
)
from regcred.cluster.limits import Collected
from regcred.cluster.missing_secret_events import EVENTS, event_names, missing_secret_events
from regcred.cluster.model import NAMESPACE, POD, Item, Kind, LivePod, PullSecretList
from regcred.cluster.object_parser import UNFINISHED, ObjectParser, live_pod
from regcred.cluster.pages import METADATA_LIST, OBJECT_BYTES, pages
from regcred.cluster.pruning import prune, status, watch_event
from regcred.cluster.secrets import Secrets
from regcred.cluster.service_accounts import set_pull_secrets
from regcred.cluster.session import JSON, METADATA, KubeSession, Streamed, unreachable
from regcred.errors import ConflictError, MissingError, RefusedError, TransientError
from regcred.registry_reference import Reference

SILENCE = 180.0
"""Seconds without a byte after which a watch counts as broken. A healthy watch gets a bookmark about every
minute."""

WATCH_SECONDS = (540, 600)
"""How long a watch lasts, in seconds. The time is random, so that watches do not all end together."""

ATTEMPTS = 4
"""How often a list is tried that expires between its pages."""

DISRUPTION_BUDGET = "DisruptionBudget"
"""The cause of an eviction's 429 that is not throttling (k8s.io/api/policy/v1, DisruptionBudgetCause)."""

NOTE_BYTES = 1024
"""The maximum length of an Event's note, in bytes."""


class Kube:
    """The real :class:`Cluster`.

    Args:
        session: The connection.
        parser: Selects what to keep of an object.
        instance: Names this sync in the Events that it writes.
        silence: Seconds without a byte after which a watch counts as broken.
        whole_pods: Read complete bare Pods, to know their ServiceAccounts; otherwise only their metadata.
    """

    def __init__(
        self,
        session: KubeSession,
        parser: ObjectParser,
        *,
        instance: str,
        silence: float = SILENCE,
        whole_pods: bool = False,
    ) -> None:
        self._session = session
        self._secrets = Secrets(session)
        self._parser = parser
        self._instance = instance
        self._silence = silence
        self._whole_pods = whole_pods
        self._large = asyncio.Semaphore(1)
        """Acquired while a page, or a large line of a watch, is in memory, so that there is only one."""

    async def list(self, kind: Kind) -> Listing:
        """See :meth:`Cluster.list`."""
        for _ in range(ATTEMPTS):
            try:
                async with self._large:
                    return await self._list(kind)
            except ExpiredError:
                continue
        raise TransientError(
            f"the list of {kind.plural} kept expiring while it was read; the API server is overloaded"
        )

    def _is_metadata_enough(self, kind: Kind) -> bool:
        """Whether sync needs only the metadata of a kind, which has half the bytes."""
        return kind is NAMESPACE or (kind is POD and not self._whole_pods)

    async def _list(self, kind: Kind) -> Listing:
        query = f"fieldSelector={quote(UNFINISHED)}" if kind is POD else ""
        accept = METADATA_LIST if self._is_metadata_enough(kind) else JSON
        kept = Collected(kind)
        version, requests = "", 0
        async for page in pages(self._session, kind.path(), query=query, accept=accept):
            version, requests = page.resource_version, requests + 1
            for raw in page.objects:
                item = self._parser.item(kind, prune(kind, raw))
                if item is not None:
                    kept.add(item)
        return Listing(kept.items(), version, requests)

    async def watch(self, kind: Kind, resource_version: str, *, labelled: bool) -> AsyncIterator[Change]:
        """See :meth:`Cluster.watch`."""
        seconds = random.randint(*WATCH_SECONDS)  # noqa: S311 - spreads load, guards nothing
        query = f"watch=1&allowWatchBookmarks=true&timeoutSeconds={seconds}"
        query += f"&resourceVersion={quote(resource_version)}"
        if kind is POD:
            query += f"&fieldSelector={quote(UNFINISHED)}"
        if labelled:
            query += f"&labelSelector={quote(f'{ANNOTATED}=true')}"
        accept = METADATA if labelled or self._is_metadata_enough(kind) else JSON
        response = await self._session.stream(kind.path(), query=query, accept=accept, silence=self._silence)
        async with Streamed(response, self._large, OBJECT_BYTES) as stream:
            while line := await self._read(stream, kind):
                yield await self._change(kind, line, labelled=labelled)

    async def _read(self, stream: Streamed, kind: Kind) -> bytes:
        try:
            return await stream.line()
        except TimeoutError:
            raise SilentError(f"the watch of {kind.plural} sent nothing for {self._silence:.0f} s") from None
        except TooLargeError as error:
            raise ExpiredError(f"the watch of {kind.plural} can't continue: {error}") from None
        except (aiohttp.ClientError, OSError) as error:
            raise unreachable(f"the watch of {kind.plural}", error) from None

    async def _change(self, kind: Kind, line: bytes, *, labelled: bool) -> Change:
        try:
            event, raw = watch_event(line)
            if event == "ERROR":
                raise _ended_by(kind, status(raw))
            obj = prune(kind, raw)
            metadata = obj["metadata"]
            version = metadata["resourceVersion"]
            if event == "BOOKMARK":
                return Change(version)
            namespace, name = metadata.get("namespace", ""), metadata["name"]
        except (ValueError, KeyError):
            raise TransientError(
                f"the watch of {kind.plural} sent a line that is not a watch event"
            ) from None
        item = None if event == "DELETED" else await self._item(kind, obj, labelled=labelled)
        return Change(version, namespace, name, item)

    async def _item(self, kind: Kind, obj: dict[str, Any], *, labelled: bool) -> Item | None:
        """What to keep of an object. If it is labelled and its metadata is not enough, read the whole object.

        If its metadata has no request, its template has malformed ones. If its kind is custom, it may have no
        template.
        """
        item = self._parser.item(kind, obj)
        if not labelled or not kind.template or (item is not None and not kind.custom):
            return item
        path = kind.path(obj["metadata"]["namespace"], obj["metadata"]["name"])
        try:
            async with self._large:
                whole = await self._session.fetch(path, accept=JSON, most=OBJECT_BYTES)
                return self._parser.item(kind, prune(kind, whole))
        except (MissingError, RefusedError, TooLargeError, ValueError):
            return item

    async def uid(self) -> str:
        """See :meth:`Cluster.uid`. It uses a list, because our account may not get a Namespace."""
        query = f"limit=1&fieldSelector={quote('metadata.name=kube-system')}"
        page = await self._session.call("GET", NAMESPACE.path(), query=query, accept=METADATA_LIST)
        try:
            return str(page["items"][0]["metadata"]["uid"])
        except (LookupError, TypeError):
            raise TransientError(
                "the API server lists no namespace kube-system, which identifies the cluster"
            ) from None

    def missing_secret_events(self) -> AsyncIterator[MissingSecretEvent]:
        """See :meth:`Cluster.missing_secret_events`."""
        return missing_secret_events(self._session, self._large, silence=self._silence)

    async def apply_secret(self, namespace: str, body: SecretBody, *, first: bool) -> None:
        """See :meth:`Cluster.apply_secret`."""
        await self._secrets.apply(namespace, body, first=first)

    async def delete_secret(self, namespace: str, reference: Reference, *, placed: bool) -> None:
        """See :meth:`Cluster.delete_secret`."""
        await self._secrets.delete(namespace, reference, placed=placed)

    async def live_pods(self, namespace: str) -> Sequence[LivePod]:
        """See :meth:`Cluster.live_pods`."""
        found: list[LivePod] = []
        query = f"fieldSelector={quote(UNFINISHED)}"
        async with self._large:
            async for page in pages(self._session, POD.path(namespace), query=query, accept=JSON):
                found += [live_pod(prune(POD, raw)) for raw in page.objects]
        return found

    async def set_pull_secrets(
        self,
        namespace: str,
        account: str,
        *,
        add: Sequence[str],
        remove: Sequence[str],
        known: PullSecretList | None = None,
    ) -> bool:
        """See :meth:`Cluster.set_pull_secrets`."""
        return await set_pull_secrets(self._session, namespace, account, add=add, remove=remove, known=known)

    async def create_event(self, message: Message) -> bool:
        """See :meth:`Cluster.create_event`."""
        return await create_event(self._session, message, instance=self._instance)

    async def event_names(self, reason: str) -> AbstractSet[str]:
        """See :meth:`Cluster.event_names`."""
        async with self._large:
            return await event_names(self._session, reason)

    async def evict(self, namespace: str, pod: str, *, version: str) -> bool:
        """See :meth:`Cluster.evict`."""
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod, "namespace": namespace},
            "deleteOptions": {"preconditions": {"resourceVersion": version}},
        }
        try:
            await self._session.call("POST", f"{POD.path(namespace, pod)}/eviction", body=orjson.dumps(body))
        except (MissingError, ConflictError):
            return False
        except TransientError as error:
            if error.answer and DISRUPTION_BUDGET in error.answer.causes:
                return False
            raise
        return True


def _ended_by(kind: Kind, status: dict[str, Any]) -> ExpiredError | TransientError:
    """The error for a watch that the server ends with a Status."""
    if status.get("code") == HTTPStatus.GONE:
        return ExpiredError(f"the watch of {kind.plural} has expired")
    return TransientError(f"the watch of {kind.plural} failed: {status.get('reason')}")


async def create_event(session: KubeSession, message: Message, *, instance: str) -> bool:
    """Write an Event; see :meth:`Cluster.create_event`.

    The name is derived from the content, so that the same Event is not written twice. If ``message.again`` is
    set, the second one has the time at the end of its name.
    """
    now = utc_now()
    namespace = "default" if message.about.kind is NAMESPACE else message.about.namespace
    body = event_body(message, namespace, instance=instance, now=now)
    if await _is_created(session, namespace, body):
        return True
    body["metadata"]["name"] = f"{message.name}.{now:%Y%m%d%H%M%S%f}"
    return message.again and await _is_created(session, namespace, body)


async def _is_created(session: KubeSession, namespace: str, event: dict[str, Any]) -> bool:
    """Write an Event. Return False if it exists or its namespace is gone."""
    try:
        await session.call("POST", EVENTS.path(namespace), body=json.dumps(event).encode())
    except (AlreadyExistsError, MissingError):
        return False
    except ConflictError as error:  # a quota's count changed at the same time
        raise TransientError(str(error)) from None
    return True


def event_body(message: Message, namespace: str, *, instance: str, now: datetime) -> dict[str, Any]:
    """An Event of events.k8s.io/v1.

    Contract: https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/
    """
    about = message.about
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": message.name, "namespace": namespace},
        "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "reportingController": REPORTER,
        "reportingInstance": instance,
        "action": "Project",
        "reason": message.reason,
        "type": "Warning" if message.warning else "Normal",
        "note": message.note.encode()[:NOTE_BYTES].decode(errors="ignore"),
        "regarding": {
            "apiVersion": about.kind.api_version,
            "kind": about.kind.name,
            "namespace": "" if about.kind is NAMESPACE else about.namespace,
            "name": about.name,
            "uid": about.uid,
        },
    }
