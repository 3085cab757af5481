"""A real API server with the methods of :class:`fakes.cluster.FakeCluster`, so that both run the same
tests."""

from __future__ import annotations

import asyncio
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fakes.cluster import KINDS
from kubernetes.aio import config
from kubernetes.aio.client import Configuration

from regcred.cluster.dockerconfig import SECRET_TYPE
from regcred.cluster.kube import Kube
from regcred.cluster.model import WORKLOADS, Kind
from regcred.cluster.object_parser import ObjectParser, pull_secrets
from regcred.cluster.session import KubeSession
from regcred.errors import MissingError

SECRETS = Kind("", "v1", "secrets", "Secret")


async def open_session(kubeconfig: Path, **options: Any) -> KubeSession:
    configuration = Configuration()
    await config.load_kube_config(str(kubeconfig), client_configuration=configuration, persist_config=False)
    return KubeSession(configuration, **options)


class RealCluster(Kube):
    """Makes the calls of users with ``admin``, and the calls of sync (:class:`Kube`) with ``session``."""

    def __init__(
        self,
        session: KubeSession,
        admin: KubeSession,
        *,
        kinds: tuple[Kind, ...] = WORKLOADS,
        forget: Callable[[], None] = lambda: None,
        **options: Any,
    ) -> None:
        super().__init__(session, ObjectParser(kinds), instance="test", **options)
        self.admin = admin
        self._forget = forget

    async def forget_history(self) -> None:
        """Restart the API server, which empties its watch cache."""
        await asyncio.to_thread(self._forget)

    async def create(self, obj: dict[str, Any]) -> dict[str, Any]:
        metadata = obj["metadata"]
        kind = KINDS[obj["kind"]]
        path = kind.path(metadata.get("namespace", ""), metadata["name"])
        body = _encode({"apiVersion": kind.api_version, **obj})
        try:
            old = await self.admin.call("GET", path)
            merged = {**old, **obj, "metadata": {**old["metadata"], **metadata}}
            del merged["metadata"]["resourceVersion"]
            if obj["kind"] == "Pod" and obj.get("status"):
                return await self.admin.call("PUT", f"{path}/status", body=_encode(merged))
            return await self.admin.call("PUT", path, body=_encode(merged))
        except MissingError:
            created = await self.admin.call("POST", kind.path(metadata.get("namespace", "")), body=body)
        if obj["kind"] == "Namespace":
            await self._await_account(metadata["name"])
        return created

    async def _await_account(self, namespace: str) -> None:
        for _ in range(200):
            try:
                await self.admin.call("GET", KINDS["ServiceAccount"].path(namespace, "default"))
                return
            except MissingError:
                await asyncio.sleep(0.05)
        raise AssertionError("the controller-manager did not create a default ServiceAccount in 10 seconds")

    async def remove(self, kind: str, namespace: str, name: str) -> None:
        path = KINDS[kind].path(namespace, name)
        await self.admin.call("DELETE", path, body=_encode({"gracePeriodSeconds": 0}))
        for _ in range(600):
            try:
                await self.admin.call("GET", path)
            except MissingError:
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"{kind} {name} still exists after 30 seconds")

    async def start_removing_namespace(self, name: str) -> None:
        """Delete a namespace without waiting; the controller-manager deletes the objects in it first."""
        await self.admin.call("DELETE", KINDS["Namespace"].path("", name))

    async def create_secret(
        self, namespace: str, name: str, *, kind: str = SECRET_TYPE, labels: dict[str, str] | None = None
    ) -> None:
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "labels": labels or {}},
            "type": kind,
            "data": {".dockerconfigjson": b64encode(b'{"auths":{"theirs":{}}}').decode()},
        }
        await self.admin.call("POST", SECRETS.path(namespace), body=_encode(body))

    async def remove_secret(self, namespace: str, name: str) -> None:
        await self.admin.call("DELETE", SECRETS.path(namespace, name))

    async def secret(self, namespace: str, name: str) -> dict[str, Any] | None:
        try:
            obj = await self.admin.call("GET", SECRETS.path(namespace, name))
        except MissingError:
            return None
        metadata = obj["metadata"]
        return {
            "type": obj["type"],
            "labels": metadata.get("labels") or {},
            "annotations": metadata.get("annotations") or {},
            "uid": metadata["uid"],
            "version": metadata["resourceVersion"],
            "data": b64decode(obj["data"][".dockerconfigjson"]).decode(),
        }

    async def account_pull_secrets(self, namespace: str, name: str) -> list[str]:
        return pull_secrets(await self.admin.call("GET", KINDS["ServiceAccount"].path(namespace, name)))

    async def events(self, namespace: str) -> list[tuple[str, str, str]]:
        answer = await self.admin.call("GET", f"/apis/events.k8s.io/v1/namespaces/{namespace}/events")
        return [
            (
                event["reason"],
                f"{event['regarding']['kind']} {namespace}/{event['regarding']['name']}",
                event["note"],
            )
            for event in answer["items"]
            if event.get("reportingController") == "regcred.dev/sync"
        ]


def _encode(obj: dict[str, Any]) -> bytes:
    import orjson

    return orjson.dumps(obj)
