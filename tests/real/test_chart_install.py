"""Install, upgrade and uninstall the chart with helm on a real API server."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from helm import CHART, Object, helm, settings
from real.chartrelease import MINE, NAMESPACE, Release
from real.controlplane import Cluster, label, pod, pod_template, references, secret_names, workload

from realparts.stack import Stack
from realparts.waiting import eventually

pytestmark = pytest.mark.real

ECR = {"registry.regcred.dev/ecr": "payments/ecr-prod"}
OPENSHIFT = ("--api-versions=security.openshift.io/v1/SecurityContextConstraints",)
CONSOLE = {
    "console.enabled": True,
    "console.url": "https://regcred.example.com",
    "console.image.repository": "registry.example.com/regcred-console",
}
REGISTRY = CHART.parent / "regcred-registry"
REGISTRY_VALUES = {
    "host": "registry.example.com",
    "tokenKeys": '{"keys": []}',
    "registry": {"tlsSecret": "registry-tls"},
    "tokenServer": {
        "url": "https://token.example.com",
        "tlsSecret": "token-tls",
        "image": {"repository": "registry.example.com/regcred-token"},
    },
    "vault": {"address": "https://vault.example.com:8200", "authMount": "regcred-cluster-test"},
}


@pytest.fixture(scope="module")
def bare(stack: Stack) -> Iterator[Cluster]:
    """A control plane, with a namespace for the chart that admits only Pods of the restricted standard."""
    stack.up(["kubernetes"])
    cluster = Cluster(stack.kubernetes)
    restricted = {"pod-security.kubernetes.io/enforce": "restricted"}
    stack.kubernetes.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": restricted}}
    )
    eventually(lambda: stack.kubernetes.get(f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/default").ok)
    yield cluster
    cluster.clean()
    stack.kubernetes.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


@pytest.fixture
def release(bare: Cluster) -> Iterator[Release]:
    release = Release(bare)
    release.uninstall_and_wait()
    yield release
    release.uninstall_and_wait()


def test_the_chart_installs_and_uninstalls_without_a_trace(release: Release):
    notes = release.upgrade()
    assert 'as cluster "test"' in notes
    assert f"system:serviceaccount:{NAMESPACE}:regcred-sync" in notes
    assert "WARNING" not in notes
    installed = release.objects()
    assert "deployment.apps/regcred-sync" in installed
    assert "mutatingadmissionpolicy.admissionregistration.k8s.io/regcred-pods" in installed
    release.uninstall()
    assert release.objects() == []


def test_the_pods_of_the_chart_meet_the_restricted_standard(release: Release):
    release.upgrade()
    (made,) = eventually(lambda: release.cluster.items("Pod", NAMESPACE))
    assert made["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True
    release.upgrade({"kind": "CronJob"})
    eventually(lambda: not release.cluster.items("Pod", NAMESPACE))
    release.cluster.kubernetes.kubectl("-n", NAMESPACE, "create", "job", "--from=cronjob/regcred-sync", "now")
    eventually(lambda: release.cluster.items("Pod", NAMESPACE))


@pytest.mark.parametrize("platform", [(), OPENSHIFT], ids=["elsewhere", "openshift"])
def test_each_pod_of_both_charts_meets_the_restricted_standard(
    bare: Cluster, tmp_path: Path, platform: tuple[str, ...]
):
    (tmp_path / "registry.json").write_text(json.dumps(REGISTRY_VALUES))
    both = [
        helm("template", "regcred", CHART, *settings(CONSOLE), *platform),
        helm("template", "regcred", CHART, *settings({"kind": "CronJob"}), *platform),
        helm("template", "regcred", REGISTRY, "-f", tmp_path / "registry.json", *platform),
    ]
    found = {
        f"{item['kind']} {item['metadata']['name']}": spec
        for rendered in both
        for item in yaml.safe_load_all(rendered.stdout)
        if item and (spec := pod_spec(item))
    }
    assert set(found) == {
        "Deployment regcred-sync",
        "CronJob regcred-sync",
        "Pod regcred-sync-test",
        "Deployment regcred-console",
        "Deployment regcred-registry",
        "Deployment regcred-token",
        "CronJob regcred-registry-garbage-collection",
    }
    for spec in found.values():
        for name in ("serviceAccountName", "priorityClassName"):  # they are not in this cluster
            spec.pop(name, None)
        bare.create({**pod(NAMESPACE, "chart"), "spec": spec}, query="?dryRun=All")


def pod_spec(item: Object) -> Object | None:
    """The specification of the Pods of an object; None if it makes none."""
    if item["kind"] == "Pod":
        return item["spec"]
    return pod_template(item)["spec"] if item["kind"] in {"Deployment", "CronJob"} else None


def test_an_upgrade_rolls_no_annotated_deployment(release: Release):
    release.upgrade()
    release.cluster.wait_until_in_force()
    there = release.cluster.namespace()
    before = release.cluster.create(workload("Deployment", there, own=ECR))
    assert label(before) == "true"
    eventually(lambda: release.cluster.items("ReplicaSet", there))
    release.upgrade({"image.tag": "99", "sync.logLevel": "debug", "evictStuckPods": True})
    release.cluster.wait_until_in_force()
    after = release.cluster.annotate("Deployment", there, "app", {"example.com/touched": "yes"})
    assert after["spec"] == before["spec"]
    assert len(release.cluster.items("ReplicaSet", there)) == 1


def test_workloads_run_on_unchanged_after_an_uninstallation(release: Release):
    release.upgrade()
    release.cluster.wait_until_in_force()
    there = release.cluster.namespace()
    before = release.cluster.create(workload("Deployment", there, own=ECR))
    release.uninstall()
    release.cluster.wait_until_in_force(active=False)
    after = release.cluster.annotate("Deployment", there, "app", {"example.com/touched": "yes"})
    assert after["spec"] == before["spec"]
    assert references(after) == "payments/ecr-prod"


def test_an_upgrade_changes_the_mode(release: Release):
    release.upgrade()
    release.cluster.wait_until_in_force()
    there = release.cluster.namespace()
    release.upgrade({"mode": "none"})
    eventually(lambda: secret_names(release.cluster.create(pod(there, annotations=ECR))) == [])
    assert label(release.cluster.create(workload("Deployment", there, own=ECR))) == "true"


@pytest.fixture
def prometheus_operator(bare: Cluster) -> Iterator[None]:
    """The kinds of the Prometheus operator, for one test."""
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    kinds = {"ServiceMonitor": "servicemonitors", "PrometheusRule": "prometheusrules"}
    names = [f"{plural}.monitoring.coreos.com" for plural in kinds.values()]
    try:
        for (kind, plural), name in zip(kinds.items(), names, strict=True):
            bare.kubernetes.apply(
                {
                    "apiVersion": "apiextensions.k8s.io/v1",
                    "kind": "CustomResourceDefinition",
                    "metadata": {"name": name},
                    "spec": {
                        "group": "monitoring.coreos.com",
                        "scope": "Namespaced",
                        "names": {"plural": plural, "singular": kind.lower(), "kind": kind},
                        "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
                    },
                }
            )
        served = "/apis/monitoring.coreos.com/v1"
        eventually(lambda: all(plural in bare.kubernetes.get(served).text for plural in kinds.values()))
        yield
    finally:
        bare.kubernetes.kubectl("delete", "crd", "--ignore-not-found", *names)


@pytest.mark.usefixtures("prometheus_operator")
def test_objects_for_the_prometheus_operator_are_installed_if_it_is(release: Release):
    on = {f"metrics.{part}.enabled": True for part in ("serviceMonitor", "prometheusRule", "dashboard")}
    release.upgrade(on)
    listed = release.cluster.kubernetes.kubectl(
        "-n", NAMESPACE, "get", "servicemonitors,prometheusrules,configmaps", "-l", MINE, "-o", "name"
    )
    assert len(listed.stdout.split()) == 3


def test_the_notes_warn_about_a_release_that_is_not_confined(release: Release):
    assert "WARNING" in release.upgrade({"confine.enabled": False})


def test_the_kustomize_example_installs_a_working_sync(release: Release):
    kubernetes = release.cluster.kubernetes
    example = CHART.parents[1] / "kustomize" / "example"
    try:
        kubernetes.kubectl("apply", "-k", example)
        release.cluster.wait_until_in_force()
        (made,) = eventually(lambda: release.cluster.items("Pod", "regcred-system"))
        env = {item["name"]: item.get("value") for item in made["spec"]["containers"][0]["env"]}
        assert env["REGCRED_CLUSTER"] == "edge-1"
        there = release.cluster.namespace()
        assert secret_names(release.cluster.create(pod(there, annotations=ECR))) == [
            "regcred.payments.ecr-prod"
        ]
    finally:
        kubernetes.kubectl("delete", "-k", example, "--ignore-not-found", check=False)
        release.cluster.wait_until_in_force(active=False)
