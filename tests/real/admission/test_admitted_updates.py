"""What admission does on updates, also of workloads that are older than the policies."""

import pytest
import yaml
from real.admission.examples import ECR, QUAY, UPDATABLE
from real.controlplane import Cluster, inherited, label, pod_template, references, workload

from realparts.waiting import eventually

pytestmark = pytest.mark.real


@pytest.mark.parametrize("kind", UPDATABLE)
def test_an_annotation_that_is_added_later_is_collected(cluster: Cluster, fresh: str, kind: str):
    cluster.create(workload(kind, fresh))
    updated = cluster.annotate(kind, fresh, "app", {**ECR})
    assert references(updated) == "payments/ecr-prod"
    assert label(updated) == "true"
    assert inherited(updated) == "payments/ecr-prod"


@pytest.mark.parametrize("kind", UPDATABLE)
def test_a_removed_annotation_removes_its_marks(cluster: Cluster, fresh: str, kind: str):
    before = cluster.create(workload(kind, fresh, own=ECR))
    assert label(before) == "true"
    after = cluster.annotate(kind, fresh, "app", dict.fromkeys(ECR))
    assert label(after) is None
    assert references(after) is None
    assert inherited(after) is None
    assert "regcred.dev" not in str(pod_template(after))


def test_the_removal_of_one_of_two_annotations_keeps_the_other(cluster: Cluster, fresh: str):
    cluster.create(workload("Deployment", fresh, own={**ECR, **QUAY}))
    after = cluster.annotate("Deployment", fresh, "app", dict.fromkeys(ECR))
    assert (references(after), inherited(after), label(after)) == ("core/quay", "core/quay", "true")


@pytest.mark.parametrize("kind", UPDATABLE)
def test_applying_the_same_object_again_changes_nothing(cluster: Cluster, fresh: str, kind: str):
    item = yaml.safe_dump(workload(kind, fresh, own=ECR, template=QUAY))
    for flags in (("--server-side",), ("--server-side", "--force-conflicts"), ()):
        cluster.kubernetes.kubectl("apply", *flags, "-f", "-", stdin=item)
    first = cluster.get(kind, fresh, "app")
    assert "unchanged" in cluster.kubernetes.kubectl("apply", "-f", "-", stdin=item).stdout
    second = cluster.get(kind, fresh, "app")
    assert first["spec"] == second["spec"]
    assert (references(second), inherited(second)) == ("core/quay,payments/ecr-prod", "payments/ecr-prod")


def test_marks_that_a_user_wrote_are_corrected(cluster: Cluster, fresh: str):
    forged = {"regcred.dev/references": "other/team", "regcred.dev/inherited": "other/team"}
    created = cluster.create(workload("Deployment", fresh, own={**ECR, **forged}, template=forged))
    assert references(created) == "payments/ecr-prod"
    assert inherited(created) == "payments/ecr-prod"


@pytest.mark.parametrize("kind", UPDATABLE)
def test_a_workload_that_is_older_than_the_policies_gets_its_marks_at_its_next_update(
    cluster: Cluster, fresh: str, kind: str
):
    with cluster.without_policies():
        old = cluster.create(workload(kind, fresh, own=ECR))
    assert label(old) is None
    updated = cluster.annotate(kind, fresh, "app", {"example.com/touched": "yes"})
    assert (references(updated), label(updated), inherited(updated)) == (
        "payments/ecr-prod",
        "true",
        "payments/ecr-prod",
    )


def test_an_old_annotated_job_can_still_be_updated_and_is_deleted_in_the_foreground(
    cluster: Cluster, fresh: str
):
    with cluster.without_policies():
        cluster.create(workload("Job", fresh, own=ECR, template=QUAY))
    eventually(lambda: cluster.items("Pod", fresh))
    cluster.annotate("Job", fresh, "app", {"example.com/touched": "yes"})
    cluster.kubernetes.kubectl("-n", fresh, "delete", "job", "app", "--cascade=foreground", "--wait=false")
    eventually(lambda: not cluster.items("Job", fresh))
    assert cluster.items("Pod", fresh) == []
