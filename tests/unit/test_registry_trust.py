"""The trust texts that keyless providers print: what the vendor must trust, and the commands for it."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from regcred.errors import MalformedError
from regcred.registry.parsing import parse
from regcred.registry.trust import ProjectRole

OWN_ROLE = ProjectRole(
    "payments", "arn:aws:iam::111122223333:role/regcred/payments", "https://issuer.example.net"
)
ROLE = "arn:aws:iam::444455556666:role/regcred/pull"
GUID = "11111111-2222-3333-4444-555555555555"
ALIBABA = {
    "provider": "alibaba",
    "region": "eu-central-1",
    "instance_id": "cri-0123",
    "instance_name": "example",
    "role_arn": "acs:ram::1:role/pull",
    "oidc_provider_arn": "acs:ram::1:oidc-provider/regcred",
}
TENCENT = {
    "provider": "tencent",
    "region": "eu-frankfurt",
    "instance_id": "tcr-0123",
    "instance_name": "example",
    "role_arn": "qcs::cam::uin/1:roleName/pull",
    "identity_provider": "regcred",
}

KEYLESS = [
    {"provider": "ecr", "regions": ["eu-central-1"], "role_arn": ROLE, "repositories": ["team/"]},
    {"provider": "ecr", "regions": ["eu-central-1"], "account": "444455556666"},
    {"provider": "ecr-public", "role_arn": ROLE},
    {"provider": "ecr-public"},
    {
        "provider": "gar",
        "hosts": ["gcr.io"],
        "workload_identity_provider": (
            "projects/1/locations/global/workloadIdentityPools/regcred/providers/aws-main"
        ),
        "service_account": "puller@example-project.iam.gserviceaccount.com",
    },
    {"provider": "acr", "hosts": ["example.azurecr.io"], "tenant_id": GUID, "client_id": GUID},
    {"provider": "artifactory", "platform": "example.jfrog.io", "hosts": ["example.jfrog.io"]},
    {
        "provider": "artifactory",
        "platform": "example.jfrog.io",
        "hosts": ["example.jfrog.io"],
        "auth": "oidc",
        "oidc_provider": "regcred",
    },
    {"provider": "quay", "robot": "team+puller"},
    {"provider": "chainguard", "identity": f"{'0' * 40}/{'1' * 16}"},
    {"provider": "cloudsmith", "organisation": "team", "service": "puller"},
    ALIBABA,
    TENCENT,
    {"provider": "system", "host": "images.example.com", "token_host": "tokens.example.com"},
]


def name(content: dict[str, object]) -> str:
    return f"{content['provider']}-{content.get('auth', '')}"


@pytest.mark.parametrize("content", KEYLESS, ids=name)
def test_the_trust_text_of_a_keyless_definition_names_the_projects_role(content: dict[str, object]) -> None:
    definition = parse(content, where="here")
    assert definition.upstream_fields() == {}
    text = definition.trust(OWN_ROLE)
    assert any(form in text for form in (*OWN_ROLE.subjects, OWN_ROLE.assumed_role_arn))
    for block in re.findall(r"^\{$.*?^\}$", text, flags=re.MULTILINE | re.DOTALL):
        json.loads(block)


@pytest.mark.parametrize("content", KEYLESS, ids=name)
def test_a_trust_text_without_the_issuer_says_how_to_find_it(content: dict[str, object]) -> None:
    text = parse(content, where="here").trust(ProjectRole("payments", OWN_ROLE.role_arn))
    assert ("ISSUER" in text) == ("get-outbound-web-identity-federation-info" in text)


def test_the_trust_text_for_a_role_requires_the_project_as_external_id() -> None:
    assert '"sts:ExternalId": "payments"' in parse(KEYLESS[0], where="here").trust(OWN_ROLE)


def test_another_accounts_registry_without_a_role_needs_a_repository_policy() -> None:
    assert "policy of each repository in account 444455556666" in parse(KEYLESS[1], where="here").trust(
        OWN_ROLE
    )


@pytest.mark.parametrize(
    ("repositories", "needs_condition"), [(["team/"], True), (["team/app"], False), ([], False)]
)
def test_the_trust_text_for_a_prefix_at_azure_requires_a_condition(
    repositories: list[str], *, needs_condition: bool
) -> None:
    acr = {"provider": "acr", "hosts": ["example.azurecr.io"], "tenant_id": GUID, "client_id": GUID}
    text = parse({**acr, "repositories": repositories}, where="here").trust(OWN_ROLE)
    assert ("condition on the repositories' names" in text) is needs_condition


@pytest.mark.parametrize(
    ("repositories", "paths"),
    [
        (["team/", "shared/base"], ["cri-0123/team/*", "cri-0123/shared/base"]),
        ([], ["cri-0123/*"]),
    ],
)
def test_the_policy_for_alibaba_allows_pulls_from_the_repositories_only(
    repositories: list[str], paths: list[str]
) -> None:
    text = parse({**ALIBABA, "repositories": repositories}, where="here").trust(OWN_ROLE)
    (statement,) = statements_about(text, "cr:PullRepository")
    assert statement["Resource"] == [f"acs:cr:eu-central-1:*:repository/{path}" for path in paths]


@pytest.mark.parametrize(
    ("repositories", "paths"),
    [
        (["team/", "shared/base"], ["tcr-0123/team/*", "tcr-0123/shared/base", "tcr-0123/shared/base/*"]),
        ([], ["tcr-0123/*"]),
    ],
)
def test_the_policy_for_tencent_allows_pulls_from_the_repositories_only(
    repositories: list[str], paths: list[str]
) -> None:
    text = parse({**TENCENT, "repositories": repositories}, where="here").trust(OWN_ROLE)
    (statement,) = statements_about(text, "tcr:PullRepository")
    assert statement["resource"] == [f"qcs::tcr:::repository/{path}" for path in paths]


def statements_about(text: str, action: str) -> list[dict[str, Any]]:
    blocks = re.findall(r"^\{$.*?^\}$", text, flags=re.MULTILINE | re.DOTALL)
    found = [json.loads(block) for block in blocks]
    every = [item for block in found for item in block.get("Statement", block.get("statement", ()))]
    return [item for item in every if action in (item.get("Action") or item.get("action"))]


def test_a_registry_with_an_upstream_secret_needs_no_trust() -> None:
    assert parse({"provider": "basic", "hosts": ["registry.example.com"]}, where="here").trust(OWN_ROLE) == ""


HOSTILE = (
    "x; touch {}",
    "$(touch {})",
    "`touch {}`",
    "x'; touch {} #",
    'x"; touch {} #',
    "x\ntouch {}",
    "x && touch {}",
)


def texts_of(content: dict[str, object]) -> list[str]:
    return [
        name for name, field in type(parse(content, where="here")).model_fields.items() if name != "provider"
    ]


@pytest.mark.parametrize("content", KEYLESS, ids=name)
def test_no_field_of_a_definition_is_executed_when_the_trust_text_is_pasted(
    content: dict[str, object], tmp_path: Path
) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("aws", "az", "curl", "gcloud"):
        (tools / tool).write_text("#!/bin/sh\n")
        (tools / tool).chmod(0o755)
    canary = tmp_path / "ran"
    pasted = []
    for field in texts_of(content):
        for form in HOSTILE:
            for value in (form.format(canary), [form.format(canary)]):
                try:
                    definition = parse({**content, field: value}, where="here")
                except MalformedError:
                    continue
                pasted.append(definition.trust(OWN_ROLE))
    script = tmp_path / "pasted"
    for text in dict.fromkeys(pasted):
        script.write_text(text)
        subprocess.run(
            ["bash", str(script)],
            env={"PATH": f"{tools}:/usr/bin:/bin"},
            capture_output=True,
            cwd=tmp_path,
            check=False,
        )
        assert not canary.exists(), text


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ({**KEYLESS[7], "oidc_provider": "x; touch y"}, "oidc_provider"),
        ({**KEYLESS[7], "audience": "$(touch y)"}, "audience"),
        ({**KEYLESS[8], "audience": "x'; touch y #"}, "audience"),
        ({**KEYLESS[9], "audience": "x\ntouch y"}, "audience"),
        ({**TENCENT, "audience": "`touch y`"}, "audience"),
        ({**TENCENT, "identity_provider": "x y"}, "identity_provider"),
    ],
)
def test_a_field_in_a_pasted_command_may_not_contain_shell_characters(
    content: dict[str, object], field: str
) -> None:
    with pytest.raises(MalformedError, match=field):
        parse(content, where="here")


@pytest.mark.parametrize(
    "content", [each for each in KEYLESS if each["provider"] in {"ecr", "ecr-public"}], ids=name
)
def test_a_printed_aws_policy_names_the_role_in_a_condition_only(
    content: dict[str, object],
) -> None:
    text = parse(content, where="here").trust(OWN_ROLE)
    blocks = re.findall(r"^\{$.*?^\}$", text, flags=re.MULTILINE | re.DOTALL)
    policies = [json.loads(block) for block in blocks]
    for statement in (each for policy in policies for each in policy["Statement"] if "Principal" in each):
        assert statement["Principal"] == {"AWS": "arn:aws:iam::111122223333:root"}
        assert statement["Condition"]["ArnEquals"] == {"aws:PrincipalArn": OWN_ROLE.role_arn}


@pytest.mark.parametrize("content", KEYLESS, ids=name)
def test_both_forms_of_the_role_are_printed_if_the_vendor_accepts_several_subjects(
    content: dict[str, object],
) -> None:
    text = parse(content, where="here").trust(OWN_ROLE)
    if content["provider"] in {"quay", "chainguard"} or content.get("auth") == "oidc":
        assert all(form in text for form in OWN_ROLE.subjects)
        assert "compare its log with both forms" in text


BY_SUBJECT = [item for item in KEYLESS if item["provider"] in {"acr", "alibaba", "cloudsmith", "tencent"}]


@pytest.mark.parametrize("content", BY_SUBJECT, ids=name)
def test_both_forms_of_the_roles_subject_are_trusted(content: dict[str, object]) -> None:
    text = parse(content, where="here").trust(OWN_ROLE)
    assert f'"{OWN_ROLE.role_arn}"' in text
    assert f'"{OWN_ROLE.plain_role_arn}"' in text


@pytest.mark.parametrize(
    ("host", "audience"),
    [
        ("example.azurecr.io", "api://AzureADTokenExchange"),
        ("example.azurecr.us", "api://AzureADTokenExchangeUSGov"),
        ("example.azurecr.cn", "api://AzureADTokenExchangeChina"),
        ("example-a1b2c3.eastus.geo.azurecr.io", "api://AzureADTokenExchange"),
    ],
)
def test_the_trust_text_for_azure_has_the_clouds_audience_and_the_registrys_name(
    host: str, audience: str
) -> None:
    content = {"provider": "acr", "hosts": [host], "tenant_id": GUID, "client_id": GUID}
    text = parse(content, where="here").trust(OWN_ROLE)
    assert f'"{audience}"' in text
    assert "az acr show --name example --query" in text


def test_the_trust_text_for_google_without_a_service_account_gives_the_role_read_access() -> None:
    content = {name: value for name, value in KEYLESS[4].items() if name != "service_account"}
    text = parse(content, where="here").trust(OWN_ROLE)
    assert "service-accounts" not in text
    assert 'reader --member="principalSet://iam.googleapis.com/projects/1/' in text
    assert OWN_ROLE.assumed_role_arn in text
    with pytest.raises(MalformedError, match="lifetime_seconds: needs 'service_account'"):
        parse({**content, "lifetime_seconds": 1800}, where="here")
