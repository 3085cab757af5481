"""``regcred explain`` with a cluster and a Vault in memory."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from fakes.cluster_api import FakeClusterApi
from fakes.key_value import FakeKeyValue

from regcred.cli.app import run
from regcred.cli.session import CliSession
from regcred.errors import RefusedError
from regcred.registry_reference import Reference
from regcred.vault.records.declared import ClusterGrants, Definition, ProjectPolicy
from regcred.vault.records.index import IndexEntry, State
from regcred.vault.records.status import Placement, Status
from regcred.vault.store import Store

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
HOST = "111122223333.dkr.ecr.eu-central-1.amazonaws.com"
ECR = Reference("payments", "ecr-prod")
SECRET = "/api/v1/namespaces/prod/secrets/regcred.payments.ecr-prod"
REFUSAL = f"failed to pull {HOST}/shop:1: 403 Forbidden"


@dataclass
class Scene:
    """A namespace ``prod`` with a working Deployment ``shop`` of one Pod with one image from ECR."""

    capture: pytest.CaptureFixture[str]
    kv: FakeKeyValue = field(default_factory=FakeKeyValue)
    api: FakeClusterApi = field(default_factory=FakeClusterApi)
    annotations: dict[str, str] = field(default_factory=lambda: {"registry.regcred.dev/x": str(ECR)})
    pulled: bool = True
    waiting: dict[str, str] | None = None
    names_secret: bool = True
    secret: bool = True
    image: str = f"{HOST}/shop:1"
    placed: dict[int, dict[str, str]] = field(default_factory=lambda: {12: {"prod": "aaaaaaaa"}})
    refused: dict[str, str] = field(default_factory=dict)
    details: dict[str, str] = field(default_factory=dict)
    grants: list[str] = field(default_factory=lambda: ["prod"])
    entry: dict = field(default_factory=dict)
    no_vault: bool = False
    built: bool = False
    out: str = ""
    err: str = ""

    def __call__(self, line: str = "explain pod prod/shop-1-a", code: int = 0) -> str:
        if not self.built:
            self._build()
        if self.no_vault:
            self.kv.faults |= {
                (operation, ""): RefusedError("permission denied")
                for operation in ("read", "version", "list")
            }
        session = CliSession(
            open_store=lambda: Store(self.kv),
            open_cluster=lambda _: self.api,
            now=lambda: NOW,
            sleep=lambda _: None,
        )
        found = run(line.split(), session)
        captured = self.capture.readouterr()
        self.out, self.err = captured.out, captured.err
        assert found == code, self.err
        return self.out

    @property
    def todo(self) -> str:
        (line,) = [line for line in self.out.splitlines() if "→" in line]
        return line

    def _build(self) -> None:
        self.built = True
        store = Store(self.kv)
        store.write_project("payments", ProjectPolicy(clusters=["c1"]), cas=0)
        store.write_cluster("c1", ClusterGrants(grants={"payments": self.grants}), cas=0)
        store.write_definition(ECR, Definition(provider="ecr", regions=["eu-central-1"]), cas=0)
        entry = {
            "state": State.OK,
            "version": 12,
            "hosts": [HOST],
            "expires_at": NOW + timedelta(hours=5),
            "changed_at": NOW,
        }
        if self.entry is not None:
            store.merge_index("payments", {"ecr-prod": IndexEntry(**{**entry, **self.entry})})
        placement = Placement(placed=self.placed, refused=self.refused, details=self.details)
        store.write_status(
            "c1", "payments", Status(written_at=NOW, registries={"ecr-prod": placement}), cas=0
        )
        container = {"name": "app", "image": self.image}
        state = {"waiting": self.waiting} if self.waiting else {"running": {}}
        pod = {
            "metadata": {
                "name": "shop-1-a",
                "uid": "p1",
                "labels": {"app": "shop"},
                "ownerReferences": [
                    {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "shop-1", "controller": True}
                ],
            },
            "spec": {
                "containers": [container],
                "imagePullSecrets": [{"name": ECR.secret_name}] if self.names_secret else [],
            },
            "status": {
                "containerStatuses": [
                    {"name": "app", "imageID": "sha256:1" if self.pulled else "", "state": state}
                ]
            },
        }
        replicas = {
            "metadata": {
                "name": "shop-1",
                "uid": "r1",
                "ownerReferences": [
                    {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop", "controller": True}
                ],
            },
            "spec": {"template": {"metadata": {}, "spec": {"containers": [container]}}},
        }
        deployment = {
            "metadata": {"name": "shop", "uid": "d1", "annotations": self.annotations},
            "spec": {
                "selector": {"matchLabels": {"app": "shop"}},
                "template": {"metadata": {}, "spec": {"containers": [container]}},
            },
        }
        self.api.objects |= {
            "/api/v1/namespaces/prod": {"metadata": {"name": "prod"}},
            "/api/v1/namespaces/prod/pods/shop-1-a": pod,
            "/apis/apps/v1/namespaces/prod/replicasets/shop-1": replicas,
            "/apis/apps/v1/namespaces/prod/deployments/shop": deployment,
        }
        if self.secret:
            self.api.objects[SECRET] = {
                "metadata": {
                    "name": ECR.secret_name,
                    "annotations": {
                        "regcred.dev/version": "12",
                        "regcred.dev/expires-at": (NOW + timedelta(hours=5)).isoformat(),
                    },
                }
            }


@pytest.fixture
def scene(capsys) -> Scene:
    return Scene(capsys)


def failing(scene: Scene, message: str = REFUSAL, reason: str = "ErrImagePull") -> Scene:
    scene.pulled = False
    scene.waiting = {"reason": reason, "message": message}
    return scene


def test_each_check_of_a_working_pod_is_shown_on_its_own_line(scene):
    text = scene()
    assert "Pod prod/shop-1-a (Deployment shop), cluster c1" in text
    assert "payments/ecr-prod (annotation registry.regcred.dev/x on Deployment shop)" in text
    assert "granted   yes" in text
    assert "regcred.payments.ecr-prod: in the namespace, version 12, named by the Pod" in text
    assert "in 5h" in text
    assert "the image is on the node" in text
    assert "nothing to do" in scene.todo


def test_only_the_metadata_of_the_secret_is_read(scene):
    scene()
    assert [accept for path, accept in scene.api.gets if "/secrets/" in path] == [
        "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
    ]


def test_a_missing_grant_gives_the_command_that_adds_it(scene):
    scene.grants, scene.placed, scene.secret = [], {}, False
    failing(scene)()
    assert "regcred grant add --cluster c1 payments prod" in scene.todo


def test_a_refusal_in_the_ledger_counts_if_the_grants_cannot_be_read(scene):
    scene.placed, scene.secret, scene.refused = {}, False, {"prod": "not-granted"}
    scene.kv.faults["read", "platform/clusters"] = RefusedError("permission denied")
    failing(scene)("explain pod prod/shop-1-a --cluster c1")
    assert "regcred grant add --cluster c1 payments prod" in scene.todo


def test_an_image_without_an_annotation_gets_a_suggestion(scene):
    scene.annotations, scene.names_secret = {}, False
    failing(scene)()
    assert "registry.regcred.dev/ecr-prod: payments/ecr-prod" in scene.todo


def test_a_public_image_that_was_pulled_needs_nothing(scene):
    scene.annotations, scene.names_secret, scene.image = {}, False, "busybox"
    assert "no annotation of this workload names a registry for docker.io" in scene()
    assert "nothing to do" in scene.todo


def test_a_registry_with_a_public_definition_is_shown_as_public(scene):
    public = Reference("payments", "mcr")
    Store(scene.kv).write_definition(public, Definition(provider="mcr"), cas=0)
    scene.annotations, scene.names_secret, scene.image = {}, False, "mcr.microsoft.com/dotnet:8"
    assert "payments/mcr defines mcr.microsoft.com as public: no credential is needed" in scene()
    assert "nothing to do" in scene.todo


def test_a_typo_in_the_annotation_is_named(scene):
    scene.annotations, scene.names_secret = {"registry.regcred.dev/x": "payments/ecr-pord"}, False
    failing(scene)()
    assert "there is no registry payments/ecr-pord" in scene.todo


def test_a_malformed_annotation_is_shown(scene):
    scene.annotations, scene.names_secret = {"registry.regcred.dev/x": "Payments/ecr"}, False
    assert "capital letters" in failing(scene)()


def test_the_remedy_of_a_malformed_annotation_is_to_correct_it(scene):
    scene.annotations, scene.names_secret = {"registry.regcred.dev/x": "payments.ecr-prod"}, False
    failing(scene)()
    assert "correct the annotation: registry.regcred.dev/ecr-prod: payments/ecr-prod" in scene.todo
    scene.no_vault = True
    scene()
    assert "correct the malformed annotation" in scene.todo


def test_an_image_of_a_misspelt_host_shows_the_host_of_the_requested_registry(scene):
    scene.image = "111122223333.dkr.ecr.eu-centrl-1.amazonaws.com/shop:1"
    failing(scene)()
    assert f"eu-centrl-1.amazonaws.com (payments/ecr-prod serves {HOST})" in scene.out


@pytest.mark.parametrize("annotated", [True, False])
def test_an_image_that_the_kubelet_has_not_pulled_yet_is_not_shown_as_good(scene, annotated):
    if not annotated:
        scene.annotations, scene.names_secret, scene.image = {}, False, "busybox"
    scene.pulled, scene.waiting = False, {"reason": "ContainerCreating"}
    assert "· kubelet   ContainerCreating" in scene()
    assert "nothing to do" not in scene.todo


def test_a_pod_older_than_its_annotation_needs_a_restart(scene):
    scene.names_secret = False
    failing(scene)()
    assert "kubectl -n prod rollout restart deployment/shop" in scene.todo


def test_a_secret_that_sync_has_not_placed_suggests_to_check_sync(scene):
    scene.placed, scene.secret = {}, False
    failing(scene)()
    assert "is sync running" in scene.todo


def test_a_name_clash_is_reported(scene):
    scene.placed, scene.refused = {}, {"prod": "clash"}
    failing(scene)()
    assert "Regcred did not create" in scene.todo


def test_a_credential_that_sync_cannot_read_is_reported_with_the_reason(scene):
    scene.placed, scene.refused, scene.secret = {0: {"prod": ""}}, {"prod": "not-read"}, False
    scene.details = {"prod": "permission denied"}
    failing(scene)()
    assert "not in the namespace (permission denied)" in scene.out
    assert "sync can't read the credential in Vault (permission denied)" in scene.todo


@pytest.mark.parametrize(
    ("entry", "todo"),
    [
        ({"state": State.REVOKED}, "it was revoked"),
        ({"state": State.FAILING, "version": 0, "error": "no such role"}, "its rotation fails: no such role"),
        ({"expires_at": NOW - timedelta(hours=1)}, "it has expired"),
    ],
)
def test_a_revoked_failing_or_expired_credential_is_the_reason(scene, entry, todo):
    scene.entry = entry
    failing(scene)()
    assert todo in scene.todo


def test_a_failing_registry_with_a_valid_credential_is_not_the_reason(scene):
    scene.entry = {"state": State.FAILING, "error": "timeout"}
    scene()
    assert "nothing to do" in scene.todo


@pytest.mark.parametrize(
    ("message", "todo"),
    [
        (REFUSAL, "the registry refuses this image, check"),
        (f"{HOST}/shop:1: not found", "check the image's name and tag"),
    ],
)
def test_the_kubelets_message_decides_if_all_checks_pass(scene, message, todo):
    failing(scene, message)
    assert message in scene()
    assert todo in scene.todo


def test_an_image_pull_back_off_says_when_the_kubelet_retries(scene):
    failing(scene, "Back-off pulling image", "ImagePullBackOff")()
    assert "retries within 5 minutes" in scene.todo


def test_a_workload_is_explained_by_its_pod(scene):
    failing(scene)("explain deploy/shop -n prod")
    assert "Pod prod/shop-1-a (Deployment shop)" in scene.out


ROLLOUT = "argoproj.io/v1alpha1/rollouts/Rollout"


def of_a_rollout(scene: Scene) -> Scene:
    """Replace the Deployment by a Rollout, whose ReplicaSet names it by another API version."""
    scene._build()
    rollout = scene.api.objects.pop("/apis/apps/v1/namespaces/prod/deployments/shop")
    scene.api.objects["/apis/argoproj.io/v1alpha1/namespaces/prod/rollouts/shop"] = rollout
    replicas = scene.api.objects["/apis/apps/v1/namespaces/prod/replicasets/shop-1"]
    replicas["metadata"]["ownerReferences"][0] |= {"apiVersion": "argoproj.io/v1beta1", "kind": "Rollout"}
    return scene


@pytest.mark.parametrize("source", ["flag", "variable"])
def test_the_annotation_is_found_on_a_custom_kind_of_workload(scene, source, monkeypatch):
    of_a_rollout(scene)
    assert "on Rollout" not in scene()
    if source == "variable":
        monkeypatch.setenv("REGCRED_WORKLOAD_KINDS", f"example.com/v1/widgets/Widget, {ROLLOUT}")
    flag = f" --workload-kind {ROLLOUT}" if source == "flag" else ""
    text = scene(f"explain pod prod/shop-1-a{flag}")
    assert "Pod prod/shop-1-a (Rollout shop), cluster c1" in text
    assert "payments/ecr-prod (annotation registry.regcred.dev/x on Rollout shop)" in text
    assert "Pod prod/shop-1-a (Rollout shop)" in scene(f"explain rollout/shop -n prod{flag}")


@pytest.mark.parametrize(
    "spec", [{"template": ["x"]}, {"template": {"spec": {"containers": [{"image": "busybox"}]}}}]
)
def test_a_custom_workload_of_any_shape_is_explained(scene, spec):
    of_a_rollout(scene)
    del scene.api.objects["/api/v1/namespaces/prod/pods/shop-1-a"]
    scene.api.objects["/apis/argoproj.io/v1alpha1/namespaces/prod/rollouts/shop"]["spec"] = spec
    assert "Rollout prod/shop" in scene(f"explain rollout/shop -n prod --workload-kind {ROLLOUT}")


def test_a_wrong_or_unknown_kind_is_refused_with_the_right_form(scene):
    scene("explain rollout/shop -n prod", code=2)
    assert "--workload-kind" in scene.err
    scene("explain rollout/shop -n prod --workload-kind rollouts", code=2)
    assert "argoproj.io/v1alpha1/rollouts/Rollout" in scene.err


def test_a_developer_without_vault_permissions_still_gets_an_answer(scene):
    scene.no_vault = True
    scene.names_secret = False
    failing(scene)()
    assert "can't be read in Vault" in scene.err
    assert "rollout restart" in scene.todo


def test_without_a_sign_in_to_vault_only_the_cluster_is_checked(scene, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("VAULT_ADDR", "http://127.0.0.1:9")
    monkeypatch.delenv("VAULT_TOKEN", raising=False)
    scene._build()
    assert (
        run(
            ["explain", "pod", "prod/shop-1-a"], CliSession(open_cluster=lambda _: scene.api, now=lambda: NOW)
        )
        == 0
    )
    shown = scene.capture.readouterr()
    assert "not signed in to Vault" in shown.err
    assert "in the namespace, version 12" in shown.out


def test_a_user_who_may_not_read_secrets_sees_the_ledgers_version(scene):
    scene.api.forbidden.append(SECRET)
    assert "sync placed version 12; your account may not check whether it still exists" in scene()


def test_events_of_sync_are_shown(scene):
    scene.api.objects["/api/v1/namespaces/prod/events/e1"] = {
        "metadata": {"name": "e1"},
        "involvedObject": {"uid": "d1"},
        "reportingComponent": "regcred.dev/sync",
        "reason": "NotGranted",
        "message": "Namespace prod may not use project payments",
    }
    assert "NotGranted: Namespace prod may not use project payments" in scene()


def test_events_of_sync_are_found_among_thousands_of_others(scene):
    events = "/api/v1/namespaces/prod/events"
    for number in range(600):
        scene.api.objects[f"{events}/a{number}"] = {"metadata": {}, "reportingComponent": "kubelet"}
    scene.api.objects[f"{events}/ours"] = {
        "metadata": {},
        "involvedObject": {"uid": "d1"},
        "reportingComponent": "regcred.dev/sync",
        "reason": "NotGranted",
        "message": "no grant",
    }
    assert "NotGranted: no grant" in scene()


def test_json_contains_registry_and_checks(scene):
    found = json.loads(scene("explain pod prod/shop-1-a -o json"))
    assert found["images"][0]["registry"] == "payments/ecr-prod"
    assert {check["name"] for check in found["images"][0]["checks"]} == {
        "registry",
        "granted",
        "Secret",
        "expires",
        "kubelet",
    }


CACHE = Reference("shared", "cache")


def test_without_vault_an_image_has_candidates_and_no_registry(scene):
    scene.annotations = {"registry.regcred.dev/a": str(CACHE), "registry.regcred.dev/b": str(ECR)}
    scene.no_vault = True
    failing(scene)()
    assert "registry  unknown" in scene.out
    assert "payments/ecr-prod" in scene.out
    assert "shared/cache" in scene.out
    scene("explain pod prod/shop-1-a -o json")
    (image,) = json.loads(scene.out)["images"]
    assert image["registry"] is None
    assert image["candidates"] == ["shared/cache", "payments/ecr-prod"]


def test_without_vault_a_pulled_image_needs_nothing(scene):
    scene.no_vault, scene.image = True, "busybox"
    assert "registry  unknown" in scene()
    assert "nothing to do" in scene.todo


def test_a_registry_without_a_credential_yet_is_matched_by_the_hosts_of_its_definition(scene):
    Store(scene.kv).write_definition(
        Reference("payments", "nexus"), Definition(provider="basic", hosts=["nexus.example.com"]), cas=0
    )
    scene.annotations = {"registry.regcred.dev/a": "payments/nexus"}
    scene.image, scene.names_secret, scene.secret, scene.placed = "nexus.example.com/app:1", False, False, {}
    failing(scene)()
    assert "payments/nexus (annotation" in scene.out
    assert "has no credential yet" in scene.todo


def owned(kind: str, name: str, uid: str, group: str = "apps/v1") -> list[dict]:
    return [{"apiVersion": group, "kind": kind, "name": name, "uid": uid, "controller": True}]


def test_a_registry_over_its_projects_limit_is_reported_as_not_rotated(scene):
    scene.annotations = {"registry.regcred.dev/a": "payments/nexus"}
    scene.image, scene.names_secret, scene.secret, scene.placed = "nexus.example.com/app:1", False, False, {}
    scene._build()
    store = Store(scene.kv)
    store.change_project("payments", lambda old: old.model_copy(update={"max_registries": 1}))
    definition = Definition(provider="basic", hosts=["nexus.example.com"])
    store.write_definition(Reference("payments", "nexus"), definition, cas=0)
    scene()
    assert "it is not rotated: its project has reached its limit of 1" in scene.todo


def test_the_pod_of_a_cron_job_is_found(scene):
    failing(scene)._build()
    objects = scene.api.objects
    pod = objects["/api/v1/namespaces/prod/pods/shop-1-a"]
    pod["metadata"] |= {
        "labels": {"job-name": "report-1"},
        "ownerReferences": owned("Job", "report-1", "j1", "batch/v1"),
    }
    template = {"spec": {"containers": [{"name": "app", "image": scene.image}]}}
    objects["/apis/batch/v1/namespaces/prod/jobs/report-1"] = {
        "metadata": {
            "name": "report-1",
            "uid": "j1",
            "ownerReferences": owned("CronJob", "report", "c1", "batch/v1"),
        },
        "spec": {"template": template},
    }
    for name, uid in (("report", "c1"), ("other", "c2")):
        objects[f"/apis/batch/v1/namespaces/prod/cronjobs/{name}"] = {
            "metadata": {"name": name, "uid": uid, "annotations": scene.annotations},
            "spec": {"jobTemplate": {"spec": {"template": template}}},
        }
    assert "Pod prod/shop-1-a (CronJob report)" in scene("explain cj/report -n prod")
    assert "403 Forbidden" in scene.out
    assert "CronJob prod/other" in scene("explain cronjob/other -n prod")
    assert "has no Pod now" in scene.out


@pytest.mark.parametrize(
    ("selector", "sent"),
    [
        (
            {"matchExpressions": [{"key": "app", "operator": "In", "values": ["shop", "x"]}]},
            "app in (shop,x)",
        ),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["y"]}]}, "app notin (y)"),
        ({"matchExpressions": [{"key": "app", "operator": "Exists"}]}, "app"),
        ({"matchExpressions": [{"key": "gone", "operator": "DoesNotExist"}]}, "!gone"),
        (
            {"matchLabels": {"app": "shop"}, "matchExpressions": [{"key": "app", "operator": "Exists"}]},
            "app=shop,app",
        ),
        ({"app": "shop"}, "app=shop"),
    ],
)
def test_pods_are_found_by_each_form_of_selector(scene, selector, sent):
    failing(scene)._build()
    scene.api.objects["/apis/apps/v1/namespaces/prod/deployments/shop"]["spec"]["selector"] = selector
    assert "Pod prod/shop-1-a (Deployment shop)" in scene("explain deploy/shop -n prod")
    assert sent in scene.api.selectors


def test_pods_of_another_workload_with_the_same_labels_are_ignored(scene):
    scene._build()
    objects = scene.api.objects
    other = objects["/apis/apps/v1/namespaces/prod/deployments/shop"]
    objects["/apis/apps/v1/namespaces/prod/deployments/canary"] = {
        "metadata": {"name": "canary", "uid": "d2"},
        "spec": other["spec"],
    }
    assert "Deployment prod/canary" in scene("explain deploy/canary -n prod")
    assert "has no Pod now" in scene.out


@pytest.mark.parametrize("reason", ["no selector", "forbidden"])
def test_without_a_list_of_pods_the_kubelets_state_is_unknown(scene, reason):
    scene._build()
    if reason == "forbidden":
        scene.api.forbidden.append("/api/v1/namespaces/prod/pods")
    else:
        del scene.api.objects["/apis/apps/v1/namespaces/prod/deployments/shop"]["spec"]["selector"]
    assert "kubelet   unknown" in scene("explain deploy/shop -n prod")


def account(scene: Scene, *names: str) -> None:
    scene.api.objects["/api/v1/namespaces/prod/serviceaccounts/default"] = {
        "metadata": {"name": "default"},
        "imagePullSecrets": [{"name": name} for name in names],
    }


def test_a_pod_with_its_own_pull_secrets_needs_another_entry_and_no_restart(scene):
    scene.names_secret = False
    failing(scene)._build()
    account(scene, ECR.secret_name)
    objects = scene.api.objects
    for path in ("replicasets/shop-1", "deployments/shop"):
        spec = objects[f"/apis/apps/v1/namespaces/prod/{path}"]["spec"]["template"]["spec"]
        spec["imagePullSecrets"] = [{"name": "own"}]
    objects["/api/v1/namespaces/prod/pods/shop-1-a"]["spec"]["imagePullSecrets"] = [{"name": "own"}]
    scene()
    assert "add '- name: regcred.payments.ecr-prod' to imagePullSecrets" in scene.todo
    assert "kubectl" not in scene.todo


def test_a_bare_pod_with_its_own_pull_secrets_needs_no_new_pod(scene):
    scene.names_secret = False
    failing(scene)._build()
    account(scene, ECR.secret_name)
    pod = scene.api.objects["/api/v1/namespaces/prod/pods/shop-1-a"]
    pod["metadata"] |= {"ownerReferences": [], "annotations": scene.annotations}
    pod["spec"]["imagePullSecrets"] = [{"name": "own"}]
    scene()
    assert "has its own imagePullSecrets list" in scene.todo
    assert "delete" not in scene.todo


def test_a_pod_older_than_its_serviceaccounts_entry_needs_a_restart(scene):
    scene.names_secret = False
    failing(scene)._build()
    account(scene, ECR.secret_name)
    scene()
    assert "older than the entry in ServiceAccount default" in scene.todo
    assert "kubectl -n prod rollout restart deployment/shop" in scene.todo


def test_in_mode_none_the_owner_must_name_the_secret(scene):
    scene.names_secret = False
    failing(scene)._build()
    scene.api.objects["/api/v1/namespaces/prod"]["metadata"]["labels"] = {"regcred.dev/mode": "none"}
    scene()
    assert "mode none" in scene.todo
    assert "kubectl" not in scene.todo


def test_a_pod_that_the_admission_policy_skipped_needs_no_restart(scene):
    scene.names_secret = False
    failing(scene)._build()
    objects = scene.api.objects
    objects["/apis/apps/v1/namespaces/prod/deployments/shop"]["metadata"]["annotations"] |= {
        "regcred.dev/references": str(ECR)
    }
    objects["/api/v1/namespaces/prod/pods/shop-1-a"]["metadata"]["annotations"] = {
        "regcred.dev/inherited": str(ECR)
    }
    scene()
    assert "the admission policy on Pods did not add the name" in scene.todo
    assert "rollout restart" not in scene.todo


def test_a_deleted_secret_is_reported_with_the_remedy(scene):
    scene.secret = False
    failing(scene)()
    assert "sync placed version 12, but it no longer exists" in scene.out
    assert "somebody deleted it" in scene.todo
    assert "is sync running" not in scene.todo


def test_the_ledger_entry_of_an_earlier_namespace_of_the_same_name_is_ignored(scene):
    scene.secret = False
    failing(scene)._build()
    scene.api.objects["/api/v1/namespaces/prod"]["metadata"]["uid"] = "bbbbbbbb-1"
    scene()
    assert "somebody deleted it" not in scene.todo


def test_a_sync_that_stopped_writing_its_status_is_reported(scene):
    scene.placed, scene.secret = {}, False
    failing(scene)._build()
    store = Store(scene.kv)
    found = store.status("c1", "payments")
    store.write_status("c1", "payments", Status(written_at=NOW - timedelta(hours=3)), cas=found.version)
    scene()
    assert "last wrote its status 3h ago" in scene.todo


def test_a_rollout_that_refers_to_a_deployment_uses_its_template_and_annotations(scene):
    of_a_rollout(scene)
    objects = scene.api.objects
    rollout = objects["/apis/argoproj.io/v1alpha1/namespaces/prod/rollouts/shop"]
    template = rollout["spec"].pop("template")
    rollout["metadata"]["annotations"] = {}
    rollout["spec"]["workloadRef"] = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "base"}
    template["metadata"]["annotations"] = scene.annotations
    objects["/apis/apps/v1/namespaces/prod/deployments/base"] = {
        "metadata": {"name": "base", "uid": "d9"},
        "spec": {"template": template, "replicas": 0},
    }
    text = scene(f"explain rollout/shop -n prod --workload-kind {ROLLOUT}")
    assert (
        "payments/ecr-prod (annotation registry.regcred.dev/x on the pod template of Deployment base)" in text
    )
    del objects["/api/v1/namespaces/prod/pods/shop-1-a"]
    text = scene(f"explain rollout/shop -n prod --workload-kind {ROLLOUT}")
    assert f"container app: {scene.image}" in text


@pytest.mark.parametrize(
    "times",
    [
        {"lastTimestamp": "2026-11-24T09:00:00Z", "firstTimestamp": "2026-11-23T09:00:00Z", "count": 4},
        {
            "eventTime": "2026-11-23T09:00:00.000000Z",
            "series": {"lastObservedTime": "2026-11-24T09:00:00.5Z", "count": 4},
        },
    ],
)
def test_events_are_shown_with_their_age(scene, times):
    scene.api.objects["/api/v1/namespaces/prod/events/e1"] = {
        "metadata": {"name": "e1"},
        "involvedObject": {"uid": "d1"},
        "reportingComponent": "regcred.dev/sync",
        "reason": "NotGranted",
        "message": "no grant",
        **times,
    }
    scene()
    assert re.search(r"(3h|2h 59m) ago, 4 times: NotGranted: no grant", scene.out)


def test_a_suggested_command_is_quoted(scene):
    scene.names_secret = False
    failing(scene)._build()
    objects = scene.api.objects
    name = "x;touch y"
    objects[f"/apis/apps/v1/namespaces/prod/deployments/{name}"] = objects[
        "/apis/apps/v1/namespaces/prod/deployments/shop"
    ]
    objects[f"/apis/apps/v1/namespaces/prod/deployments/{name}"]["metadata"]["name"] = name
    objects["/apis/apps/v1/namespaces/prod/replicasets/shop-1"]["metadata"]["ownerReferences"][0]["name"] = (
        name
    )
    scene()
    assert "rollout restart 'deployment/x;touch y'" in scene.todo


@pytest.mark.parametrize("line", ["explain shop", "explain configmap prod/x", "explain pod a/b/c"])
def test_an_invalid_target_is_refused(scene, line):
    scene(line, code=2)


def test_a_missing_pod_is_not_found(scene):
    scene("explain pod prod/other", code=4)
    assert scene.err == "regcred: there is no Pod other in namespace prod; is the namespace right? (-n NS)\n"
