"""The rights of sync's ServiceAccount, and what a stolen token of it must not allow, on a real API server."""

import base64
import json
from typing import Any

import pytest
import requests
from real.controlplane import Caller, Cluster, pod, workload

from realparts.waiting import eventually
from regcred.cluster.dockerconfig import ownership_probe
from regcred.registry_reference import Reference

pytestmark = pytest.mark.real

FOREIGN = "VerySecretOfSomebodyElse42"
OURS = "regcred.payments.ecr-prod"
OUR_ANNOTATIONS = json.loads(ownership_probe(Reference("payments", "ecr-prod")).content)["metadata"][
    "annotations"
]
OUR_LABELS = {"app.kubernetes.io/managed-by": "regcred"}
REPLICATE = {"replicator.v1.mittwald.de/replicate-to": "elsewhere"}
SECRETS = "/api/v1/namespaces/{}/secrets"
PATCHES = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
]


@pytest.fixture(scope="module")
def sync(cluster: Cluster) -> Caller:
    return cluster.session(cluster.kubernetes.service_account_token("regcred-system", "regcred-sync"))


@pytest.fixture(scope="module")
def namespace(cluster: Cluster) -> str:
    """A namespace with somebody else's Secrets, one of them with our name."""
    name = cluster.namespace()
    for secret, kind in (("foreign", "Opaque"), (OURS, "kubernetes.io/dockerconfigjson")):
        content = (
            {"password": FOREIGN}
            if kind == "Opaque"
            else {".dockerconfigjson": json.dumps({"auths": {FOREIGN: {}}})}
        )
        cluster.create(secret_body(name, secret, content, kind=kind, labels={}))
    return name


@pytest.fixture
def fresh(cluster: Cluster) -> str:
    return cluster.namespace()


def secret_body(
    namespace: str,
    name: str,
    content: dict[str, str],
    *,
    kind: str = "kubernetes.io/dockerconfigjson",
    labels: dict[str, str] | None = None,
    **metadata: Any,
) -> dict[str, Any]:
    labels = {**OUR_LABELS} if labels is None else labels
    data = {key: base64.b64encode(value.encode()).decode() for key, value in content.items()}
    about = {"name": name, "namespace": namespace, "labels": labels, **metadata}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": about, "type": kind, "data": data}


def ours(namespace: str, password: str = "pull-only", name: str = OURS) -> dict[str, Any]:
    content = json.dumps({"auths": {"r.example.com": {"username": "u", "password": password}}})
    return secret_body(namespace, name, {".dockerconfigjson": content}, annotations=OUR_ANNOTATIONS)


def shows_foreign(answer: requests.Response) -> bool:
    encoded = base64.b64encode(FOREIGN.encode()).decode()
    inner = base64.b64encode(json.dumps({"auths": {FOREIGN: {}}}).encode()).decode()
    return any(text in answer.text for text in (FOREIGN, encoded, inner))


# What sync may do


def test_the_account_of_sync_has_exactly_the_rights_that_it_needs(sync: Caller):
    review = {
        "kind": "SelfSubjectRulesReview",
        "apiVersion": "authorization.k8s.io/v1",
        "spec": {"namespace": "regcred-system"},
    }
    status = sync.call("POST", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", review).json()[
        "status"
    ]
    rights = {
        (group, resource, verb)
        for rule in status["resourceRules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        if group not in {"authorization.k8s.io", "authentication.k8s.io"}
    }
    templated = {
        ("apps", "deployments"),
        ("apps", "statefulsets"),
        ("apps", "daemonsets"),
        ("apps", "replicasets"),
        ("batch", "jobs"),
        ("batch", "cronjobs"),
    }
    assert rights == {
        *((group, resource, verb) for group, resource in templated for verb in ("get", "list", "watch")),
        *(("", resource, verb) for resource in ("namespaces", "pods") for verb in ("list", "watch")),
        *(("", "secrets", verb) for verb in ("create", "update", "delete")),
        *(("events.k8s.io", "events", verb) for verb in ("create", "list", "watch")),
    }


def test_sync_manages_its_own_secrets_by_create_update_and_delete(cluster: Cluster, sync: Caller, fresh: str):
    path = SECRETS.format(fresh)
    assert sync.call("POST", f"{path}?fieldManager=regcred", ours(fresh, "one")).status_code == 201
    first = cluster.get("Secret", fresh, OURS)
    again = sync.call("PUT", f"{path}/{OURS}?fieldManager=regcred", ours(fresh, "one"))
    assert again.status_code == 200
    assert again.json()["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"], (
        "nothing was written"
    )
    assert sync.call("PUT", f"{path}/{OURS}?fieldManager=regcred", ours(fresh, "two")).status_code == 200
    second = cluster.get("Secret", fresh, OURS)
    assert second["metadata"]["uid"] == first["metadata"]["uid"]
    assert second["data"] == ours(fresh, "two")["data"]
    assert sync.call("DELETE", f"{path}/{OURS}").status_code == 200
    assert sync.call("PUT", f"{path}/{OURS}", ours(fresh)).status_code == 404


def test_sync_may_list_and_watch_workloads_pods_and_namespaces(cluster: Cluster, sync: Caller, fresh: str):
    cluster.create(workload("Deployment", fresh, own={"registry.regcred.dev/a": "a/b"}))
    found = sync.call(
        "GET", "/apis/apps/v1/deployments?labelSelector=regcred.dev/annotated%3Dtrue&limit=500"
    ).json()
    assert fresh in {item["metadata"]["namespace"] for item in found["items"]}
    for path in ("/apis/batch/v1/cronjobs", "/apis/batch/v1/jobs", "/api/v1/pods", "/api/v1/namespaces"):
        assert sync.call("GET", f"{path}?limit=1").status_code == 200
        assert sync.call("GET", f"{path}?watch=true&timeoutSeconds=1").status_code == 200


def test_sync_may_create_events(sync: Caller, fresh: str):
    event = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": "one", "namespace": fresh},
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "regcred.dev/sync",
        "reportingInstance": "one",
        "action": "Project",
        "type": "Warning",
        "regarding": {"kind": "Deployment", "namespace": fresh, "name": "app"},
        "reason": "NotGranted",
    }
    answer = sync.call("POST", f"/apis/events.k8s.io/v1/namespaces/{fresh}/events", event)
    assert answer.status_code == 201, answer.text


# What a stolen token must not do: read


@pytest.mark.parametrize("path", ["/api/v1/secrets", SECRETS, SECRETS + "/foreign", SECRETS + "/" + OURS])
@pytest.mark.parametrize(
    "query", ["", "?watch=true&timeoutSeconds=1", "?limit=1", "?fieldSelector=metadata.name%3Dforeign"]
)
def test_no_secret_can_be_read_listed_or_watched(sync: Caller, namespace: str, path: str, query: str):
    answer = sync.call("GET", path.format(namespace) + query)
    assert answer.status_code == 403
    assert not shows_foreign(answer)


@pytest.mark.parametrize("name", ["foreign", OURS])
@pytest.mark.parametrize("content_type", PATCHES)
@pytest.mark.parametrize(
    "body",
    [
        {},
        {"immutable": "not a boolean"},
        [{"op": "copy", "from": "/data/password", "path": "/type"}],
        [{"op": "test", "path": "/data/password", "value": "guess"}],
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "foreign"}},
    ],
    ids=["empty", "undecodable", "copy", "guess", "apply"],
)
def test_no_secret_is_in_the_response_to_a_patch(
    sync: Caller, namespace: str, name: str, content_type: str, body: Any
):
    path = f"{SECRETS.format(namespace)}/{name}?fieldManager=regcred"
    for query in ("", "&dryRun=All", "&force=true"):
        answer = sync.call("PATCH", path + query, body, content_type=content_type)
        assert answer.status_code == 403
        assert not shows_foreign(answer)


def test_the_right_to_patch_would_show_any_secret_despite_the_policies(cluster: Cluster, namespace: str):
    """This is why sync updates. If this test ever fails, server-side apply is safe again."""
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "patcher", "namespace": "regcred-system"},
    }
    rule = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["patch"]}
    about = {"name": "patcher"}
    cluster.kubernetes.apply(
        account,
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": about,
            "rules": [rule],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": about,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "patcher"},
            "subjects": [{"kind": "ServiceAccount", "name": "patcher", "namespace": "regcred-system"}],
        },
    )
    try:
        patcher = cluster.session(cluster.kubernetes.service_account_token("regcred-system", "patcher"))
        answer = patcher.call(
            "PATCH",
            f"{SECRETS.format(namespace)}/foreign",
            {"immutable": "no boolean"},
            content_type=PATCHES[1],
        )
    finally:
        cluster.kubernetes.kubectl("delete", "clusterrolebinding,clusterrole", "patcher")
    assert answer.status_code == 422
    assert shows_foreign(answer)


@pytest.mark.parametrize("query", ["", "?dryRun=All"])
def test_no_secret_is_in_the_response_to_an_update_or_a_deletion(sync: Caller, namespace: str, query: str):
    for name in ("foreign", OURS):
        path = f"{SECRETS.format(namespace)}/{name}{query}"
        answers = [
            sync.call("PUT", path, ours(namespace, name=name)),
            sync.call("PUT", path, {**ours(namespace, name=name), "immutable": "no boolean"}),
            sync.call("PUT", path, secret_body(namespace, name, {}, kind="Opaque")),
            sync.call("DELETE", path),
            sync.call("DELETE", path, {"propagationPolicy": "Foreground"}),
            sync.call("DELETE", path, {"propagationPolicy": "Orphan"}),
        ]
        for answer in answers:
            assert answer.status_code in {400, 422}
            assert not shows_foreign(answer)


def test_a_secret_of_regcred_is_not_shown_either(cluster: Cluster, sync: Caller, fresh: str):
    path = SECRETS.format(fresh)
    body = ours(fresh, "only-in-the-cluster")
    assert sync.call("POST", path, body).ok
    shown = body["data"][".dockerconfigjson"]
    for answer in (
        sync.call("GET", f"{path}/{OURS}"),
        sync.call("PATCH", f"{path}/{OURS}", {}, content_type=PATCHES[1]),
        sync.call("DELETE", f"{path}/{OURS}", {"propagationPolicy": "Foreground"}),
        sync.call("DELETE", f"{path}/{OURS}", {"orphanDependents": True}),
        sync.call("DELETE", f"{path}/{OURS}?dryRun=All", {"propagationPolicy": "Foreground"}),
        sync.call("DELETE", path),
    ):
        assert answer.status_code in {403, 422}
        assert shown not in answer.text
    assert cluster.get("Secret", fresh, OURS)["data"] == body["data"]
    answer = sync.call("PUT", f"{path}/{OURS}", ours(fresh, "other"))
    assert shown not in answer.text


# What a stolen token must not do: write


def test_the_refusal_of_a_name_clash_names_the_cause(cluster: Cluster, sync: Caller, namespace: str):
    path = SECRETS.format(namespace)
    assert sync.call("POST", path, ours(namespace)).status_code == 409
    before = cluster.get("Secret", namespace, OURS)
    answer = sync.call("PUT", f"{path}/{OURS}", ours(namespace))
    assert answer.status_code == 422
    assert f"Secret {namespace}/{OURS} is not Regcred's" in answer.json()["message"]
    assert "delete it, or create it again under another name" in answer.json()["message"]
    answer = sync.call("DELETE", f"{path}/{OURS}")
    assert "is not Regcred's" in answer.json()["message"]
    assert cluster.get("Secret", namespace, OURS) == before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("other", "only regcred.<project>.<registry>"),
        ("regcred", "only regcred.<project>.<registry>"),
        ("regcred.payments", "only regcred.<project>.<registry>"),
        ("regcred.payments.ecr.prod", "only regcred.<project>.<registry>"),
        ("regcred.-a.b", "lowercase RFC 1123"),
        ("xregcred.payments.ecr", "only regcred.<project>.<registry>"),
    ],
)
def test_a_secret_of_another_name_is_refused(
    cluster: Cluster, sync: Caller, fresh: str, name: str, message: str
):
    answer = sync.call("POST", SECRETS.format(fresh), ours(fresh, name=name))
    assert answer.status_code == 422
    assert message in answer.json()["message"]
    assert [item["metadata"]["name"] for item in cluster.items("Secret", fresh)] == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "Opaque"},
        {
            "kind": "kubernetes.io/service-account-token",
            "annotations": {"kubernetes.io/service-account.name": "default"},
        },
        {"labels": {}},
        {"labels": {"app.kubernetes.io/managed-by": "helm"}},
        {"content": {".dockerconfigjson": "{}", "more": "x"}},
        {"finalizers": ["example.com/hold"]},
        {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "x", "uid": "x"}]},
        {"generateName": "regcred.payments.ecr"},
        {"annotations": REPLICATE},
        {"labels": {**OUR_LABELS, "argocd.argoproj.io/secret-type": "cluster"}},
        {"labels": {**OUR_LABELS, "example.com/any": ""}},
        {"labels": {**OUR_LABELS, "velero.io/exclude-from-backup": "true"}},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_secret_of_another_type_label_or_form_is_refused(
    cluster: Cluster, sync: Caller, fresh: str, wrong: dict[str, Any]
):
    body = secret_body(fresh, OURS, wrong.pop("content", {".dockerconfigjson": "{}"}), **wrong)
    answer = sync.call("POST", SECRETS.format(fresh), body)
    assert answer.status_code == 422
    assert "regcred-sync-secrets" in answer.text
    assert cluster.items("Secret", fresh) == []


def test_a_secret_of_regcred_cannot_become_a_token_secret_of_a_serviceaccount(
    cluster: Cluster, sync: Caller, fresh: str
):
    path = SECRETS.format(fresh)
    assert sync.call("POST", path, ours(fresh)).ok
    body = {**ours(fresh), "type": "kubernetes.io/service-account-token"}
    assert sync.call("PUT", f"{path}/{OURS}", body).status_code == 422
    assert sync.call("PUT", f"{path}/{OURS}", {**ours(fresh), "immutable": True}).status_code == 422


def test_no_annotation_makes_other_tools_copy_a_secret_of_regcred(cluster: Cluster, sync: Caller, fresh: str):
    path = f"{SECRETS.format(fresh)}/{OURS}"
    assert sync.call("POST", SECRETS.format(fresh), ours(fresh)).ok
    before = cluster.get("Secret", fresh, OURS)
    body = ours(fresh, "two")
    body["metadata"]["annotations"] = {**OUR_ANNOTATIONS, **REPLICATE}
    answer = sync.call("PUT", path, body)
    assert answer.status_code == 422
    assert "only with regcred.dev/reference, " in answer.json()["message"]
    assert cluster.get("Secret", fresh, OURS) == before
    cluster.patch("Secret", fresh, OURS, {"metadata": {"annotations": REPLICATE}})
    assert sync.call("PUT", path, ours(fresh, "two")).ok, "annotations of others are overwritten"
    assert cluster.get("Secret", fresh, OURS)["metadata"]["annotations"] == OUR_ANNOTATIONS


def test_annotations_that_other_software_adds_can_be_allowed(cluster: Cluster, sync: Caller, fresh: str):
    body = ours(fresh)
    body["metadata"]["annotations"] = {**OUR_ANNOTATIONS, "example.com/owner": "platform"}
    cluster.install({"confine.annotations": ["example.com/owner"]})
    try:
        path = SECRETS.format(fresh)
        assert eventually(lambda: sync.call("POST", f"{path}?dryRun=All", body).ok)
        body["metadata"]["annotations"] |= REPLICATE
        assert sync.call("POST", path, body).status_code == 422
    finally:
        cluster.install()


def test_labels_that_other_software_adds_can_be_allowed(cluster: Cluster, sync: Caller, fresh: str):
    body = ours(fresh)
    body["metadata"]["labels"] = {**OUR_LABELS, "example.com/owner": "platform"}
    cluster.install({"confine.labels": ["example.com/owner"]})
    try:
        path = SECRETS.format(fresh)
        assert eventually(lambda: sync.call("POST", f"{path}?dryRun=All", body).ok)
        body["metadata"]["labels"]["argocd.argoproj.io/secret-type"] = "repository"
        refused = sync.call("POST", path, body)
        assert refused.status_code == 422
        assert "confine.labels" in refused.json()["message"]
    finally:
        cluster.install()


def test_a_secret_of_regcred_gets_no_other_label_later(cluster: Cluster, sync: Caller, fresh: str):
    assert sync.call("POST", SECRETS.format(fresh), ours(fresh)).ok
    body = ours(fresh, "two")
    body["metadata"]["labels"] = {**OUR_LABELS, "argocd.argoproj.io/secret-type": "repo-creds"}
    assert sync.call("PUT", f"{SECRETS.format(fresh)}/{OURS}", body).status_code == 422


def test_secrets_of_others_cannot_be_deleted_all_at_once(sync: Caller, namespace: str):
    assert sync.call("DELETE", SECRETS.format(namespace)).status_code == 403


def test_the_secrets_of_admins_are_not_confined(cluster: Cluster, fresh: str):
    cluster.create(secret_body(fresh, "any", {"x": "y"}, kind="Opaque", labels={}))


# What a stolen token must not do: anything else


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/api/v1/namespaces/{}/serviceaccounts", None),
        ("GET", "/api/v1/namespaces/{}/serviceaccounts/default", None),
        ("PUT", "/api/v1/namespaces/{}/serviceaccounts/default", {"imagePullSecrets": [{"name": OURS}]}),
        ("PATCH", "/api/v1/namespaces/{}/serviceaccounts/default", {"imagePullSecrets": [{"name": OURS}]}),
        ("POST", "/api/v1/namespaces/{}/serviceaccounts/default/token", {"spec": {}}),
        ("POST", "/api/v1/namespaces/{}/pods/x/eviction", {"metadata": {"name": "x"}}),
        ("POST", "/api/v1/namespaces/{}/pods", None),
        ("DELETE", "/api/v1/namespaces/{}/pods/x", None),
        ("GET", "/api/v1/namespaces/{}/configmaps", None),
        ("PATCH", "/apis/apps/v1/namespaces/{}/deployments/x", {}),
        ("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", {}),
        (
            "DELETE",
            "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/regcred-sync-secrets",
            None,
        ),
        (
            "DELETE",
            "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings/regcred-sync-secrets",
            None,
        ),
        ("PATCH", "/api/v1/namespaces/{}", {}),
        ("GET", "/api/v1/nodes", None),
    ],
)
def test_nothing_else_is_allowed_in_admission_mode(
    sync: Caller, namespace: str, method: str, path: str, body: Any
):
    content_type = PATCHES[1] if method == "PATCH" else "application/json"
    answer = sync.call(method, path.format(namespace), body, content_type=content_type)
    assert answer.status_code == 403
    assert "cannot" in answer.json()["message"], "refused by the authorizer"


# ServiceAccount mode and eviction, which are opt-in


@pytest.fixture
def account_mode(cluster: Cluster):
    cluster.install({"mode": "serviceaccount"})
    yield
    cluster.install()


def test_in_serviceaccount_mode_sync_may_change_only_its_own_entries(
    cluster: Cluster, sync: Caller, account_mode: None, fresh: str
):
    path = f"/api/v1/namespaces/{fresh}/serviceaccounts/default"

    def patch(body: Any) -> requests.Response:
        return sync.call("PATCH", path, body, content_type="application/merge-patch+json")

    account = cluster.patch(
        "ServiceAccount", fresh, "default", {"imagePullSecrets": [{"name": "zeta"}, {"name": "alpha"}]}
    )
    version = {"metadata": {"resourceVersion": account["metadata"]["resourceVersion"]}}
    with_ours = [{"name": "zeta"}, {"name": "alpha"}, {"name": OURS}]
    answer = patch({**version, "imagePullSecrets": with_ours})
    assert answer.status_code == 200, answer.text
    assert sync.call("GET", path).json()["imagePullSecrets"] == with_ours
    for wrong in (
        {"imagePullSecrets": [{"name": OURS}]},
        {"imagePullSecrets": [{"name": "alpha"}, {"name": "zeta"}, {"name": OURS}]},
        {"imagePullSecrets": [*with_ours, {"name": "foreign"}]},
        {"secrets": [{"name": "foreign"}]},
        {"automountServiceAccountToken": True},
        {"metadata": {"labels": {"x": "y"}}},
        {"metadata": {"annotations": {"eks.amazonaws.com/role-arn": "arn"}}},
    ):
        refused = patch(wrong)
        assert refused.status_code == 422
        assert "regcred-sync-serviceaccounts" in refused.text
    assert patch({"imagePullSecrets": with_ours[:2]}).status_code == 200
    stale = patch({**version, "imagePullSecrets": with_ours})
    assert stale.status_code == 409, "another client wrote in between"
    assert sync.call("PUT", path, {**account, "imagePullSecrets": with_ours}).status_code == 403
    assert sync.call("DELETE", path).status_code == 403
    assert sync.call("POST", f"{path}/token", {"spec": {}}).status_code == 403


def test_eviction_is_opt_in(cluster: Cluster, sync: Caller, fresh: str):
    cluster.create(pod(fresh, "stuck"))
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "stuck", "namespace": fresh}}
    path = f"/api/v1/namespaces/{fresh}/pods/stuck/eviction"
    assert sync.call("POST", path, body).status_code == 403
    cluster.install({"serviceAccountMode.allowed": True})
    try:
        assert eventually(lambda: sync.call("POST", path, body).ok)
    finally:
        cluster.install()
