"""The admission policies of the chart on a real API server, with the real controllers where they matter."""

import copy
import random
import shutil
import string
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from helm import CHART, render
from real.controlplane import (
    POLICIES,
    Cluster,
    eventually,
    inherited,
    label,
    pod,
    pod_template,
    references,
    secret_names,
    workload,
)

from regcred.cluster.annotations import ANNOTATED, REFERENCES, REQUEST_PREFIX
from regcred.errors import MalformedError
from regcred.reference import Reference

pytestmark = pytest.mark.real

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


@pytest.fixture(scope="module")
def namespace(cluster: Cluster) -> str:
    return cluster.namespace()


@pytest.fixture
def fresh(cluster: Cluster) -> str:
    return cluster.namespace()


# What a workload gets


@pytest.mark.parametrize("kind", WORKLOADS)
def test_own_and_template_annotations_are_gathered_sorted_and_distinct(
    cluster: Cluster, fresh: str, kind: str
):
    own = {**ECR, "registry.regcred.dev/again": "core/quay"}
    created = cluster.create(workload(kind, fresh, own=own, template=QUAY))
    assert references(created) == "core/quay,payments/ecr-prod"
    assert label(created) == "true"
    assert {key: created["metadata"]["annotations"][key] for key in own} == own
    assert pod_template(created)["metadata"]["annotations"]["registry.regcred.dev/quay"] == "core/quay"


@pytest.mark.parametrize("kind", WORKLOADS)
def test_a_template_is_marked_with_what_it_does_not_name_itself(cluster: Cluster, fresh: str, kind: str):
    created = cluster.create(workload(kind, fresh, own={**ECR, **QUAY}, template=QUAY))
    assert inherited(created) == "payments/ecr-prod"


@pytest.mark.parametrize("kind", WORKLOADS)
def test_a_template_that_names_all_itself_is_not_touched(cluster: Cluster, fresh: str, kind: str):
    created = cluster.create(workload(kind, fresh, template=ECR))
    assert references(created) == "payments/ecr-prod"
    assert pod_template(created)["metadata"]["annotations"] == ECR


@pytest.mark.parametrize("kind", WORKLOADS)
def test_absent_maps_are_made(cluster: Cluster, fresh: str, kind: str):
    created = cluster.create(workload(kind, fresh, own=ECR))
    assert label(created) == "true"
    assert inherited(created) == "payments/ecr-prod"


def test_a_cronjob_is_read_on_all_three_levels(cluster: Cluster, namespace: str):
    third = {"registry.regcred.dev/hub": "core/docker-hub"}
    created = cluster.create(workload("CronJob", namespace, "levels", own=ECR, job=QUAY, template=third))
    assert references(created) == "core/docker-hub,core/quay,payments/ecr-prod"
    assert inherited(created) == "core/quay,payments/ecr-prod"


@pytest.mark.parametrize("kind", WORKLOADS)
def test_a_workload_without_annotations_is_not_touched(cluster: Cluster, fresh: str, kind: str):
    created = cluster.create(workload(kind, fresh, own={"example.com/other": "x"}))
    assert label(created) is None
    assert created["metadata"]["annotations"].get(REFERENCES) is None
    assert inherited(created) is None


def test_what_is_malformed_adds_nothing_beside_the_label_by_which_sync_can_say_so(
    cluster: Cluster, namespace: str
):
    wrong = {f"registry.regcred.dev/w{number}": value for number, value in enumerate(MALFORMED)}
    created = cluster.create(workload("Deployment", namespace, "malformed", own=wrong, template=wrong))
    assert references(created) is None
    assert inherited(created) is None
    assert label(created) == "true"
    made = cluster.create(pod(namespace, annotations=wrong))
    assert secret_names(made) == []


def test_what_is_malformed_does_not_hide_what_is_right(cluster: Cluster, namespace: str):
    mixed = {**ECR, "registry.regcred.dev/wrong": "a/b/c"}
    assert (
        references(cluster.create(workload("Deployment", namespace, "mixed", own=mixed)))
        == "payments/ecr-prod"
    )
    assert secret_names(cluster.create(pod(namespace, annotations=mixed))) == ["regcred.payments.ecr-prod"]


def test_the_policies_and_the_sync_agree_on_what_a_reference_is(cluster: Cluster, namespace: str):
    chance = random.Random(1)
    alphabet = string.ascii_lowercase[:3] + "0-/A._"
    texts = {"".join(chance.choices(alphabet, k=chance.randint(1, 8))) for _ in range(400)}
    texts |= {
        "".join(chance.choices("ab0-", k=3)) + "/" + "".join(chance.choices("ab0-", k=3)) for _ in range(100)
    }
    texts |= {f"{'a' * left}/{'b' * right}" for left in (62, 63, 64) for right in (62, 63, 64)} | set(
        MALFORMED
    )
    asked = {f"{REQUEST_PREFIX}k{number}": text for number, text in enumerate(sorted(texts))}
    right = sorted(text for text in texts if is_reference(text))
    assert len(right) > 20
    created = cluster.create(workload("Deployment", namespace, "agree", own=asked))
    assert references(created) == ",".join(right)
    assert secret_names(cluster.create(pod(namespace, annotations=asked))) == [
        Reference.parse(text).secret_name for text in right
    ]


def test_the_names_in_the_policies_are_those_of_the_sync():
    text = "".join(path.read_text() for path in (CHART / "files" / "admission").iterdir())
    assert f"'{REQUEST_PREFIX}'" in text
    assert f"'{REFERENCES}'" in text
    assert f"'{ANNOTATED}'" in text


def is_reference(text: str) -> bool:
    try:
        Reference.parse(text)
    except MalformedError:
        return False
    return True


def test_whoever_applies_a_malformed_reference_is_warned_at_once(cluster: Cluster, namespace: str):
    item = workload("Deployment", namespace, "warned", template={"registry.regcred.dev/ecr": "a/b/c"})
    said = cluster.kubernetes.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(item)).stderr
    assert 'registry.regcred.dev/ecr: "a/b/c"' in said
    assert "<project>/<registry>" in said


# Updates


@pytest.mark.parametrize("kind", UPDATABLE)
def test_an_annotation_added_later_is_gathered(cluster: Cluster, fresh: str, kind: str):
    cluster.create(workload(kind, fresh))
    updated = cluster.annotate(kind, fresh, "app", {**ECR})
    assert references(updated) == "payments/ecr-prod"
    assert label(updated) == "true"
    assert inherited(updated) == "payments/ecr-prod"


@pytest.mark.parametrize("kind", UPDATABLE)
def test_an_annotation_taken_away_takes_its_marks_along(cluster: Cluster, fresh: str, kind: str):
    before = cluster.create(workload(kind, fresh, own=ECR))
    assert label(before) == "true"
    after = cluster.annotate(kind, fresh, "app", dict.fromkeys(ECR))
    assert label(after) is None
    assert references(after) is None
    assert inherited(after) is None
    assert "regcred.dev" not in str(pod_template(after))


def test_one_of_two_annotations_taken_away_leaves_the_other(cluster: Cluster, fresh: str):
    cluster.create(workload("Deployment", fresh, own={**ECR, **QUAY}))
    after = cluster.annotate("Deployment", fresh, "app", dict.fromkeys(ECR))
    assert (references(after), inherited(after), label(after)) == ("core/quay", "core/quay", "true")


@pytest.mark.parametrize("kind", UPDATABLE)
def test_applying_the_same_again_changes_nothing(cluster: Cluster, fresh: str, kind: str):
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
def test_a_workload_older_than_the_policies_is_gathered_on_its_next_update(
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


# A chart upgrade rolls no Deployment


def test_the_mark_in_pod_templates_is_frozen(cluster: Cluster, fresh: str):
    """Another key, order or separator would roll every annotated Deployment of every cluster on its next update."""
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


# Pods


def test_a_bare_pod_without_any_map_is_left_alone(cluster: Cluster, namespace: str):
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


def test_a_name_that_is_there_already_is_not_added_again(cluster: Cluster, fresh: str):
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


def account(namespace: str, secrets: list[str]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "puller", "namespace": namespace},
        "imagePullSecrets": [{"name": name} for name in secrets],
    }


def test_a_namespaces_annotations_count_for_every_pod_in_it(cluster: Cluster):
    annotated = cluster.namespace(annotations={**QUAY, "registry.regcred.dev/wrong": "a/b/c"})
    assert secret_names(cluster.create(pod(annotated))) == ["regcred.core.quay"]
    assert secret_names(cluster.create(pod(annotated, annotations=ECR))) == [
        "regcred.core.quay",
        "regcred.payments.ecr-prod",
    ]
    created = cluster.create(workload("Deployment", annotated))
    assert (references(created), inherited(created)) == (None, None)


def test_a_mirror_pod_stays_as_the_kubelet_sent_it(cluster: Cluster):
    annotated = cluster.namespace(annotations=QUAY)
    mirror = pod(annotated, "mirror", annotations={**ECR, "kubernetes.io/config.mirror": "hash"})
    mirror["spec"]["nodeName"] = "some-node"
    made = cluster.create(mirror)
    assert secret_names(made) == []
    assert label(made) is None
    assert made["metadata"]["annotations"] == {**ECR, "kubernetes.io/config.mirror": "hash"}


def test_an_update_of_a_pod_changes_nothing_of_ours(cluster: Cluster, namespace: str):
    cluster.create(pod(namespace, "later"))
    updated = cluster.annotate("Pod", namespace, "later", {**ECR})
    assert secret_names(updated) == []
    assert references(updated) is None


def test_a_serviceaccount_that_allows_only_listed_secrets_needs_another_mode(cluster: Cluster):
    """kubernetes.io/enforce-mountable-secrets (deprecated since 1.32) refuses names that the ServiceAccount does not list."""
    admitted, listed = cluster.namespace(), cluster.namespace(labels={"regcred.dev/mode": "serviceaccount"})
    for there in (admitted, listed):
        strict = account(there, ["own"])
        strict["metadata"]["annotations"] = {"kubernetes.io/enforce-mountable-secrets": "true"}
        cluster.create(strict)
    with pytest.raises(requests.HTTPError, match="does not reference that imagePullSecret"):
        cluster.create(pod(admitted, annotations=ECR, account="puller"))
    assert secret_names(cluster.create(pod(listed, annotations=ECR, account="puller"))) == ["own"]


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
                "[JSONPatch{op: 'remove', path: '/spec/nothing/' + string([1][int(size(request.namespace))])}]"
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
    said = cluster.kubernetes.get("/metrics").text
    counted = 'apiserver_mutating_admission_policy_check_total{error_type="no_error",policy="regcred-pods"'
    assert counted in said
    assert "apiserver_mutating_admission_policy_check_duration_seconds_bucket" in said


# Where the policies apply


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


# GitOps tools


@pytest.mark.parametrize("kind", UPDATABLE)
@pytest.mark.parametrize(
    "flags", [(), ("--server-side", "--field-manager=flux")], ids=["three-way", "server-side"]
)
def test_gitops_tools_see_no_difference_to_what_they_applied(
    cluster: Cluster, fresh: str, kind: str, flags: tuple[str, ...]
):
    """Argo CD compares by a three-way merge or by a dry run of server-side apply, Flux by the latter; so does kubectl."""
    item = workload(kind, fresh, own=ECR, template=QUAY)
    cluster.kubernetes.kubectl("apply", *flags, "-f", "-", stdin=yaml.safe_dump(item))

    def same() -> bool:
        done = cluster.kubernetes.kubectl("diff", *flags, "-f", "-", stdin=yaml.safe_dump(item), check=False)
        return (done.returncode, done.stdout) == (0, "")

    eventually(same, timeout=15)  # a controller that writes its status meanwhile shows up once
    del item["metadata"]["annotations"]
    other = cluster.kubernetes.kubectl("diff", *flags, "-f", "-", stdin=yaml.safe_dump(item), check=False)
    assert other.returncode == 1
    cluster.kubernetes.kubectl("apply", *flags, "-f", "-", stdin=yaml.safe_dump(item))
    left = cluster.get(kind, fresh, "app")
    assert (references(left), inherited(left)) == ("core/quay", None)


# With the real controllers


def test_the_first_pod_of_a_custom_serviceaccount_names_a_secret_that_does_not_exist_yet(
    cluster: Cluster, fresh: str
):
    """The kubelet tries again until it is there; nobody has to delete the Pod."""
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


def test_a_deployments_pods_get_the_secrets(cluster: Cluster, fresh: str):
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
def test_other_controllers_pods_get_the_secrets(cluster: Cluster, fresh: str, kind: str):
    cluster.create(workload(kind, fresh, own=ECR, template=QUAY))
    (made,) = eventually(lambda: cluster.items("Pod", fresh))
    assert secret_names(made) == ["regcred.core.quay", "regcred.payments.ecr-prod"]


def test_a_cronjobs_pods_get_the_secrets(cluster: Cluster, fresh: str):
    cluster.create(workload("CronJob", fresh, own=ECR, template=QUAY))
    cluster.kubernetes.kubectl("-n", fresh, "create", "job", "--from=cronjob/app", "now")
    (made,) = eventually(lambda: cluster.items("Pod", fresh))
    assert secret_names(made) == ["regcred.core.quay", "regcred.payments.ecr-prod"]
    assert label(cluster.get("Job", fresh, "now")) is None


def test_a_new_revision_of_an_old_deployment_makes_one_replicaset(cluster: Cluster, fresh: str):
    """A policy that changed a ReplicaSet's template would make the Deployment controller create another, forever."""
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


def settled(cluster: Cluster, namespace: str) -> dict[str, Any] | None:
    found = cluster.get("Deployment", namespace, "app")
    status = found.get("status", {})
    return (
        found
        if status.get("updatedReplicas") == 1
        and status["observedGeneration"] == found["metadata"]["generation"]
        else None
    )


def test_the_annotation_taken_away_rolls_the_deployment_to_pods_without_the_secret(
    cluster: Cluster, fresh: str
):
    cluster.create(workload("Deployment", fresh, own=ECR))
    eventually(lambda: cluster.items("Pod", fresh))
    cluster.annotate("Deployment", fresh, "app", dict.fromkeys(ECR))
    eventually(lambda: any(secret_names(made) == [] for made in cluster.items("Pod", fresh)))


# Custom kinds


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
