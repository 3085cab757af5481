"""What admission adds to a Pod, by the annotations of the Pod or of its namespace."""

import pytest
import requests
from real.admission.examples import ECR, QUAY, account
from real.controlplane import Cluster, inherited, label, pod, references, secret_names, workload

pytestmark = pytest.mark.real


def test_a_bare_pod_without_annotations_or_labels_is_not_changed(cluster: Cluster, namespace: str):
    made = cluster.create(pod(namespace, "plain"))
    assert secret_names(made) == []
    assert "regcred" not in str(made)


@pytest.mark.parametrize("name", ["bare", ""], ids=["named", "generateName"])
def test_a_bare_pod_gets_its_secrets_and_is_found_by_sync(cluster: Cluster, namespace: str, name: str):
    made = cluster.create(pod(namespace, name, annotations={**ECR, **QUAY}))
    assert secret_names(made) == ["regcred.core.quay", "regcred.payments.ecr-prod"]
    assert references(made) == "core/quay,payments/ecr-prod"
    assert label(made) == "true"


def test_the_serviceaccounts_own_secrets_stay_first_and_in_order(cluster: Cluster, fresh: str):
    cluster.create(account(fresh, ["zeta", "alpha"]))
    made = cluster.create(pod(fresh, annotations=ECR, account="puller"))
    assert secret_names(made) == ["zeta", "alpha", "regcred.payments.ecr-prod"]


def test_a_pods_own_secrets_stay_first_and_in_order(cluster: Cluster, namespace: str):
    made = cluster.create(pod(namespace, annotations=ECR, secrets=["zeta", "alpha"]))
    assert secret_names(made) == ["zeta", "alpha", "regcred.payments.ecr-prod"]


def test_a_name_that_a_pod_already_has_is_not_added_again(cluster: Cluster, fresh: str):
    cluster.create(account(fresh, ["regcred.payments.ecr-prod", "own"]))
    by_account = cluster.create(pod(fresh, annotations={**ECR, **QUAY}, account="puller"))
    assert secret_names(by_account) == ["regcred.payments.ecr-prod", "own", "regcred.core.quay"]
    by_itself = cluster.create(
        pod(
            fresh,
            annotations={**ECR, "registry.regcred.dev/2": "payments/ecr-prod"},
            secrets=["regcred.payments.ecr-prod"],
        )
    )
    assert secret_names(by_itself) == ["regcred.payments.ecr-prod"]


def test_the_annotations_of_a_namespace_apply_to_every_pod_in_it(cluster: Cluster):
    annotated = cluster.namespace(annotations={**QUAY, "registry.regcred.dev/wrong": "a/b/c"})
    assert secret_names(cluster.create(pod(annotated))) == ["regcred.core.quay"]
    assert secret_names(cluster.create(pod(annotated, annotations=ECR))) == [
        "regcred.core.quay",
        "regcred.payments.ecr-prod",
    ]
    created = cluster.create(workload("Deployment", annotated))
    assert (references(created), inherited(created)) == (None, None)


def test_a_mirror_pod_is_not_changed(cluster: Cluster):
    annotated = cluster.namespace(annotations=QUAY)
    mirror = pod(annotated, "mirror", annotations={**ECR, "kubernetes.io/config.mirror": "hash"})
    mirror["spec"]["nodeName"] = "some-node"
    made = cluster.create(mirror)
    assert secret_names(made) == []
    assert label(made) is None
    assert made["metadata"]["annotations"] == {**ECR, "kubernetes.io/config.mirror": "hash"}


def test_an_annotation_that_is_added_to_a_pod_later_has_no_effect(cluster: Cluster, namespace: str):
    cluster.create(pod(namespace, "later"))
    updated = cluster.annotate("Pod", namespace, "later", {**ECR})
    assert secret_names(updated) == []
    assert references(updated) is None


def test_a_serviceaccount_that_allows_only_listed_secrets_needs_another_mode(cluster: Cluster):
    """kubernetes.io/enforce-mountable-secrets (deprecated since 1.32) refuses names that the ServiceAccount
    does not list."""
    admitted, listed = cluster.namespace(), cluster.namespace(labels={"regcred.dev/mode": "serviceaccount"})
    for there in (admitted, listed):
        strict = account(there, ["own"])
        strict["metadata"]["annotations"] = {"kubernetes.io/enforce-mountable-secrets": "true"}
        cluster.create(strict)
    with pytest.raises(requests.HTTPError, match="does not reference that imagePullSecret"):
        cluster.create(pod(admitted, annotations=ECR, account="puller"))
    assert secret_names(cluster.create(pod(listed, annotations=ECR, account="puller"))) == ["own"]
