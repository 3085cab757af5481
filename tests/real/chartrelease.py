"""A release of the chart on a real API server."""

from typing import Any

from helm import CHART, helm, settings
from real.controlplane import Cluster

from realparts.waiting import eventually

NAMESPACE = "regcred-chart"
KINDS = (
    "deployments,cronjobs,services,serviceaccounts,configmaps,networkpolicies,"
    "clusterroles,clusterrolebindings"
)
POLICIES = (
    "mutatingadmissionpolicies,mutatingadmissionpolicybindings,"
    "validatingadmissionpolicies,validatingadmissionpolicybindings"
)
MINE = "app.kubernetes.io/part-of=regcred"


class Release:
    """A release of the chart in one namespace."""

    def __init__(self, cluster: Cluster, namespace: str = NAMESPACE) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.kubeconfig = cluster.kubernetes.kubeconfig

    def upgrade(self, values: dict[str, Any] | None = None) -> str:
        """Install or upgrade, and return the notes."""
        answer = helm(
            "upgrade",
            "--install",
            "regcred",
            CHART,
            "--namespace",
            self.namespace,
            "--create-namespace",
            *settings(values or {}),
            kubeconfig=self.kubeconfig,
            check=False,
        )
        assert answer.returncode == 0, answer.stderr
        return answer.stdout

    def uninstall(self) -> None:
        helm(
            "uninstall",
            "regcred",
            "--namespace",
            self.namespace,
            "--ignore-not-found",
            kubeconfig=self.kubeconfig,
        )

    def uninstall_and_wait(self) -> None:
        """Uninstall, and wait until the Pods have ended."""
        self.uninstall()
        eventually(lambda: not self.cluster.items("Pod", self.namespace))

    def objects(self) -> list[str]:
        listed = self.cluster.kubernetes.kubectl("get", f"{KINDS},{POLICIES}", "-A", "-l", MINE, "-o", "name")
        return listed.stdout.split()
