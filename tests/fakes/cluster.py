"""A cluster in memory, with faults on demand; held to the same contract as the real API."""

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
from regcred.cluster.interface import Change, ExpiredError, Listing, Message, Miss, NameTakenError
from regcred.cluster.model import NAMESPACE, POD, SERVICE_ACCOUNT, WORKLOADS, Kind, LivePod
from regcred.cluster.object_parser import ObjectParser, live_pod, pull_secrets
from regcred.cluster.service_accounts import merge_pull_secrets
from regcred.errors import MissingError, RegcredError
from regcred.registry_reference import Reference

KINDS = {kind.name: kind for kind in (NAMESPACE, SERVICE_ACCOUNT, *WORKLOADS)}
FINISHED = {"Succeeded", "Failed"}


@dataclass
class FakeCluster:
    """Objects as the API shows them.

    ``faults`` maps a call, or a call and a namespace or kind, to the error to raise.
    """

    kinds: tuple[Kind, ...] = WORKLOADS
    faults: dict[tuple[str, ...], RegcredError] = field(default_factory=dict)
    calls: list[tuple[str, ...]] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    evicted: list[tuple[str, str]] = field(default_factory=list)
    hanging: set[tuple[str, ...]] = field(default_factory=set)
    """Calls that never come back, as when the process is killed in the middle."""

    cluster_uid: str = "c1-uid"
    missed: asyncio.Queue[Miss] = field(default_factory=asyncio.Queue)
    """What the kubelet says that Pods miss."""
    apply_seconds: float = 0.0
    on_apply: Callable[[str], object] = lambda _: None

    def __post_init__(self) -> None:
        self._objects: dict[tuple[str, str, str], dict[str, Any]] = {}
        self._secrets: dict[tuple[str, str], dict[str, Any]] = {}
        self._parser = ObjectParser(self.kinds)
        self._log: list[tuple[int, str, str, dict[str, Any]]] = []
        self._version = 100
        self._forgotten = 0
        self._changed = asyncio.Condition()

    def keep_stuck_pods(self) -> None:
        """Have stuck Pods reported, as where eviction is switched on."""
        self._parser = ObjectParser(self.kinds, stuck_pods=True)

    # What a user does.

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
        await self._tell("MODIFIED" if old else "ADDED", obj)
        if obj["kind"] == "Namespace" and not old:
            account = {
                "kind": "ServiceAccount",
                "metadata": {"name": "default", "namespace": metadata["name"]},
            }
            await self.create(account)
        return obj

    async def remove(self, kind: str, namespace: str, name: str) -> None:
        """Delete an object; a Namespace with all in it."""
        if kind == "Namespace":
            for inner in [key for key in self._objects if key[1] == name]:
                await self.remove(*inner)
            self._secrets = {key: secret for key, secret in self._secrets.items() if key[0] != name}
        obj = self._objects.pop((kind, namespace, name))
        self._version += 1
        obj["metadata"]["resourceVersion"] = str(self._version)
        await self._tell("DELETED", obj)

    async def create_secret(
        self, namespace: str, name: str, *, kind: str = SECRET_TYPE, labels: dict[str, str] | None = None
    ) -> None:
        """Create a Secret as somebody else."""
        self._secrets[namespace, name] = {
            "type": kind,
            "labels": labels or {},
            "owner": "somebody",
            "data": "theirs",
        }

    async def remove_secret(self, namespace: str, name: str) -> None:
        """Delete a Secret as somebody else."""
        del self._secrets[namespace, name]

    async def secret(self, namespace: str, name: str) -> dict[str, Any] | None:
        """A Secret as its reader sees it: type, labels, annotations, uid and the text of its Docker
        configuration."""
        return self._secrets.get((namespace, name))

    async def secrets(self) -> set[tuple[str, str]]:
        """Where Secrets are."""
        return set(self._secrets)

    async def account_pull_secrets(self, namespace: str, name: str) -> list[str]:
        """The names in a ServiceAccount's imagePullSecrets."""
        return pull_secrets(self._objects["ServiceAccount", namespace, name])

    async def events(self, namespace: str) -> list[tuple[str, str, str]]:
        """The Events in a namespace: reason, object, note."""
        return [
            (message.reason, str(message.about), message.note)
            for message in self.messages
            if message.about.namespace == namespace
        ]

    async def forget_history(self) -> None:
        """Compact: watches from before now expire."""
        self._forgotten = self._version

    def writes(self) -> list[tuple[str, ...]]:
        """The calls that write."""
        return [call for call in self.calls if call[0] in {"apply", "delete", "account", "tell", "evict"}]

    # What sync does.

    async def list(self, kind: Kind) -> Listing:
        self._meet("list", kind.name)
        if kind.custom and kind.name not in KINDS:
            raise MissingError(f"{kind} is not served")
        found = [
            self._parser.item(kind, obj)
            for key, obj in self._objects.items()
            if key[0] == kind.name and _is_live(obj)
        ]
        return Listing([item for item in found if item], str(self._version))

    async def watch(self, kind: Kind, resource_version: str, *, labelled: bool) -> AsyncIterator[Change]:
        self._meet("watch", kind.name)
        seen = int(resource_version)
        if seen < self._forgotten:
            raise ExpiredError("too old")
        while True:
            async with self._changed:
                while self._version <= seen:
                    await self._changed.wait()
                news = [entry for entry in self._log if entry[0] > seen]
                seen = self._version
            self._meet("watching", kind.name)
            for version, event, of, obj in news:
                metadata = obj["metadata"]
                has_label = (metadata.get("labels") or {}).get(ANNOTATED) == "true"
                if of != kind.name or (labelled and not has_label and event != "MODIFIED"):
                    continue
                gone = event == "DELETED" or not _is_live(obj) or (labelled and not has_label)
                item = None if gone else self._parser.item(kind, obj)
                yield Change(str(version), metadata.get("namespace", ""), metadata["name"], item)
            yield Change(str(seen))

    async def uid(self) -> str:
        self._meet("uid")
        return self.cluster_uid

    async def misses(self) -> AsyncIterator[Miss]:
        self._meet("misses")
        while True:
            yield await self.missed.get()

    async def apply_secret(self, namespace: str, body: SecretBody, *, first: bool) -> None:
        self._meet("apply", namespace, body.name)
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
        self._meet("delete", namespace, reference.secret_name)
        await asyncio.sleep(0)
        old = self._secrets.get((namespace, reference.secret_name))
        if old is not None and old["owner"] != MANAGER:
            raise NameTakenError(f"Secret {namespace}/{reference.secret_name} was created by somebody else")
        self._secrets.pop((namespace, reference.secret_name), None)

    async def live_pods(self, namespace: str) -> Sequence[LivePod]:
        self._meet("pods", namespace)
        return [
            live_pod(obj)
            for key, obj in self._objects.items()
            if key[:2] == ("Pod", namespace) and _is_live(obj)
        ]

    async def set_pull_secrets(
        self, namespace: str, account: str, *, add: Sequence[str], remove: Sequence[str]
    ) -> bool:
        self._meet("account", namespace, account)
        obj = self._objects.get(("ServiceAccount", namespace, account))
        if obj is None:
            raise MissingError(f"there is no ServiceAccount {namespace}/{account}")
        new = merge_pull_secrets(pull_secrets(obj), add=add, remove=remove)
        if new == pull_secrets(obj):
            return False
        await self.create({**obj, "imagePullSecrets": [{"name": name} for name in new]})
        return True

    async def create_event(self, message: Message) -> bool:
        self._meet("tell", message.about.namespace, message.reason)
        new = message.again or message.name not in {known.name for known in self.messages}
        if new:
            self.messages.append(message)
        return new

    async def event_names(self, reason: str) -> AbstractSet[str]:
        self._meet("events", reason)
        return {message.name for message in self.messages if message.reason == reason}

    async def evict(self, namespace: str, pod: str, *, version: str) -> bool:
        self._meet("evict", namespace, pod)
        if self._objects[("Pod", namespace, pod)]["metadata"]["resourceVersion"] != version:
            return False
        self.evicted.append((namespace, pod))
        return True

    def _meet(self, *call: str) -> None:
        self.calls.append(call)
        for length in range(1, len(call) + 1):
            if call[:length] in self.faults:
                raise self.faults[call[:length]]

    async def _tell(self, event: str, obj: dict[str, Any]) -> None:
        async with self._changed:
            self._log.append((self._version, event, obj["kind"], copy.deepcopy(obj)))
            self._changed.notify_all()


def _is_live(obj: dict[str, Any]) -> bool:
    return obj["kind"] != POD.name or (obj.get("status") or {}).get("phase") not in FINISHED
