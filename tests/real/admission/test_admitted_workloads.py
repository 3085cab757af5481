"""What admission adds to a new workload."""

import pytest
from real.admission.examples import ECR, QUAY, WORKLOADS
from real.controlplane import Cluster, inherited, label, pod_template, references, workload

from regcred.cluster.annotations import REFERENCES

pytestmark = pytest.mark.real


@pytest.mark.parametrize("kind", WORKLOADS)
def test_annotations_of_a_workload_and_its_template_are_collected_sorted_and_distinct(
    cluster: Cluster, fresh: str, kind: str
):
    own = {**ECR, "registry.regcred.dev/again": "core/quay"}
    created = cluster.create(workload(kind, fresh, own=own, template=QUAY))
    assert references(created) == "core/quay,payments/ecr-prod"
    assert label(created) == "true"
    assert {key: created["metadata"]["annotations"][key] for key in own} == own
    assert pod_template(created)["metadata"]["annotations"]["registry.regcred.dev/quay"] == "core/quay"


@pytest.mark.parametrize("kind", WORKLOADS)
def test_a_template_is_marked_with_the_references_that_it_lacks(cluster: Cluster, fresh: str, kind: str):
    created = cluster.create(workload(kind, fresh, own={**ECR, **QUAY}, template=QUAY))
    assert inherited(created) == "payments/ecr-prod"


@pytest.mark.parametrize("kind", WORKLOADS)
def test_a_template_that_names_all_references_is_not_changed(cluster: Cluster, fresh: str, kind: str):
    created = cluster.create(workload(kind, fresh, template=ECR))
    assert references(created) == "payments/ecr-prod"
    assert pod_template(created)["metadata"]["annotations"] == ECR


@pytest.mark.parametrize("kind", WORKLOADS)
def test_absent_maps_are_created(cluster: Cluster, fresh: str, kind: str):
    created = cluster.create(workload(kind, fresh, own=ECR))
    assert label(created) == "true"
    assert inherited(created) == "payments/ecr-prod"


def test_a_cronjob_is_read_on_all_three_levels(cluster: Cluster, namespace: str):
    third = {"registry.regcred.dev/hub": "core/docker-hub"}
    created = cluster.create(workload("CronJob", namespace, "levels", own=ECR, job=QUAY, template=third))
    assert references(created) == "core/docker-hub,core/quay,payments/ecr-prod"
    assert inherited(created) == "core/quay,payments/ecr-prod"


@pytest.mark.parametrize("kind", WORKLOADS)
def test_a_workload_without_annotations_is_not_changed(cluster: Cluster, fresh: str, kind: str):
    created = cluster.create(workload(kind, fresh, own={"example.com/other": "x"}))
    assert label(created) is None
    assert created["metadata"]["annotations"].get(REFERENCES) is None
    assert inherited(created) is None
