"""The input of a sync: a mount with grants, indexes and credentials, and manifests of workloads."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import SecretStr

from regcred.cluster.model import Mode
from regcred.credential import Credential, Login
from regcred.registry_reference import Reference
from regcred.sync import Options
from regcred.sync.plan_input import Rules
from regcred.vault.interface import KeyValue
from regcred.vault.records.credential import CredentialRecord
from regcred.vault.records.declared import ClusterGrants
from regcred.vault.records.index import Index, IndexEntry, State
from regcred.vault.store import Store

CLUSTER = "c1"
NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
LIFETIME = timedelta(hours=12)


@dataclass
class Clock:
    """A clock that only :meth:`move` moves."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now

    def move(self, **span: float) -> None:
        self.now += timedelta(**span)


@dataclass
class Mount:
    """The ``regcred/`` mount, with methods that write what rotate and admins write."""

    kv: KeyValue
    clock: Any = field(default_factory=Clock)
    cluster: str = CLUSTER

    def __post_init__(self) -> None:
        self.store = Store(self.kv)

    def grant(self, grants: dict[str, list[str]], *, globs: bool = False) -> None:
        cas = self.store.cluster_version(self.cluster)
        self.store.write_cluster(self.cluster, ClusterGrants(grants=grants, globs=globs), cas=cas)

    def mint(
        self, reference: str, password: str = "s3cret-one", *, lifetime: timedelta | None = LIFETIME
    ) -> int:
        """Write a new credential and its index entry, as rotate does, and return the credential's version."""
        ref = Reference.parse(reference)
        now = self.clock()
        login = Login("AWS", SecretStr(password), ("registry.example.com",))
        credential = Credential("basic", (login,), now, now + lifetime if lifetime else None)
        record = CredentialRecord.of(credential, reference=ref, fingerprint=f"f-{password}")
        version = self.store.write_credential(ref, record, cas=self.store.credential_version(ref))
        self.index(
            reference,
            state=State.OK,
            version=version,
            expires_at=record.expires_at,
            refresh_at=record.refresh_at,
        )
        return version

    def index(self, reference: str, **entry: Any) -> None:
        """Write an index entry in place of any older one."""
        ref = Reference.parse(reference)
        found = self.store.index(ref.project)
        entries = dict(found.value.registries) if found else {}
        entries[ref.registry] = IndexEntry(**{"changed_at": self.clock(), **entry})
        path = f"credentials/{ref.project}/_index"
        self.kv.write(path, Index(registries=entries).fields(), cas=self.kv.version(path))

    def placed(self, reference: str) -> dict[int, set[str]]:
        """The namespaces that hold a Secret according to the ledger, by the credential's version."""
        ref = Reference.parse(reference)
        status = self.store.status(self.cluster, ref.project)
        placement = status.value.registries.get(ref.registry) if status else None
        return {version: set(names) for version, names in placement.placed.items()} if placement else {}

    def refused(self, reference: str) -> dict[str, str]:
        """The refusals of a reference in the ledger, by namespace."""
        ref = Reference.parse(reference)
        status = self.store.status(self.cluster, ref.project)
        placement = status.value.registries.get(ref.registry) if status else None
        return dict(placement.refused) if placement else {}


def options(mode: Mode = Mode.NONE, *, grace: timedelta = timedelta(0), **more: Any) -> Options:
    rules = {"cluster": CLUSTER, "mode": mode, "grace": grace}
    wide = {name: more.pop(name) for name in ("kinds", "concurrency") if name in more}
    return Options(rules=Rules(**{**rules, **more}), **wide)


def namespace(
    name: str, *, labels: dict[str, str] | None = None, annotations: dict[str, str] | None = None
) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": labels or {}, "annotations": annotations or {}},
    }


def deployment(
    space: str,
    name: str,
    *references: str,
    template: dict[str, str] | None = None,
    account: str = "",
    labels: dict[str, str] | None = None,
) -> dict[str, Any]:
    """A Deployment with references in its annotations, and with no replicas, so that its image need not
    exist."""
    annotations = {f"registry.regcred.dev/r{n}": reference for n, reference in enumerate(references)}
    spec: dict[str, Any] = {"containers": [{"name": "app", "image": "registry.example.com/app:1"}]}
    if account:
        spec["serviceAccountName"] = account
    pod_labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": space, "annotations": annotations, "labels": labels or {}},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": pod_labels},
            "template": {"metadata": {"labels": pod_labels, "annotations": template or {}}, "spec": spec},
        },
    }


def pod(
    space: str, name: str, *references: str, pull_secrets: tuple[str, ...] = (), **metadata: Any
) -> dict[str, Any]:
    annotations = {f"registry.regcred.dev/r{n}": reference for n, reference in enumerate(references)}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": space, "annotations": annotations, **metadata},
        "spec": {
            "schedulerName": "nobody",  # on a node, the kubelet would overwrite the status that a test sets
            "containers": [{"name": "app", "image": "registry.example.com/app:1"}],
            "imagePullSecrets": [{"name": secret} for secret in pull_secrets],
        },
    }


async def until(check: Callable[[], Any], *, seconds: float = 60) -> None:
    """Wait until a check is true; fail after the given time."""
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, f"the check is not true after {seconds} seconds"
        await asyncio.sleep(0.005)


def password_in(secret: dict[str, Any] | None) -> str | None:
    """The password in a Secret that sync has placed; None if there is no Secret."""
    if secret is None:
        return None
    return json.loads(secret["data"])["auths"]["registry.example.com"]["password"]
