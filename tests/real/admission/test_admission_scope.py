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
def test_objects_in_excluded_namespaces_are_not_changed(cluster: Cluster, excluded: str):
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
def test_in_other_modes_workloads_are_labelled_but_pods_and_templates_are_not_changed(
    cluster: Cluster, mode: str
):
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
    with cluster.rollouts("serving.knative.dev/v1/services/Service"):
        yield


def test_a_custom_kind_with_a_pod_template_is_admitted_like_the_others(
    cluster: Cluster, rollouts: None, fresh: str
):
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


def template_failures(cluster: Cluster) -> list[str]:
    metrics = cluster.kubernetes.get("/metrics").text
    counted = "apiserver_mutating_admission_policy_check_total{"
    return [
        line
        for line in metrics.splitlines()
        if line.startswith(counted) and 'policy="regcred-templates"' in line and "no_error" not in line
    ]


def test_a_custom_workload_without_a_template_is_marked_without_a_failure(
    cluster: Cluster, rollouts: None, fresh: str
):
    """A Rollout can refer to the template of a Deployment by `workloadRef`."""
    item = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Rollout",
        "metadata": {"namespace": fresh, "name": "by-reference", "annotations": ECR},
        "spec": {"workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "app"}},
    }
    before = template_failures(cluster)

    def admitted() -> dict[str, Any] | None:
        created = cluster.create(item, query="?dryRun=All")
        return created if references(created) else None

    created = eventually(admitted)
    assert created["spec"] == item["spec"]
    assert template_failures(cluster) == before


def test_the_mark_that_a_custom_workload_handed_down_stays_in_its_deployment(
    cluster: Cluster, rollouts: None, fresh: str
):
    """Knative creates a Revision for a Service, and a Deployment for the Revision. It reverts changes of the
    Deployment's template."""
    item = workload("Deployment", fresh, template={"regcred.dev/inherited": "payments/ecr-prod"})
    owner = {"apiVersion": "serving.knative.dev/v1", "kind": "Revision", "name": "app-1", "uid": "u-1"}
    item["metadata"]["ownerReferences"] = [{**owner, "controller": True}]

    def kept() -> bool:
        return inherited(cluster.create(item, query="?dryRun=All")) == "payments/ecr-prod"

    eventually(kept, seconds=10)
