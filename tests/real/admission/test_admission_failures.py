"""Admission never blocks an object, and the API server counts what it does."""

import copy

import pytest
from real.admission.examples import ECR
from real.controlplane import POLICIES, Cluster, pod, references, secret_names, workload

pytestmark = pytest.mark.real


def test_thousands_of_annotations_do_not_block_a_pod(cluster: Cluster, namespace: str):
    many = {f"registry.regcred.dev/k{number}": f"project-{number}/registry" for number in range(3000)}
    assert cluster.create(pod(namespace, annotations=many))["metadata"]["name"]


def test_a_policy_that_fails_does_not_block_pods_or_workloads(cluster: Cluster, fresh: str):
    path = f"/apis/{POLICIES}/v1/mutatingadmissionpolicies"
    broken = {}
    for name in ("regcred-pods", "regcred-workloads", "regcred-templates"):
        policy = cluster.kubernetes.request("GET", f"{path}/{name}")
        wrong = copy.deepcopy(policy)
        for mutation in wrong["spec"]["mutations"]:
            mutation["jsonPatch"]["expression"] = (
                "[JSONPatch{op: 'remove', path: '/spec/nothing/' + "
                "string([1][int(size(request.namespace))])}]"
            )
        broken[name] = policy["spec"]
        cluster.kubernetes.request("PUT", f"{path}/{name}", wrong)
    cluster.wait_until_in_force(active=False)
    try:
        assert secret_names(cluster.create(pod(fresh, annotations=ECR))) == []
        assert references(cluster.create(workload("Deployment", fresh, own=ECR))) is None
    finally:
        cluster.install()


def test_the_api_server_counts_what_the_policies_do(cluster: Cluster, namespace: str):
    cluster.create(pod(namespace, annotations=ECR))
    metrics = cluster.kubernetes.get("/metrics").text
    counted = 'apiserver_mutating_admission_policy_check_total{error_type="no_error",policy="regcred-pods"'
    assert counted in metrics
    assert "apiserver_mutating_admission_policy_check_duration_seconds_bucket" in metrics
