"""The Pods that the real controllers create."""

import copy

import pytest
from real.admission.examples import ECR, QUAY
from real.controlplane import Cluster, label, pod_template, secret_names, workload

from realparts.waiting import eventually

pytestmark = pytest.mark.real


def test_the_first_pod_of_a_custom_serviceaccount_names_a_secret_that_does_not_exist_yet(
    cluster: Cluster, fresh: str
):
    """The kubelet tries again until the Secret exists, so nobody has to delete the Pod."""
    account_body = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "own", "namespace": fresh},
    }
    item = workload("Deployment", fresh, own=ECR)
    item["spec"]["template"]["spec"]["serviceAccountName"] = "own"
    cluster.kubernetes.apply(account_body, item)
    (made,) = eventually(lambda: cluster.items("Pod", fresh))
    assert secret_names(made) == ["regcred.payments.ecr-prod"]


def test_the_pods_of_a_deployment_get_the_secrets(cluster: Cluster, fresh: str):
    cluster.create(workload("Deployment", fresh, own=ECR, template=QUAY))
    (made,) = eventually(lambda: cluster.items("Pod", fresh))
    assert secret_names(made) == ["regcred.core.quay", "regcred.payments.ecr-prod"]
    assert label(made) is None, "sync finds its Deployment; labelled Pods would only make its watch larger"
    (replica_set,) = cluster.items("ReplicaSet", fresh)
    assert label(replica_set) is None
    template = copy.deepcopy(pod_template(replica_set))
    template["metadata"]["labels"].pop("pod-template-hash")
    assert template == pod_template(cluster.get("Deployment", fresh, "app"))


@pytest.mark.parametrize("kind", ["StatefulSet", "Job"])
def test_the_pods_of_other_controllers_get_the_secrets(cluster: Cluster, fresh: str, kind: str):
    cluster.create(workload(kind, fresh, own=ECR, template=QUAY))
    (made,) = eventually(lambda: cluster.items("Pod", fresh))
    assert secret_names(made) == ["regcred.core.quay", "regcred.payments.ecr-prod"]


def test_the_pods_of_a_cronjob_get_the_secrets(cluster: Cluster, fresh: str):
    cluster.create(workload("CronJob", fresh, own=ECR, template=QUAY))
    cluster.kubernetes.kubectl("-n", fresh, "create", "job", "--from=cronjob/app", "now")
    (made,) = eventually(lambda: cluster.items("Pod", fresh))
    assert secret_names(made) == ["regcred.core.quay", "regcred.payments.ecr-prod"]
    assert label(cluster.get("Job", fresh, "now")) is None
