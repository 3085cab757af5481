"""Annotations and objects for the tests of admission."""

from typing import Any

from real.controlplane import Cluster

ECR = {"registry.regcred.dev/ecr": "payments/ecr-prod"}
QUAY = {"registry.regcred.dev/quay": "core/quay"}
WORKLOADS = ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob"]
UPDATABLE = [kind for kind in WORKLOADS if kind != "Job"]
MALFORMED = [
    "a/b/c",
    "Payments/ecr",
    "payments",
    "",
    "/",
    "a/",
    "/b",
    " a/b",
    "a/b ",
    "a/b\n",
    "-a/b",
    "a/b-",
    "a_b/c",
    "a/b,c/d",
    f"{'a' * 64}/b",
    "ä/b",
]


def account(namespace: str, secrets: list[str]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "puller", "namespace": namespace},
        "imagePullSecrets": [{"name": name} for name in secrets],
    }


def settled(cluster: Cluster, namespace: str) -> dict[str, Any] | None:
    """The Deployment ``app``, or None until its controller has processed its newest generation."""
    found = cluster.get("Deployment", namespace, "app")
    status = found.get("status", {})
    return (
        found
        if status.get("updatedReplicas") == 1
        and status["observedGeneration"] == found["metadata"]["generation"]
        else None
    )
