"""Where the policies apply: which namespaces, modes and kinds."""

from typing import Any

import pytest
import requests
from helm import render
from real.admission.examples import ECR
from real.controlplane import Cluster, inherited, label, pod, references, secret_names, workload

from realparts.waiting import eventually

pytestmark = pytest.mark.real


@pytest.mark.parametrize("excluded", ["kube-system", "kube-public", "kube-node-lease", "regcred-system"])
def test_excluded_namespaces_are_not_touched(cluster: Cluster, excluded: str):
    made = (
        cluster.create(pod(excluded, annotations=ECR), query="?dryRun=All")
        if excluded != "kube-public"
        else None
    )
    if made:
        assert secret_names(made) == []
    created = cluster.create(workload("Deployment", excluded, own=ECR), query="?dryRun=All")
    assert (label(created), references(created), inherited(created)) == (None, None, None)


@pytest.mark.parametrize("mode", ["none", "serviceaccount"])
def test_in_other_modes_workloads_are_found_but_pods_and_templates_stay(cluster: Cluster, mode: str):
    there = cluster.namespace(labels={"regcred.dev/mode": mode})
    created = cluster.create(workload("Deployment", there, own=ECR))
    assert (label(created), references(created), inherited(created)) == ("true", "payments/ecr-prod", None)
    assert secret_names(cluster.create(pod(there, annotations=ECR))) == []


def test_a_cluster_in_another_mode_admits_only_the_namespaces_that_chose_it(cluster: Cluster):
    plain, chosen = cluster.namespace(), cluster.namespace(labels={"regcred.dev/mode": "admission"})
    cluster.kubernetes.apply(
        *(item for item in render({"mode": "none"}) if item["kind"] == "MutatingAdmissionPolicyBinding")
    )
    try:
        eventually(lambda: secret_names(cluster.create(pod(plain, annotations=ECR))) == [])
        assert secret_names(cluster.create(pod(chosen, annotations=ECR))) == ["regcred.payments.ecr-prod"]
    finally:
        cluster.install()


@pytest.fixture
def rollouts(cluster: Cluster):
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
                    "schema": {
                        "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
                    },
                }
            ],
        },
    }
    cluster.kubernetes.apply(crd)
    cluster.install({"workloadKinds": ["argoproj.io/v1alpha1/rollouts/Rollout"]})
    yield
    cluster.install()
    cluster.kubernetes.request(
        "DELETE", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/rollouts.argoproj.io"
    )


def test_custom_kinds_with_a_pod_template_are_admitted_alike(cluster: Cluster, rollouts: None, fresh: str):
    item = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Rollout",
        "metadata": {"namespace": fresh, "name": "app", "annotations": ECR},
        "spec": {"template": {"spec": {"containers": []}}},
    }

    def admitted() -> dict[str, Any] | None:
        try:
            created = cluster.create(item, query="?dryRun=All")
        except requests.HTTPError:
            return None
        return created if references(created) else None

    created = eventually(admitted)
    assert (label(created), references(created), inherited(created)) == (
        "true",
        "payments/ecr-prod",
        "payments/ecr-prod",
    )
