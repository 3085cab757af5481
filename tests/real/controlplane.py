"""A control plane with the policies and RBAC of the chart, and helpers to use it."""

import contextlib
import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests
from helm import CHART, Object, of_group, render

from realparts.kubernetes import Kubernetes
from realparts.stack import Stack
from realparts.waiting import eventually

POLICIES = "admissionregistration.k8s.io"
RBAC = "rbac.authorization.k8s.io"
SYNC = "system:serviceaccount:regcred-system:regcred-sync"
KINDS = {
    "Namespace": "/api/v1/namespaces",
    "Pod": "/api/v1/namespaces/{}/pods",
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
    "Secret": "/api/v1/namespaces/{}/secrets",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "StatefulSet": "/apis/apps/v1/namespaces/{}/statefulsets",
    "DaemonSet": "/apis/apps/v1/namespaces/{}/daemonsets",
    "ReplicaSet": "/apis/apps/v1/namespaces/{}/replicasets",
    "Job": "/apis/batch/v1/namespaces/{}/jobs",
    "CronJob": "/apis/batch/v1/namespaces/{}/cronjobs",
    "Rollout": "/apis/argoproj.io/v1alpha1/namespaces/{}/rollouts",
}

OPENSHIFT = {
    "runAsNonRoot": True,
    "runAsUser": 1000680000,
    "fsGroup": 1000680000,
    "seccompProfile": {"type": "RuntimeDefault"},
}
"""The security context that OpenShift's restricted-v2 gives a Pod without a user: a user and a group from the
namespace's range. No image has an entry for this user.

Contract: github.com/openshift/apiserver-library-go pkg/securitycontextconstraints.
"""


class Cluster:
    """A control plane, used as its administrator."""

    def __init__(self, kubernetes: Kubernetes) -> None:
        self.kubernetes = kubernetes
        self._namespaces: list[str] = []

    def create(self, item: Object, *, query: str = "") -> Object:
        path = KINDS[item["kind"]].format(item["metadata"].get("namespace"))
        created: Object = self.kubernetes.request("POST", path + query, item)
        return created

    def get(self, kind: str, namespace: str, name: str) -> Object:
        found: Object = self.kubernetes.request("GET", f"{KINDS[kind].format(namespace)}/{name}")
        return found

    def items(self, kind: str, namespace: str) -> list[Object]:
        items: list[Object] = self.kubernetes.request("GET", KINDS[kind].format(namespace))["items"]
        return items

    def patch(self, kind: str, namespace: str, name: str, body: Any) -> Object:
        """Merge-patch an object (RFC 7386)."""
        path = f"{KINDS[kind].format(namespace)}/{name}"
        patched: Object = self.kubernetes.request(
            "PATCH", path, body, content_type="application/merge-patch+json"
        )
        return patched

    def annotate(self, kind: str, namespace: str, name: str, annotations: dict[str, str | None]) -> Object:
        return self.patch(kind, namespace, name, {"metadata": {"annotations": annotations}})

    def namespace(
        self, *, labels: dict[str, str] | None = None, annotations: dict[str, str] | None = None
    ) -> str:
        """Create a namespace with a new name, and wait for its default ServiceAccount."""
        name = f"t-{uuid.uuid4().hex[:8]}"
        metadata = {"name": name, "labels": labels or {}, "annotations": annotations or {}}
        self.create({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        self._namespaces.append(name)
        eventually(lambda: self.kubernetes.get(f"/api/v1/namespaces/{name}/serviceaccounts/default").ok)
        return name

    def clean(self) -> None:
        """Delete the namespaces that this object created, because a node takes only 110 Pods."""
        for name in self._namespaces:
            self.kubernetes.request("DELETE", f"/api/v1/namespaces/{name}")
        self._namespaces.clear()

    def install(self, values: dict[str, Any] | None = None, *, chart: Path = CHART) -> list[Object]:
        """Apply the policies and RBAC of the chart, wait until they are in force, and return them."""
        rendered = render(values, chart=chart)
        objects = [
            *of_group(rendered, POLICIES, RBAC),
            *(item for item in rendered if item["kind"] == "ServiceAccount"),
        ]
        self.kubernetes.apply(*objects)
        self.wait_until_in_force(active=(values or {}).get("mode") not in {"serviceaccount", "none"})
        eventually(lambda: self._authorizes(objects), what="the sync's ClusterRole in force")
        return objects

    def _authorizes(self, objects: list[Object]) -> bool:
        """Whether the API server applies the sync's ClusterRole: it learns of a change through a watch."""
        (role,) = (item for item in objects if item["kind"] == "ClusterRole")
        granted = {
            (resource, verb)
            for rule in role["rules"]
            for resource in rule["resources"]
            for verb in rule["verbs"]
        }
        optional = [("serviceaccounts", "patch"), ("pods/eviction", "create")]
        return all(self._may(*right) is (right in granted) for right in [("secrets", "create"), *optional])

    def _may(self, resource: str, verb: str) -> bool:
        name, _, subresource = resource.partition("/")
        attributes = {"namespace": "default", "resource": name, "subresource": subresource, "verb": verb}
        spec = {"user": SYNC, "resourceAttributes": attributes}
        kind = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
        path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
        return bool(self.kubernetes.request("POST", path, kind)["status"]["allowed"])

    def remove(self, objects: list[Object]) -> None:
        """Delete the objects that :meth:`install` returned."""
        listed = {"apiVersion": "v1", "kind": "List", "items": objects}
        self.kubernetes.kubectl("delete", "--ignore-not-found", "-f", "-", stdin=json.dumps(listed))
        self.wait_until_in_force(active=False)

    def wait_until_in_force(self, *, active: bool = True) -> None:
        """Wait until the API server applies the policies, or no longer applies them if `active` is false."""
        probe = pod("default", annotations={"registry.regcred.dev/probe": "probe/probe"})

        def in_force() -> bool:
            seen = self.create(probe, query="?dryRun=All")
            return ("imagePullSecrets" in seen["spec"]) is active

        eventually(in_force)
        time.sleep(0.3)  # the other bindings arrive by the same watch, but later

    @contextlib.contextmanager
    def without_policies(self) -> Iterator[None]:
        """Delete the bindings of the mutating policies in the meantime, as if the chart was not installed."""
        path = f"/apis/{POLICIES}/v1/mutatingadmissionpolicybindings"
        names = ("regcred-workloads", "regcred-templates", "regcred-pods")
        bindings = [self.kubernetes.request("GET", f"{path}/{name}") for name in names]
        for name in names:
            self.kubernetes.request("DELETE", f"{path}/{name}")
        self.wait_until_in_force(active=False)
        try:
            yield
        finally:
            for binding in bindings:
                metadata = {"name": binding["metadata"]["name"], "labels": binding["metadata"]["labels"]}
                self.kubernetes.request("POST", path, {**binding, "metadata": metadata})
            self.wait_until_in_force()

    @contextlib.contextmanager
    def rollouts(self, *other_kinds: str) -> Iterator[str]:
        """Serve a custom kind of workload, and install the chart for it. Yield its name in the settings of
        sync."""
        schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        crd = {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": "rollouts.argoproj.io"},
            "spec": {
                "group": "argoproj.io",
                "scope": "Namespaced",
                "names": {"plural": "rollouts", "singular": "rollout", "kind": "Rollout"},
                "versions": [
                    {
                        "name": "v1alpha1",
                        "served": True,
                        "storage": True,
                        "schema": {"openAPIV3Schema": schema},
                    }
                ],
            },
        }
        self.kubernetes.apply(crd)
        self.kubernetes.kubectl("wait", "--for=condition=Established", "crd/rollouts.argoproj.io")
        kind = "argoproj.io/v1alpha1/rollouts/Rollout"
        self.install({"workloadKinds": [kind, *other_kinds]})
        try:
            yield kind
        finally:
            self.kubernetes.kubectl("delete", "crd", "rollouts.argoproj.io")
            self.install()

    def session(self, token: str) -> "Caller":
        return Caller(self.kubernetes.server, str(self.kubernetes.ca), token)


@contextlib.contextmanager
def with_chart(stack: Stack) -> Iterator[Cluster]:
    """The control plane of the stack with the chart's policies and RBAC at their default values.

    They are removed in the end.
    """
    stack.up(["kubernetes"])
    cluster = Cluster(stack.kubernetes)
    if not stack.kubernetes.get("/api/v1/namespaces/regcred-system").ok:
        cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "regcred-system"}})
    installed = cluster.install()
    try:
        yield cluster
    finally:
        cluster.remove(installed)
        cluster.clean()


class Caller:
    """A user who signs in by a token. Each response is returned, whatever its status."""

    def __init__(self, server: str, ca: str, token: str) -> None:
        self._server = server
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.verify = ca
        self._session.headers["Authorization"] = f"Bearer {token}"

    def call(
        self, method: str, path: str, body: Any = None, *, content_type: str = "application/json"
    ) -> requests.Response:
        """Send a request."""
        return self._session.request(
            method, self._server + path, json=body, headers={"Content-Type": content_type}, timeout=10
        )


CONTAINER = {"name": "main", "image": "registry.example.com/app:1"}


def create_pull_secret(
    kubernetes: Kubernetes, namespace: str, name: str, *, server: str, username: str, password: str
) -> None:
    """Create a Secret with a login, as a user does without Regcred."""
    kubernetes.kubectl(
        *("-n", namespace, "create", "secret", "docker-registry", name),
        f"--docker-server={server}",
        f"--docker-username={username}",
        f"--docker-password={password}",
    )


def pod(
    namespace: str,
    name: str = "",
    *,
    annotations: dict[str, str] | None = None,
    secrets: list[str] | None = None,
    account: str = "",
) -> Object:
    """A Pod. Without a name it gets a generated one; without annotations it has no map of them."""
    metadata: Object = {"namespace": namespace, **({"name": name} if name else {"generateName": "pod-"})}
    if annotations is not None:
        metadata["annotations"] = annotations
    spec: Object = {"containers": [CONTAINER]}
    if secrets is not None:
        spec["imagePullSecrets"] = [{"name": secret} for secret in secrets]
    if account:
        spec["serviceAccountName"] = account
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def workload(
    kind: str,
    namespace: str,
    name: str = "app",
    *,
    own: dict[str, str] | None = None,
    template: dict[str, str] | None = None,
    job: dict[str, str] | None = None,
) -> Object:
    """A workload of any kind, annotated on itself, its pod template or the Job template of a CronJob."""
    labels = {"app": name}
    pods: Object = {
        "metadata": {"labels": labels, **({"annotations": template} if template is not None else {})},
        "spec": {"containers": [CONTAINER]},
    }
    if kind in {"Job", "CronJob"}:
        pods["spec"]["restartPolicy"] = "Never"
        pods["metadata"].pop("labels")
        spec: Object = {"template": pods}
    else:
        spec = {"selector": {"matchLabels": labels}, "template": pods}
    if kind == "StatefulSet":
        spec["serviceName"] = name
    if kind == "CronJob":
        job_metadata = {"annotations": job} if job is not None else {}
        spec = {"schedule": "0 0 1 1 *", "jobTemplate": {"metadata": job_metadata, "spec": spec}}
    metadata: Object = {"namespace": namespace, "name": name}
    if own is not None:
        metadata["annotations"] = own
    group = "batch" if kind in {"Job", "CronJob"} else "apps"
    return {"apiVersion": f"{group}/v1", "kind": kind, "metadata": metadata, "spec": spec}


def pod_template(item: Object) -> Object:
    """The pod template of a workload of any kind."""
    spec = item["spec"]
    template: Object = (spec["jobTemplate"]["spec"] if "jobTemplate" in spec else spec)["template"]
    return template


def secret_names(item: Object) -> list[str]:
    """The pull secrets of a Pod, in order."""
    return [entry["name"] for entry in item["spec"].get("imagePullSecrets", [])]


def references(item: Object) -> str | None:
    """The references that admission has written, or None."""
    found: str | None = item["metadata"].get("annotations", {}).get("regcred.dev/references")
    return found


def label(item: Object) -> str | None:
    """The label by which sync finds the object, or None."""
    found: str | None = item["metadata"].get("labels", {}).get("regcred.dev/annotated")
    return found


def inherited(item: Object) -> str | None:
    """The mark in a workload's pod template, or None."""
    found: str | None = (
        pod_template(item).get("metadata", {}).get("annotations", {}).get("regcred.dev/inherited")
    )
    return found
