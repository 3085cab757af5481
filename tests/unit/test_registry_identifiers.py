"""Identifiers in definitions follow the rules of the vendors."""

from __future__ import annotations

from typing import Any

import pytest

from regcred.errors import MalformedError
from regcred.registry.parsing import parse

BASES: dict[str, dict[str, Any]] = {
    "alibaba": {"region": "eu-central-1", "instance_id": "cri-1", "instance_name": "example", "auth": "key"},
    "cloudsmith": {"organisation": "team", "service": "puller"},
    "gar": {
        "hosts": ["europe-west1-docker.pkg.dev"],
        "workload_identity_provider": (
            "projects/1/locations/global/workloadIdentityPools/pool/providers/regcred"
        ),
    },
    "tencent": {"region": "eu-frankfurt", "instance_id": "tcr-1", "instance_name": "example", "auth": "key"},
    "artifactory": {"platform": "example.jfrog.io", "hosts": ["example.jfrog.io"]},
    "chainguard": {"identity": "0123456789abcdef0123456789abcdef01234567/0123456789abcdef"},
    "dockerhub": {"organisation": "team", "repositories": ["team/app"]},
    "gitea": {"host": "gitea.example.com", "user": "puller"},
    "gitlab": {"group": "team"},
    "harbor": {"host": "harbor.example.com", "harbor_project": "team"},
    "nexus": {"server": "nexus.example.com", "hosts": ["nexus.example.com:8443"], "users": ["a", "b"]},
    "quay": {"robot": "team+puller"},
}


def written(provider: str, **fields: Any) -> Any:
    content = {"provider": provider, **BASES[provider], **fields}
    return parse({name: value for name, value in content.items() if value is not None}, where="here")


OIDC = {"auth": "oidc", "oidc_provider": "regcred"}
TOKEN = {"auth": "token", "username": "puller", "groups": ["readers"]}


@pytest.mark.parametrize(
    ("provider", "fields"),
    [
        ("quay", {"robot": "my-org.team+ci-puller"}),
        ("quay", {"robot": "a1+b_2"}),
        ("dockerhub", {"organisation": "my-org", "repositories": ["my-org/"]}),
        ("dockerhub", {"organisation": "old_name", "repositories": ["old_name/app"]}),
        ("harbor", {"harbor_project": "p" * 190}),
        ("harbor", {"harbor_project": None, "harbor_projects": ["a.b", "c_d"]}),
        ("artifactory", {**OIDC, "oidc_provider": "my-oidc-1"}),
        ("artifactory", {**TOKEN, "groups": ["with space", "a.b:c"]}),
        ("artifactory", {"platform": "example.com/jfrog"}),
        ("nexus", {"server": "example.com/nexus"}),
        ("nexus", {"server": "example.com:8443/a/b"}),
        ("gitlab", {"server": "example.com/gitlab"}),
        ("gitea", {"user": "Team-1.bot_x"}),
        ("chainguard", {"identity": f"{'0' * 40}/{'1' * 16}/{'2' * 16}"}),
        ("gar", {"service_account": "puller@my-project.iam.gserviceaccount.com"}),
        ("gar", {"service_account": "puller@my-project.example.com.iam.gserviceaccount.com"}),
        ("alibaba", {"region": "cn-shanghai-finance-1"}),
        ("alibaba", {"region": "cn-north-2-gov-1"}),
        ("tencent", {"role_arn": "qcs::cam::uin/100000000001:roleName/team=pull,+a@b"}),
        ("tencent", {"role_arn": "qcs::cam::uin/100000000001:role/4611686018427397919"}),
        ("cloudsmith", {"service": "_puller-1"}),
    ],
)
def test_identifiers_that_the_vendor_accepts_are_accepted(provider: str, fields: dict[str, Any]) -> None:
    written(provider, **fields)


@pytest.mark.parametrize(
    ("provider", "fields", "message"),
    [
        ("quay", {"robot": "team+p"}, "robot"),
        ("quay", {"robot": "team+a--b"}, "robot"),
        ("quay", {"robot": "team+puller+x"}, "robot"),
        ("quay", {"robot": f"team+{'p' * 256}"}, "robot"),
        ("dockerhub", {"organisation": "-org", "repositories": ["-org/app"]}, "organisation"),
        (
            "dockerhub",
            {"organisation": "a", "repositories": [f"a/{n}" for n in range(50)], "hardened_images": True},
            "51 paths",
        ),
        ("harbor", {"harbor_project": "a--b"}, "harbor_project"),
        ("harbor", {"harbor_project": "p" * 191}, "harbor_project"),
        ("harbor", {"harbor_projects": ["tools"]}, "either 'harbor_project' or 'harbor_projects'"),
        ("harbor", {"harbor_project": None}, "harbor_project"),
        ("harbor", {"repositories": ["tools/app"]}, "'tools/app' is not in team/"),
        ("artifactory", {**OIDC, "oidc_provider": "Regcred"}, "oidc_provider"),
        ("artifactory", {**OIDC, "oidc_provider": "1st"}, "oidc_provider"),
        ("artifactory", {**TOKEN, "groups": ['a","admins']}, "groups"),
        ("artifactory", {**TOKEN, "groups": ["g" * 200, "h" * 200, "i" * 100]}, "JFrog allows 500"),
        ("artifactory", {**TOKEN, "username": "u" * 256}, "username"),
        ("nexus", {"server": "https://example.com/nexus"}, "has a scheme"),
        ("nexus", {"server": "example.com/nexus/"}, "without '/' at its end"),
        ("nexus", {"server": "example.com/../admin"}, "no valid path"),
        ("harbor", {"server": "example.com/a?b=c"}, "no valid path"),
        ("gitea", {"server": "example.com/a b"}, "no valid path"),
        ("gitea", {"user": "a..b"}, "user"),
        ("gitea", {"user": "bot-"}, "user"),
        ("chainguard", {"identity": "0123"}, "identity"),
    ],
)
def test_identifiers_that_the_vendor_refuses_are_refused(
    provider: str, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(MalformedError) as caught:
        written(provider, **fields)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("provider", "field"),
    [
        ("nexus", "server"),
        ("artifactory", "platform"),
        ("gitlab", "server"),
        ("gitea", "server"),
        ("harbor", "server"),
    ],
)
def test_the_path_of_a_server_is_not_part_of_its_host(provider: str, field: str) -> None:
    definition = written(provider, **{field: "elsewhere.example.com/base"})
    assert "elsewhere.example.com" in definition.typed_hosts()
    assert not [host for host in (*definition.typed_hosts(), *definition.realms()) if "/" in host]


@pytest.mark.parametrize(
    ("email", "account"),
    [
        ("puller@my-project.iam.gserviceaccount.com", "my-project"),
        ("puller@my-project.example.com.iam.gserviceaccount.com", "example.com:my-project"),
    ],
)
def test_the_account_of_a_service_account_is_its_google_project(email: str, account: str) -> None:
    assert written("gar", service_account=email).accounts() == (account,)


@pytest.mark.parametrize(
    "email",
    [
        "1puller@my-project.iam.gserviceaccount.com",
        "puller-@my-project.iam.gserviceaccount.com",
        "puller@my-project.iam.gserviceaccount.com.example.com",
        "puller@my-project..iam.gserviceaccount.com",
        "puller@my-project.iam.gserviceaccount.com@x",
    ],
)
def test_another_email_address_is_refused_as_a_service_account(email: str) -> None:
    with pytest.raises(MalformedError, match="service_account"):
        written("gar", service_account=email)
