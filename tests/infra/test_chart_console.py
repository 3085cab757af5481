"""The console's part of the Helm chart, rendered by the real helm."""

from __future__ import annotations

from typing import Any

import pytest
from helm import CHART, Object, helm, render, settings

from regcred.wiring.console.settings import ConsoleSettings


def one(objects: list[Object], kind: str) -> Object:
    (found,) = [
        item for item in objects if item["kind"] == kind and item["metadata"]["name"] == "regcred-console"
    ]
    return found


def refused(values: dict[str, Any]) -> str:
    answer = helm("template", "regcred", CHART, *settings(values), check=False)
    assert answer.returncode != 0
    return answer.stderr


CONSOLE = {
    "console.enabled": True,
    "console.url": "https://regcred.example.com",
    "console.image.repository": "registry.example.com/regcred-console",
}


def test_the_console_is_off_by_default():
    assert [item for item in render({}) if "console" in item["metadata"]["name"]] == []


def test_the_console_runs_restricted_and_without_rights_in_the_cluster():
    objects = render(CONSOLE)
    spec = one(objects, "Deployment")["spec"]["template"]["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    (container,) = spec["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    bound = [
        subject["name"]
        for item in objects
        if item["kind"] in {"ClusterRoleBinding", "RoleBinding"}
        for subject in item["subjects"]
    ]
    assert "regcred-console" not in bound


def test_with_host_network_an_upgrade_of_the_console_stops_the_old_pod_first():
    """A one-node cluster has no room for the old and the new Pod at the same time."""
    strategy = one(render(CONSOLE | {"hostNetwork": True}), "Deployment")["spec"]["strategy"]
    assert strategy["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
    assert "strategy" not in one(render(CONSOLE), "Deployment")["spec"]


def test_the_console_reads_each_variable_that_the_chart_sets():
    spec = one(render(CONSOLE | {"vault.namespace": "team"}), "Deployment")["spec"]["template"]["spec"]
    environment = {item["name"]: item["value"] for item in spec["containers"][0]["env"]}
    options = ConsoleSettings.load(environment)
    assert options.options.origin == "https://regcred.example.com"
    assert [method.kind for method in options.options.methods] == ["oidc", "token"]
    assert (options.auth_mount, options.vault_namespace) == ("regcred-cluster-test", "team")
    assert {name.removeprefix("REGCRED_").lower() for name in environment} <= set(
        ConsoleSettings.model_fields
    )


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"console.url": "http://regcred.example.com"}, "/console/url"),
        ({"console.signIn": ["saml"]}, "/console/signIn/0"),
        ({"console.idleMinutes": 0}, "/console/idleMinutes"),
        ({"console.url": ""}, "console.url is required"),
        ({"console.image.repository": ""}, "console.image.repository is required"),
        ({"console.image.repository": "registry.example.com/console:1"}, "/console/image/repository"),
    ],
)
def test_an_invalid_value_of_the_console_is_refused_by_its_name(values, field):
    assert field in refused({**CONSOLE, **values})


def test_the_console_has_the_users_environment_variables():
    endpoint = {"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://collector:4318"}
    deployment = one(render(CONSOLE | {"console.extraEnv": [endpoint]}), "Deployment")
    assert endpoint in deployment["spec"]["template"]["spec"]["containers"][0]["env"]
