"""The Helm chart, linted and rendered by the real helm, and its Kustomize form."""

import json
import re
import runpy
import subprocess
from typing import Any

import pytest
import yaml
from helm import CHART, Object, helm, render, settings

from realparts.build import binary
from regcred.cluster.dockerconfig import ownership_probe
from regcred.cluster.model import Mode
from regcred.registry_reference import Reference
from regcred.wiring.sync.settings import TOKEN_FILE, SyncSettings

KUSTOMIZE = CHART.parents[1] / "kustomize"


def one(objects: list[Object], kind: str, name: str = "regcred-sync") -> Object:
    (found,) = [item for item in objects if item["kind"] == kind and item["metadata"]["name"] == name]
    return found


def refused(values: dict[str, Any], *flags: str) -> str:
    answer = helm("template", "regcred", CHART, *settings(values), *flags, check=False)
    assert answer.returncode != 0
    return answer.stderr


def rights(objects: list[Object]) -> dict[str, list[str]]:
    return {
        resource: rule["verbs"]
        for rule in one(objects, "ClusterRole")["rules"]
        for resource in rule["resources"]
    }


def test_the_chart_passes_the_strict_linter():
    answer = helm("lint", "--strict", CHART, *settings({}), check=False)
    assert answer.returncode == 0, answer.stdout


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"cluster": ""}, "/cluster"),
        ({"cluster": "Edge_1"}, "/cluster"),
        ({"vault.address": ""}, "/vault/address"),
        ({"vault.address": "vault.example.com"}, "/vault/address"),
        ({"vault.addres": "https://vault"}, "addres"),
        ({"vault.tokenSeconds": 60}, "/vault/tokenSeconds"),
        ({"mode": "webhook"}, "/mode"),
        ({"kind": "DaemonSet"}, "/kind"),
        ({"workloadKinds": ["Rollout"]}, "/workloadKinds/0"),
        ({"sync.maxRemovalShare": 20}, "/sync/maxRemovalShare"),
        ({"confine.annotations": ["replicate to"]}, "/confine/annotations/0"),
        ({"confine.labels": ["a b"]}, "/confine/labels/0"),
        ({"image.repository": ""}, "/image/repository"),
        ({"image.repository": "registry.example.com/regcred-sync:1.0"}, "/image/repository"),
        ({"image.repository": "https://registry.example.com/regcred-sync"}, "/image/repository"),
        ({"image.digest": "latest"}, "/image/digest"),
        ({"excludedNamespaces": "kube-system"}, "/excludedNamespaces"),
        ({"replicas": 2}, "replicas"),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(values: dict[str, Any], field: str):
    assert field in refused(values)


@pytest.mark.parametrize(
    "repository", ["regcred-sync", "registry.example.com/a/regcred-sync", "localhost:5000/regcred-sync"]
)
def test_an_image_repository_without_a_tag_is_accepted(repository: str):
    (deployment,) = [
        found for found in render({"image.repository": repository}) if found["kind"] == "Deployment"
    ]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"].startswith(f"{repository}:")


@pytest.mark.parametrize(
    ("version", "mode", "mutating"),
    [
        ("1.30.0", "serviceaccount", set()),
        ("1.33.9", "serviceaccount", set()),
        ("1.34.0", "serviceaccount", set()),
        ("1.35.9", "serviceaccount", set()),
        ("1.36.0-gke.100", "admission", {"admissionregistration.k8s.io/v1"}),
        ("1.40.0", "admission", {"admissionregistration.k8s.io/v1"}),
    ],
)
def test_the_mode_auto_chooses_by_the_version_of_kubernetes(version: str, mode: str, mutating: set[str]):
    """`helm template` has no cluster to list API versions, so v1beta1 is never chosen here."""
    rendered = helm("template", "regcred", CHART, *settings({}), f"--kube-version={version}").stdout
    objects = [item for item in yaml.safe_load_all(rendered) if item]
    policies = [item for item in objects if item["kind"] == "MutatingAdmissionPolicy"]
    assert {item["apiVersion"] for item in policies} == mutating
    names = {item["metadata"]["name"] for item in objects if item["kind"] == "ValidatingAdmissionPolicy"}
    assert ("regcred-warnings" in names) == (version not in {"1.30.0", "1.33.9"})
    assert {"regcred-sync-secrets", "regcred-sync-serviceaccounts", "regcred-sync-drift"} <= names
    (container,) = one(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
    env = {variable["name"]: variable["value"] for variable in container["env"]}
    assert SyncSettings.load(env).mode is Mode(mode)
    assert (("serviceaccounts" in rights(objects)) and ("pods/eviction" in rights(objects))) == (not mutating)


def test_the_mode_admission_is_refused_where_it_cannot_work():
    assert "1.36 or newer" in refused({"mode": "admission"}, "--kube-version=1.35.0")
    beta = "--api-versions=admissionregistration.k8s.io/v1beta1/MutatingAdmissionPolicy"
    assert "1.36 or newer" in refused({"mode": "admission"}, "--kube-version=1.33.0", beta)
    helm("template", "regcred", CHART, *settings({"mode": "admission"}), "--kube-version=1.34.0", beta)
    assert "mode=auto" in refused({"mode": "admission", "admissionPolicies.enabled": False})


def test_the_policies_use_no_function_that_kubernetes_1_34_refuses():
    """New policies may use CEL's functions for lists only from 1.35 on (pkg/cel/environment/base.go)."""
    of_lists = re.compile(r"[.](sort|sortBy|distinct|flatten|slice|reverse|first|last)\(|lists[.]range\(")
    assert of_lists.search("keys.sort()")
    files = [*(CHART / "files").glob("admission/*.yaml"), *(CHART / "files").glob("confine/*.yaml")]
    assert len(files) == 7
    assert {path.name: found[0] for path in files if (found := of_lists.search(path.read_text()))} == {}


def test_on_openshift_the_chart_sets_no_user():
    def context(*flags: str) -> dict[str, Any]:
        rendered = helm("template", "regcred", CHART, *settings({}), *flags).stdout
        objects = [item for item in yaml.safe_load_all(rendered) if item]
        found: dict[str, Any] = one(objects, "Deployment")["spec"]["template"]["spec"]["securityContext"]
        return found

    assert context()["runAsUser"] == 65532
    openshift = context("--api-versions=security.openshift.io/v1/SecurityContextConstraints")
    assert openshift == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}


def test_the_pod_of_sync_leaves_a_lost_node_after_15_seconds():
    objects = render()
    pod = one(objects, "Deployment")["spec"]["template"]["spec"]
    effects = {entry["key"]: entry["tolerationSeconds"] for entry in pod["tolerations"]}
    assert effects == {"node.kubernetes.io/not-ready": 15, "node.kubernetes.io/unreachable": 15}
    assert one(objects, "PriorityClass")["metadata"]["name"] == pod["priorityClassName"]
    other = render({"priorityClassName": "mine"})
    assert "PriorityClass" not in {item["kind"] for item in other}
    assert one(other, "Deployment")["spec"]["template"]["spec"]["priorityClassName"] == "mine"


def test_sync_may_change_serviceaccounts_only_if_the_mode_serviceaccount_is_allowed():
    assert "serviceaccounts" not in rights(render())
    assert "serviceaccounts" not in rights(render({"mode": "none"}))
    account = ["get", "list", "watch", "patch"]
    assert rights(render({"mode": "serviceaccount"}))["serviceaccounts"] == account
    assert rights(render({"serviceAccountMode.allowed": True}))["serviceaccounts"] == account


@pytest.mark.parametrize(
    ("values", "modes"),
    [
        ({}, {Mode.ADMISSION, Mode.NONE}),
        ({"serviceAccountMode.allowed": True}, set(Mode)),
        ({"mode": "serviceaccount"}, set(Mode)),
        (
            {"mode": "serviceaccount", "admissionPolicies.enabled": False},
            {Mode.SERVICEACCOUNT, Mode.NONE},
        ),
        ({"mode": "none", "admissionPolicies.enabled": False}, {Mode.NONE}),
    ],
)
def test_the_sync_gets_the_modes_that_a_namespace_can_choose(values: dict[str, Any], modes: set[Mode]):
    (container,) = one(render(values), "Deployment")["spec"]["template"]["spec"]["containers"]
    env = {variable["name"]: variable["value"] for variable in container["env"]}
    assert SyncSettings.load(env).options().rules.allowed == modes


def test_sync_may_evict_pods_only_if_the_mode_serviceaccount_is_allowed():
    assert "pods/eviction" not in rights(render())
    assert rights(render({"mode": "serviceaccount"}))["pods/eviction"] == ["create"]
    assert rights(render({"serviceAccountMode.allowed": True}))["pods/eviction"] == ["create"]
    assert "pods/eviction" not in rights(render({"mode": "serviceaccount", "evictStuckPods": False}))


def test_granted_registries_are_prepared_only_if_the_mode_serviceaccount_is_allowed():
    def prepares(values: dict[str, Any]) -> bool:
        (container,) = one(render(values), "Deployment")["spec"]["template"]["spec"]["containers"]
        env = {variable["name"]: variable["value"] for variable in container["env"]}
        return SyncSettings.load(env).options().rules.prepare

    assert prepares({"mode": "serviceaccount"})
    assert not prepares({"mode": "serviceaccount", "serviceAccountMode.prepare": False})
    assert not prepares({"mode": "none"})
    assert prepares({"serviceAccountMode.allowed": True})


def test_sync_may_never_read_or_patch_secrets():
    for values in ({}, {"mode": "serviceaccount"}, {"evictStuckPods": True}, {"kind": "CronJob"}):
        assert rights(render(values))["secrets"] == ["create", "update", "delete"]


def test_the_policies_name_the_account_that_the_release_uses():
    objects = render({"serviceAccount.name": "other"}, namespace="elsewhere")
    for name in ("regcred-sync-secrets", "regcred-sync-serviceaccounts"):
        (condition,) = one(objects, "ValidatingAdmissionPolicy", name)["spec"]["matchConditions"]
        assert (
            condition["expression"] == "request.userInfo.username == 'system:serviceaccount:elsewhere:other'"
        )
    assert one(objects, "ServiceAccount", "other")["metadata"]["namespace"] == "elsewhere"
    (subject,) = one(objects, "ClusterRoleBinding")["subjects"]
    assert (subject["namespace"], subject["name"]) == ("elsewhere", "other")


def test_the_policy_allows_the_annotations_that_sync_writes_and_those_of_the_values():
    def allowed(values: dict[str, Any]) -> list[str]:
        policy = one(render(values), "ValidatingAdmissionPolicy", "regcred-sync-secrets")
        (variable,) = (item for item in policy["spec"]["variables"] if item["name"] == "annotations")
        return re.findall(r"['\"]([^'\"]+)['\"]", variable["expression"])

    manifest = json.loads(ownership_probe(Reference("payments", "main")).content)
    assert sorted(allowed({})) == sorted(manifest["metadata"]["annotations"])
    more = ["example.com/owner", "cost-centre"]
    assert allowed({"confine.annotations": more}) == [*allowed({}), *more]


def test_no_mutating_policy_applies_to_the_releases_namespace():
    for binding in render(namespace="elsewhere"):
        if binding["kind"] == "MutatingAdmissionPolicyBinding":
            expressions = binding["spec"]["matchResources"]["namespaceSelector"]["matchExpressions"]
            assert "elsewhere" in expressions[0]["values"]


def test_the_cronjob_runs_sync_once_and_has_no_port():
    objects = render({"kind": "CronJob", "schedule": "*/5 * * * *"})
    spec = one(objects, "CronJob")["spec"]
    assert spec["schedule"] == "*/5 * * * *"
    assert spec["concurrencyPolicy"] == "Forbid"
    (container,) = spec["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["--once"]
    assert "ports" not in container
    assert not [item for item in objects if item["kind"] in {"Deployment", "Service"}]
    assert "kind=Deployment" in refused({"kind": "CronJob", "metrics.serviceMonitor.enabled": True})


def test_the_deployment_has_one_replica_and_replaces_it():
    spec = one(render(), "Deployment")["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


def test_the_token_for_vault_is_projected_and_short_lived():
    pod = one(render({"vault.audience": "bao", "vault.tokenSeconds": 900}), "Deployment")["spec"]["template"][
        "spec"
    ]
    (volume,) = pod["volumes"]
    (source,) = volume["projected"]["sources"]
    assert source["serviceAccountToken"] == {
        "path": "vault-token",
        "audience": "bao",
        "expirationSeconds": 900,
    }
    assert one(render(), "ServiceAccount")["automountServiceAccountToken"] is False


def test_no_environment_variable_holds_a_secret():
    (container,) = one(render({"vault.namespace": "team"}), "Deployment")["spec"]["template"]["spec"][
        "containers"
    ]
    assert all("value" in variable for variable in container["env"])
    assert not any(word in str(container["env"]).lower() for word in ("password", "secret_", 'vault_token"'))


def test_sync_reads_each_variable_that_the_chart_sets():
    values = {
        "mode": "none",
        "serviceAccountMode.allowed": True,
        "vault.namespace": "team",
        "vault.caConfigMap": "ca",
        "workloadKinds": ["argoproj.io/v1alpha1/rollouts/Rollout"],
        "evictStuckPods": True,
        "sync.pollSeconds": 45,
        "sync.graceSeconds": 0,
        "sync.maxRemovalShare": 0.5,
        "sync.logLevel": "debug",
        "metrics.port": 9090,
    }
    (container,) = one(render(values), "Deployment")["spec"]["template"]["spec"]["containers"]
    env = {variable["name"]: variable["value"] for variable in container["env"]}
    assert {name.removeprefix("REGCRED_").lower() for name in env} <= set(SyncSettings.model_fields)
    read = SyncSettings.load(env)
    assert read.cluster == "test"
    assert (read.vault_addr, read.vault_namespace) == ("https://vault.example.com:8200", "team")
    assert read.vault_auth_mount == "regcred-cluster-test"
    assert str(read.vault_token_file) == TOKEN_FILE
    assert read.mode is Mode.NONE
    assert read.kinds()[-1].plural == "rollouts"
    assert (read.evict_stuck_pods, read.poll_seconds, read.grace_seconds) == (True, 45, 0)
    assert (read.max_removal_share, read.log_level, read.metrics_port) == (0.5, "debug", 9090)
    assert read.vault_ca_file == "/etc/regcred/vault-ca/ca.crt"
    (token,) = [mount for mount in container["volumeMounts"] if mount["name"] == "vault-token"]
    assert TOKEN_FILE.startswith(token["mountPath"] + "/")


def test_the_defaults_of_chart_and_sync_are_the_same():
    (container,) = one(render(), "Deployment")["spec"]["template"]["spec"]["containers"]
    env = {variable["name"]: variable["value"] for variable in container["env"]}
    bare = SyncSettings.load({name: env[name] for name in ("REGCRED_CLUSTER", "REGCRED_VAULT_ADDR")})
    of_chart = {
        "vault_auth_mount": "regcred-cluster-test",
        "allowed_modes": (Mode.ADMISSION, Mode.NONE),
        "excluded_namespaces": ("kube-node-lease", "kube-public", "kube-system", "regcred-system"),
    }
    assert SyncSettings.load(env) == bare.model_copy(update=of_chart)


def test_the_chart_prefers_a_digest_to_a_tag():
    digest = f"sha256:{'0' * 64}"
    (container,) = one(render({"image.tag": "1", "image.digest": digest}), "Deployment")["spec"]["template"][
        "spec"
    ]["containers"]
    assert container["image"] == f"registry.example.com/regcred-sync@{digest}"


@pytest.mark.parametrize(
    ("address", "port"),
    [
        ("https://v.example.com", 443),
        ("http://v.example.com", 80),
        ("https://v.example.com:8200", 8200),
        ("https://[fd00::1]", 443),
        ("https://[fd00::1]:8200", 8200),
    ],
)
def test_the_network_policy_allows_the_port_of_vault(address: str, port: int):
    policy = one(render({"vault.address": address}), "NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert port in [entry["port"] for entry in policy["egress"][1]["ports"]]
    assert (
        policy["podSelector"]["matchLabels"].items()
        <= one(render(), "Deployment")["spec"]["template"]["metadata"]["labels"].items()
    )


def test_the_network_policy_allows_the_other_ports_of_the_values():
    policy = one(render({"networkPolicy.otherPorts": [3128, 443]}), "NetworkPolicy")["spec"]
    assert [entry["port"] for entry in policy["egress"][1]["ports"]] == [443, 6443, 8200, 3128]
    assert {entry["port"] for entry in policy["egress"][0]["ports"]} == {53, 5353}  # 5353 on OpenShift


def test_names_that_look_like_numbers_are_rendered_as_strings():
    """YAML reads 123, 1e3 and true as numbers or booleans, which the API server refuses in these fields."""
    values = {
        "nameOverride": "77",
        "serviceAccount.name": "1e3",
        "vault.audience": "123",
        "vault.caConfigMap": "0x10",
        "priorityClassName": "true",
        "imagePullSecrets": ["10"],
        "metrics.serviceMonitor.enabled": True,
        "metrics.prometheusRule.enabled": True,
    }
    rendered = helm("template", "123", CHART, "--namespace", "456", *settings(values)).stdout
    objects = [item for item in yaml.safe_load_all(rendered) if item]
    for item in objects:
        metadata = item["metadata"]
        texts = [metadata["name"], metadata.get("namespace", ""), *metadata["labels"].values()]
        assert [text for text in texts if not isinstance(text, str)] == []
    pod_spec = one(objects, "Deployment", "77")["spec"]["template"]["spec"]
    assert (pod_spec["serviceAccountName"], pod_spec["priorityClassName"]) == ("1e3", "true")
    assert pod_spec["imagePullSecrets"] == [{"name": "10"}]
    token, ca = pod_spec["volumes"]
    assert token["projected"]["sources"][0]["serviceAccountToken"]["audience"] == "123"
    assert ca["configMap"]["name"] == "0x10"


def test_every_policy_on_workloads_covers_the_custom_kinds():
    objects = render({"workloadKinds": ["argoproj.io/v1alpha1/rollouts/Rollout"]})
    for kind, name in (
        ("MutatingAdmissionPolicy", "regcred-workloads"),
        ("MutatingAdmissionPolicy", "regcred-templates"),
        ("ValidatingAdmissionPolicy", "regcred-warnings"),
    ):
        rules = one(objects, kind, name)["spec"]["matchConstraints"]["resourceRules"]
        assert ["rollouts"] in [rule["resources"] for rule in rules], name


def test_the_chart_has_the_version_of_the_package():
    about = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = (CHART.parents[3] / "pyproject.toml").read_text()
    assert f'version = "{about["appVersion"]}"' in project
    assert about["version"] == about["appVersion"]


# Kustomize


def test_the_kustomize_base_is_what_the_chart_renders():
    scope = runpy.run_path(str(KUSTOMIZE / "render.py"))
    for path, text in scope["rendered"](binary("helm")).items():
        assert (KUSTOMIZE / path).read_text() == text, f"{path} is stale: run `make kustomize`"


@pytest.mark.parametrize("folder", ["policies", "base", "example"])
def test_kustomize_builds(folder: str):
    answer = subprocess.run(
        [binary("kubectl"), "kustomize", KUSTOMIZE / folder], capture_output=True, text=True, check=True
    )
    objects = list(yaml.safe_load_all(answer.stdout))
    assert {"MutatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"} <= {
        item["kind"] for item in objects
    }
    if folder == "example":
        (container,) = one(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
        env = {variable["name"]: variable.get("value") for variable in container["env"]}
        assert env["REGCRED_CLUSTER"] == "edge-1"
        assert env["REGCRED_VAULT_AUTH_MOUNT"] == "regcred-cluster-edge-1"
        assert env["REGCRED_MODE"] == "admission"
        assert container["image"] == "registry.corp.example/platform/regcred-sync:0.1.0"


# The README


def test_the_readme_names_only_values_that_exist():
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    text = (CHART / "README.md").read_text()
    table = text[text.index("## Values") : text.index("The Deployment has one replica")]
    named = re.findall(
        r"`([a-zA-Z]+(?:\.[a-zA-Z]+)*)`", "".join(re.findall(r"^\| (`.*?) \|", table, re.MULTILINE))
    )
    assert len(named) > 10
    for path in [*named, *re.findall(r"`?([a-z][a-zA-Z]+(?:\.[a-zA-Z]+)+)=(?:true|false)", text)]:
        found: Any = values
        for key in path.split("."):
            assert key in found, f"{path} is in README.md, not in values.yaml"
            found = found[key]


def test_the_readme_lists_the_actual_rights():
    text = (CHART / "README.md").read_text()
    assert "| Secrets | create, update, delete:" in text
    assert rights(render())["secrets"] == ["create", "update", "delete"]
    assert "| Events | create, list, watch:" in text
    assert rights(render())["events"] == ["create", "list", "watch"]


def test_the_values_set_the_groups_that_may_change_our_secrets_and_can_disable_the_policy():
    policy = one(render({"protect.groups": ["admins"]}), "ValidatingAdmissionPolicy", "regcred-sync-drift")
    [condition] = [
        condition
        for condition in policy["spec"]["matchConditions"]
        if condition["name"] == "not-by-an-admin-group"
    ]
    assert condition["expression"] == '!request.userInfo.groups.exists(group, group in ["admins"])'
    names = {item["metadata"]["name"] for item in render({"protect.enabled": False})}
    assert "regcred-sync-drift" not in names
