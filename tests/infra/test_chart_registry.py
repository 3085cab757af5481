"""The chart of the system registry, rendered by the real helm. The real Distribution reads its
configuration."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from helm import CHART, Object, helm

from realparts.build import binary
from realparts.procs import free_ports
from regcred.settings import TokenServerSettings
from regcred.token import jose

REGISTRY = CHART.parent / "regcred-registry"
PUBLIC = ec.generate_private_key(ec.SECP256R1()).public_key()
KEY = jose.jwk(
    PUBLIC.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
)
KEYS = json.dumps({"keys": [{**KEY, "kid": jose.thumbprint(KEY), "alg": "ES256", "use": "sig"}]}, indent=2)
REQUIRED = {
    "host": "registry.example.com",
    "tokenKeys": KEYS,
    "registry": {"tlsSecret": "registry-tls"},
    "tokenServer": {
        "url": "https://token.example.com",
        "tlsSecret": "token-tls",
        "image": {"repository": "registry.example.com/regcred-token"},
    },
    "vault": {"address": "https://vault.example.com:8200", "authMount": "regcred-cluster-test"},
}
S3 = {"kind": "s3", "s3": {"bucket": "images", "region": "eu-central-1"}}


def merged(base: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    return {
        **base,
        **{
            key: merged(base[key], value)
            if isinstance(value, dict) and isinstance(base.get(key), dict)
            else value
            for key, value in more.items()
        },
    }


@pytest.fixture
def template(tmp_path: Path):
    def run(*flags: str, **values: Any) -> subprocess.CompletedProcess[str]:
        file = tmp_path / "values.yaml"
        file.write_text(json.dumps(merged(REQUIRED, values)))
        where = ("--namespace", "regcred-system", "-f", file)
        return helm("template", "r", REGISTRY, *where, *flags, check=False)

    return run


@pytest.fixture
def render(template):
    def run(*flags: str, **values: Any) -> list[Object]:
        answer = template(*flags, **values)
        assert answer.returncode == 0, answer.stderr
        return [document for document in yaml.safe_load_all(answer.stdout) if document]

    return run


def one(objects: list[Object], kind: str, name: str = "regcred-registry") -> Object:
    (found,) = [item for item in objects if item["kind"] == kind and item["metadata"]["name"] == name]
    return found


def pods(objects: list[Object]) -> dict[str, Any]:
    found = {}
    for item in objects:
        if item["kind"] == "Deployment":
            found[item["metadata"]["name"]] = item["spec"]["template"]["spec"]
        if item["kind"] == "CronJob":
            found[item["metadata"]["name"]] = item["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    return found


def test_the_chart_passes_the_strict_linter(tmp_path: Path):
    (tmp_path / "values.yaml").write_text(json.dumps(REQUIRED))
    answer = helm("lint", "--strict", REGISTRY, "-f", tmp_path / "values.yaml", check=False)
    assert answer.returncode == 0, answer.stdout


@pytest.mark.parametrize("storage", [{}, S3])
def test_each_pod_runs_restricted_and_without_rights_in_the_cluster(render, storage):
    objects = render(storage=storage)
    found = pods(objects)
    assert set(found) == {"regcred-registry", "regcred-token", "regcred-registry-garbage-collection"}
    for spec in found.values():
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"]["memory"]
    assert not [item for item in objects if "Role" in item["kind"]]


def test_on_openshift_the_chart_sets_no_user(render):
    elsewhere = pods(render())
    openshift = render("--api-versions=security.openshift.io/v1/SecurityContextConstraints")
    assert set(elsewhere) == set(pods(openshift))
    for name, spec in pods(openshift).items():
        assert not {"runAsUser", "runAsGroup", "fsGroup"} & set(spec["securityContext"])
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert elsewhere[name]["securityContext"]["runAsUser"] == 65532
    for spec in pods(render(podSecurityContext={"runAsUser": 5})).values():
        assert spec["securityContext"] == {"runAsUser": 5}


def test_with_host_network_an_upgrade_stops_the_old_pod_first(render):
    """A one-node cluster has no room for the old and the new Pod at the same time."""
    objects = render(hostNetwork=True, storage=S3)
    for name in ("regcred-registry", "regcred-token"):
        strategy = one(objects, "Deployment", name)["spec"]["strategy"]
        assert strategy["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
    assert "rollingUpdate" not in str(render(storage=S3))


def test_no_pod_starts_on_a_windows_node(render):
    for spec in pods(render()).values():
        assert spec["nodeSelector"] == {"kubernetes.io/os": "linux"}


def test_the_token_server_reads_each_variable_that_the_chart_sets(render):
    (container,) = pods(render(vault={"namespace": "team"}))["regcred-token"]["containers"]
    environment = {item["name"]: item["value"] for item in container["env"]}
    read = TokenServerSettings.load(environment)
    assert (read.auth_mount, read.vault_role) == ("regcred-cluster-test", "token")
    assert read.vault_namespace == "team"
    own = {"REGCRED_TOKEN_PORT", "REGCRED_TOKEN_CERTIFICATE", "REGCRED_TOKEN_KEY"}
    assert {name.removeprefix("REGCRED_").lower() for name in set(environment) - own} <= set(
        TokenServerSettings.model_fields
    )


def test_new_keys_restart_the_registry(render):
    def checksum(keys: str) -> str:
        template = one(render(tokenKeys=keys), "Deployment")["spec"]["template"]
        return str(template["metadata"]["annotations"]["checksum/config"])

    assert checksum(KEYS) != checksum(KEYS.replace("ES256", "ES384"))


def test_the_network_policy_allows_the_registry_no_connections_unless_its_storage_is_a_bucket(render):
    policy = one(render(), "NetworkPolicy")
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert policy["spec"]["egress"] == []
    bucket = one(render(storage=S3), "NetworkPolicy")["spec"]["egress"]
    assert {port["port"] for rule in bucket for port in rule["ports"]} == {
        53,
        5353,
        443,
    }  # 5353 is the port of DNS on OpenShift
    token = one(render(), "NetworkPolicy", "regcred-token")["spec"]["egress"]
    assert {port["port"] for rule in token for port in rule["ports"]} == {53, 5353, 443, 8200}


def test_the_chart_can_leave_out_the_token_server(render):
    assert set(pods(render(tokenServer={"enabled": False}))) == {
        "regcred-registry",
        "regcred-registry-garbage-collection",
    }


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"host": "https://registry.example.com"}, "/host"),
        ({"host": ""}, "/host"),
        ({"tokenKeys": ""}, "/tokenKeys"),
        ({"tokenServer": {"url": "http://token.example.com"}}, "/tokenServer/url"),
        ({"storage": {"kind": "nfs"}}, "/storage/kind"),
        ({"storage": {"kind": "s3"}}, "storage.s3.bucket is required"),
        ({"registry": {"replicas": 2}}, "registry.replicas"),
        ({"registry": {"replicas": 2}, "storage": S3}, "registry.httpSecret is required"),
        ({"registry": {"tlsSecret": ""}}, "registry.tlsSecret is required"),
        ({"vault": {"address": ""}}, "vault.address is required"),
        ({"regsitry": {}}, "regsitry"),
    ],
)
def test_an_invalid_value_is_refused_by_its_name(template, values, field):
    answer = template(**values)
    assert answer.returncode != 0
    assert field in answer.stderr


def test_distribution_starts_with_the_configuration_of_the_chart(render, tmp_path: Path):
    data = one(render(), "ConfigMap")["data"]
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    (port,) = free_ports(1)
    for folder in ("config", "tls", "data"):
        (tmp_path / folder).mkdir()
    (tmp_path / "config/jwks.json").write_text(data["jwks.json"])
    certificate.private_key_pem.write_to_path(tmp_path / "tls/tls.key")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "tls/tls.crt")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    text = data["config.yml"].replace("/etc/regcred", str(tmp_path)).replace(":5000", f"127.0.0.1:{port}")
    (tmp_path / "config/config.yml").write_text(text.replace("/var/lib/registry", str(tmp_path / "data")))
    process = subprocess.Popen(
        [binary("registry"), "serve", tmp_path / "config/config.yml"],
        env={"OTEL_TRACES_EXPORTER": "none"},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        answer = first_answer(f"https://localhost:{port}/v2/", tmp_path / "ca.pem", process)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith(
            'Bearer realm="https://token.example.com/token",service="registry.example.com"'
        )
        assert requests.get(f"https://localhost:{port}/", verify=str(tmp_path / "ca.pem"), timeout=5).ok
    finally:
        process.kill()
        process.communicate()


def first_answer(url: str, authority: Path, process: subprocess.Popen[str]) -> requests.Response:
    """The answer of a server that is starting; fails if the process ends or after 30 seconds."""
    end = time.monotonic() + 30
    while True:
        try:
            return requests.get(url, verify=str(authority), timeout=5)
        except requests.ConnectionError:
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < end
            time.sleep(0.1)
