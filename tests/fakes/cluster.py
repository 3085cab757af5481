"""A Kubernetes cluster in memory, with faults on demand. It passes the same contract tests as the real
API."""

from __future__ import annotations

import asyncio
import copy
import json
from base64 import b64decode
from collections.abc import AsyncIterator, Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

from regcred.cluster.annotations import ANNOTATED, MANAGED_BY, MANAGER
from regcred.cluster.dockerconfig import SECRET_TYPE, SecretBody
from regcred.cluster.interface import (
    Change,
    ExpiredError,
    Listing,
    Message,
    MissingSecretEvent,
    NameTakenError,
)
from regcred.cluster.model import NAMESPACE, POD, SERVICE_ACCOUNT, WORKLOADS, Kind, LivePod, PullSecretList
from regcred.cluster.object_parser import ObjectParser, live_pod, pull_secrets
from regcred.cluster.service_accounts import merge_pull_secrets
from regcred.errors import MissingError, RegcredError
from regcred.registry_reference import Reference

KINDS = {kind.name: kind for kind in (NAMESPACE, SERVICE_ACCOUNT, *WORKLOADS)}
FINISHED = {"Succeeded", "Failed"}


@dataclass
class FakeCluster:
    """Stores objects as the API returns them.

    ``faults`` maps the start of a call, such as ``("list",)`` or ``("apply", "shop")``, to an error to raise.
    """

    kinds: tuple[Kind, ...] = WORKLOADS
    faults: dict[tuple[str, ...], RegcredError] = field(default_factory=dict)
    calls: list[tuple[str, ...]] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    evicted: list[tuple[str, str]] = field(default_factory=list)
    hanging: set[tuple[str, ...]] = field(default_factory=set)
    """Calls that never return, as if the process were killed during the call."""

    cluster_uid: str = "c1-uid"
    missed: asyncio.Queue[MissingSecretEvent] = field(default_factory=asyncio.Queue)
    """The pull Secrets that the kubelet reports as missing."""
    apply_seconds: float = 0.0
    on_apply: Callable[[str], object] = lambda _: None

    def __post_init__(self) -> None:
        self._objects: dict[tuple[str, str, str], dict[str, Any]] = {}
        self._secrets: dict[tuple[str, str], dict[str, Any]] = {}
        self._parser = ObjectParser(self.kinds)
        self._changes: list[tuple[int, str, str, dict[str, Any]]] = []
        self._version = 100
        self._compacted = 0
        self._changed = asyncio.Condition()

    def keep_stuck_pods(self) -> None:
        """Report stuck Pods too, as sync wants if eviction is on."""
        self._parser = ObjectParser(self.kinds, stuck_pods=True)

    # Calls of the tests, in the role of users.

    async def create(self, obj: dict[str, Any]) -> dict[str, Any]:
        """Create or replace an object."""
        obj = copy.deepcopy(obj)
        metadata = obj["metadata"]
        key = (obj["kind"], metadata.get("namespace", ""), metadata["name"])
        old = self._objects.get(key)
        self._version += 1
        metadata["uid"] = old["metadata"]["uid"] if old else f"{self._version:08x}-uid"
        metadata["resourceVersion"] = str(self._version)
        metadata.setdefault("creationTimestamp", "2026-01-01T00:00:00Z")
        self._objects[key] = obj
        await self._notify("MODIFIED" if old else "ADDED", obj)
        if obj["kind"] == "Namespace" and not old:
            account = {
                "kind": "ServiceAccount",
                "metadata": {"name": "default", "namespace": metadata["name"]},
            }
            await self.create(account)
        return obj

    async def remove(self, kind: str, namespace: str, name: str) -> None:
        """Delete an object; of a Namespace, also the objects in it."""
        if kind == "Namespace":
            for inner in [key for key in self._objects if key[1] == name]:
                await self.remove(*inner)
            self._secrets = {key: secret for key, secret in self._secrets.items() if key[0] != name}
        obj = self._objects.pop((kind, namespace, name))
        self._version += 1
        obj["metadata"]["resourceVersion"] = str(self._version)
        await self._notify("DELETED", obj)

    async def create_secret(
        self, namespace: str, name: str, *, kind: str = SECRET_TYPE, labels: dict[str, str] | None = None
    ) -> None:
        """Create a Secret as another client."""
        self._secrets[namespace, name] = {
            "type": kind,
            "labels": labels or {},
            "owner": "another-client",
            "data": "theirs",
        }

    async def remove_secret(self, namespace: str, name: str) -> None:
        """Delete a Secret as another client."""
        del self._secrets[namespace, name]

    async def secret(self, namespace: str, name: str) -> dict[str, Any] | None:
        """A Secret's type, labels, annotations, uid and decoded Docker configuration (``data``)."""
        return self._secrets.get((namespace, name))

    async def secrets(self) -> set[tuple[str, str]]:
        """The namespace and name of each Secret."""
        return set(self._secrets)

    async def account_pull_secrets(self, namespace: str, name: str) -> list[str]:
        """The names in a ServiceAccount's imagePullSecrets."""
        return pull_secrets(self._objects["ServiceAccount", namespace, name])

    async def events(self, namespace: str) -> list[tuple[str, str, str]]:
        """The reason, object and note of each Event in a namespace."""
        return [
            (message.reason, str(message.about), message.note)
            for message in self.messages
            if message.about.namespace == namespace
        ]

    async def forget_history(self) -> None:
        """Compact the history, so that a watch from an older resource version expires."""
        self._compacted = self._version

    def writes(self) -> list[tuple[str, ...]]:
        """The calls that write."""
        return [call for call in self.calls if call[0] in {"apply", "delete", "account", "tell", "evict"}]

    # Calls of sync.

    async def list(self, kind: Kind) -> Listing:
        self._record("list", kind.name)
        if kind.custom and kind.name not in KINDS:
            raise MissingError(f"{kind} is not served")
        found = [
            self._parser.item(kind, obj)
            for key, obj in self._objects.items()
            if key[0] == kind.name and _is_live(obj)
        ]
        return Listing([item for item in found if item], str(self._version))

    async def watch(self, kind: Kind, resource_version: str, *, labelled: bool) -> AsyncIterator[Change]:
        self._record("watch", kind.name)
        seen = int(resource_version)
        if seen < self._compacted:
            raise ExpiredError("too old")
        while True:
            async with self._changed:
                while self._version <= seen:
                    await self._changed.wait()
                changes = [change for change in self._changes if change[0] > seen]
                seen = self._version
            self._record("watching", kind.name)
            for version, event, changed_kind, obj in changes:
                metadata = obj["metadata"]
                has_label = (metadata.get("labels") or {}).get(ANNOTATED) == "true"
                if changed_kind != kind.name or (labelled and not has_label and event != "MODIFIED"):
                    continue
                gone = event == "DELETED" or not _is_live(obj) or (labelled and not has_label)
                item = None if gone else self._parser.item(kind, obj)
                yield Change(str(version), metadata.get("namespace", ""), metadata["name"], item)
            yield Change(str(seen))

    async def uid(self) -> str:
        self._record("uid")
        return self.cluster_uid

    async def missing_secret_events(self) -> AsyncIterator[MissingSecretEvent]:
        self._record("missing_secret_events")
        while True:
            yield await self.missed.get()

    async def apply_secret(self, namespace: str, body: SecretBody, *, first: bool) -> None:
        self._record("apply", namespace, body.name)
        if ("apply", namespace) in self.hanging:
            await asyncio.Event().wait()
        if ("Namespace", "", namespace) not in self._objects:
            raise MissingError(f"there is no namespace {namespace}")
        await asyncio.sleep(self.apply_seconds)
        self.on_apply(namespace)
        old = self._secrets.get((namespace, body.name))
        if old is not None and old["owner"] != MANAGER:
            raise NameTakenError(f"Secret {namespace}/{body.name} exists and is not ours")
        manifest = json.loads(body.content)
        assert manifest["metadata"]["labels"] == {MANAGED_BY: MANAGER}
        self._version += 1
        self._secrets[namespace, body.name] = {
            "type": manifest["type"],
            "labels": manifest["metadata"]["labels"],
            "annotations": manifest["metadata"]["annotations"],
            "data": b64decode(manifest["data"][".dockerconfigjson"]).decode(),
            "owner": MANAGER,
            "uid": old["uid"] if old else f"secret-{self._version}",
        }

    async def delete_secret(self, namespace: str, reference: Reference, *, placed: bool) -> None:
        self._record("delete", namespace, reference.secret_name)
        await asyncio.sleep(0)
        old = self._secrets.get((namespace, reference.secret_name))
        if old is not None and old["owner"] != MANAGER:
            raise NameTakenError(f"Secret {namespace}/{reference.secret_name} was created by another client")
        self._secrets.pop((namespace, reference.secret_name), None)

    async def live_pods(self, namespace: str) -> Sequence[LivePod]:
        self._record("pods", namespace)
        return [
            live_pod(obj)
            for key, obj in self._objects.items()
            if key[:2] == ("Pod", namespace) and _is_live(obj)
        ]

    async def set_pull_secrets(
        self,
        namespace: str,
        account: str,
        *,
        add: Sequence[str],
        remove: Sequence[str],
        known: PullSecretList | None = None,
    ) -> bool:
        self._record("account", namespace, account)
        obj = self._objects.get(("ServiceAccount", namespace, account))
        if obj is None:
            raise MissingError(f"there is no ServiceAccount {namespace}/{account}")
        new = merge_pull_secrets(pull_secrets(obj), add=add, remove=remove)
        if new == pull_secrets(obj):
            return False
        await self.create({**obj, "imagePullSecrets": [{"name": name} for name in new]})
        return True

    async def create_event(self, message: Message) -> bool:
        self._record("tell", message.about.namespace, message.reason)
        new = message.again or message.name not in {known.name for known in self.messages}
        if new:
            self.messages.append(message)
        return new

    async def event_names(self, reason: str) -> AbstractSet[str]:
        self._record("events", reason)
        return {message.name for message in self.messages if message.reason == reason}

    async def evict(self, namespace: str, pod: str, *, version: str) -> bool:
        self._record("evict", namespace, pod)
        if self._objects[("Pod", namespace, pod)]["metadata"]["resourceVersion"] != version:
            return False
        self.evicted.append((namespace, pod))
        return True

    def _record(self, *call: str) -> None:
        self.calls.append(call)
        for length in range(1, len(call) + 1):
            if call[:length] in self.faults:
                raise self.faults[call[:length]]

    async def _notify(self, event: str, obj: dict[str, Any]) -> None:
        async with self._changed:
            self._changes.append((self._version, event, obj["kind"], copy.deepcopy(obj)))
            self._changed.notify_all()


def _is_live(obj: dict[str, Any]) -> bool:
    return obj["kind"] != POD.name or (obj.get("status") or {}).get("phase") not in FINISHED
