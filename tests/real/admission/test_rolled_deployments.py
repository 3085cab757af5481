"""An upgrade of the chart or a GitOps tool does not roll a Deployment; a removed annotation does."""

import shutil
from pathlib import Path

import pytest
import yaml
from helm import CHART
from real.admission.examples import ECR, QUAY, UPDATABLE, settled
from real.controlplane import Cluster, inherited, pod_template, references, secret_names, workload

from realparts.waiting import eventually

pytestmark = pytest.mark.real


def test_the_mark_in_pod_templates_is_frozen(cluster: Cluster, fresh: str):
    """Another key, order or separator would roll each annotated Deployment at its next update, in all
    clusters."""
    created = cluster.create(
        workload("Deployment", fresh, own={**ECR, **QUAY, "registry.regcred.dev/z": "a/a"})
    )
    assert pod_template(created)["metadata"] == {
        "labels": {"app": "app"},
        "annotations": {"regcred.dev/inherited": "a/a,core/quay,payments/ecr-prod"},
    }
    assert "regcred" not in str(pod_template(created)["spec"])


def test_an_upgrade_of_the_chart_rolls_no_deployment(cluster: Cluster, fresh: str, tmp_path: Path):
    before = cluster.create(workload("Deployment", fresh, own=ECR, template=QUAY))
    eventually(lambda: cluster.items("ReplicaSet", fresh))
    newer = tmp_path / "regcred"
    shutil.copytree(CHART, newer)
    about = yaml.safe_load((newer / "Chart.yaml").read_text())
    (newer / "Chart.yaml").write_text(yaml.safe_dump({**about, "version": "99.0.0", "appVersion": "99.0.0"}))
    cluster.install({"image.tag": "99.0.0"}, chart=newer)
    try:
        touched = cluster.annotate("Deployment", fresh, "app", {"example.com/touched": "yes"})
        assert touched["spec"] == before["spec"]
        eventually(lambda: settled(cluster, fresh))
        assert len(cluster.items("ReplicaSet", fresh)) == 1
    finally:
        cluster.install()


@pytest.mark.parametrize("kind", UPDATABLE)
@pytest.mark.parametrize(
    "flags", [(), ("--server-side", "--field-manager=flux")], ids=["three-way", "server-side"]
)
def test_gitops_tools_see_no_difference_after_they_applied(
    cluster: Cluster, fresh: str, kind: str, flags: tuple[str, ...]
):
    """Argo CD compares by a three-way merge or by a dry run of server-side apply, Flux by such a dry run.
    kubectl can do both."""
    item = workload(kind, fresh, own=ECR, template=QUAY)
    cluster.kubernetes.kubectl("apply", *flags, "-f", "-", stdin=yaml.safe_dump(item))

    def same() -> bool:
        done = cluster.kubernetes.kubectl("diff", *flags, "-f", "-", stdin=yaml.safe_dump(item), check=False)
        return (done.returncode, done.stdout) == (0, "")

    eventually(same, seconds=15)  # a status that a controller writes between shows as a difference once
    del item["metadata"]["annotations"]
    other = cluster.kubernetes.kubectl("diff", *flags, "-f", "-", stdin=yaml.safe_dump(item), check=False)
    assert other.returncode == 1
    cluster.kubernetes.kubectl("apply", *flags, "-f", "-", stdin=yaml.safe_dump(item))
    left = cluster.get(kind, fresh, "app")
    assert (references(left), inherited(left)) == ("core/quay", None)


def test_a_new_revision_of_an_old_deployment_creates_one_replicaset(cluster: Cluster, fresh: str):
    """If a policy changed the template of a ReplicaSet, the Deployment controller would create ReplicaSets
    without end."""
    with cluster.without_policies():
        cluster.create(workload("Deployment", fresh, own=ECR, template=QUAY))
        eventually(lambda: cluster.items("ReplicaSet", fresh))
        (old,) = cluster.items("ReplicaSet", fresh)
    cluster.kubernetes.request(
        "DELETE", f"/apis/apps/v1/namespaces/{fresh}/replicasets/{old['metadata']['name']}"
    )
    eventually(
        lambda: [
            item
            for item in cluster.items("ReplicaSet", fresh)
            if item["metadata"]["uid"] != old["metadata"]["uid"]
        ]
    )
    deployment = eventually(lambda: settled(cluster, fresh))
    assert deployment["status"].get("collisionCount", 0) == 0
    assert len(cluster.items("ReplicaSet", fresh)) <= 2


def test_a_removed_annotation_rolls_the_deployment_to_pods_without_the_secret(cluster: Cluster, fresh: str):
    cluster.create(workload("Deployment", fresh, own=ECR))
    eventually(lambda: cluster.items("Pod", fresh))
    cluster.annotate("Deployment", fresh, "app", dict.fromkeys(ECR))
    eventually(lambda: any(secret_names(made) == [] for made in cluster.items("Pod", fresh)))
