"""ECR's host names in each partition, and the session policy of a pull."""

from __future__ import annotations

import re

import pytest

from regcred.errors import MalformedError
from regcred.registry import ecr_hosts
from regcred.registry.ecr_hosts import Endpoint
from regcred.registry.parsing import parse
from regcred.registry.providers.ecr import session_policy

ALL = frozenset(Endpoint)
CLOUD_PROVIDER_AWS = re.compile(
    r"^(\d{12})\.dkr[.-]ecr(-fips)?\.([a-zA-Z0-9][a-zA-Z0-9-_]*)\.(amazonaws\.(com(\.cn)?|eu)"
    r"|on\.(aws|amazonwebservices\.com\.cn)|sc2s\.sgov\.gov|c2s\.ic\.gov|cloud\.adc-e\.uk|csp\.hci\.ic\.gov)$"
)
"""The pattern of AWS's kubelet credential provider (github.com/kubernetes/cloud-provider-aws,
cmd/ecr-credential-provider/main.go)."""


@pytest.mark.parametrize(
    ("region", "hosts"),
    [
        ("eu-central-1", ["1.dkr.ecr.eu-central-1.amazonaws.com", "1.dkr-ecr.eu-central-1.on.aws"]),
        (
            "us-gov-west-1",
            [
                "1.dkr.ecr.us-gov-west-1.amazonaws.com",
                "1.dkr-ecr.us-gov-west-1.on.aws",
                "1.dkr.ecr-fips.us-gov-west-1.amazonaws.com",
                "1.dkr-ecr-fips.us-gov-west-1.on.aws",
            ],
        ),
        (
            "cn-north-1",
            ["1.dkr.ecr.cn-north-1.amazonaws.com.cn", "1.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn"],
        ),
        ("us-iso-east-1", ["1.dkr.ecr.us-iso-east-1.c2s.ic.gov"]),
        ("us-isob-east-1", ["1.dkr.ecr.us-isob-east-1.sc2s.sgov.gov"]),
        ("eu-isoe-west-1", ["1.dkr.ecr.eu-isoe-west-1.cloud.adc-e.uk"]),
        ("us-isof-south-1", ["1.dkr.ecr.us-isof-south-1.csp.hci.ic.gov"]),
        ("eusc-de-east-1", ["1.dkr.ecr.eusc-de-east-1.amazonaws.eu"]),
        ("mars-north-1", []),
    ],
)
def test_each_partition_has_its_host_names(region: str, hosts: list[str]) -> None:
    account = "123456789012"
    expected = [account + host[1:] for host in hosts]
    assert list(ecr_hosts.hosts(account, region, ALL)) == expected
    for host in expected:
        assert CLOUD_PROVIDER_AWS.fullmatch(host)
        assert ecr_hosts.split(host) == (account, region)


def test_only_hosts_of_the_selected_endpoints_are_returned() -> None:
    found = ecr_hosts.hosts("123456789012", "us-east-1", frozenset({Endpoint.FIPS}))
    assert found == ("123456789012.dkr.ecr-fips.us-east-1.amazonaws.com",)


@pytest.mark.parametrize(
    "host",
    [
        "public.ecr.aws",
        "123.dkr.ecr.us-east-1.amazonaws.com",
        "123456789012.dkr.ecr.us-east-1.amazonaws.com.evil.net",
    ],
)
def test_another_host_is_not_an_ecr_host(host: str) -> None:
    assert ecr_hosts.split(host) is None


ROLE = {
    "provider": "ecr",
    "regions": ["us-east-1"],
    "role_arn": "arn:aws:iam::123456789012:role/regcred/pull",
}


def test_the_session_policy_allows_only_pulls_from_the_repositories() -> None:
    policy = session_policy(parse({**ROLE, "repositories": ["team/", "base"]}, where="here"))
    login, pull = policy["Statement"]
    assert login == {"Effect": "Allow", "Action": "ecr:GetAuthorizationToken", "Resource": "*"}
    assert pull["Resource"] == [
        "arn:aws:ecr:*:123456789012:repository/team/*",
        "arn:aws:ecr:*:123456789012:repository/base",
    ]
    assert not [action for action in pull["Action"] if "Put" in action or "Upload" in action]


def test_the_session_policy_allows_imports_and_new_repositories_only_if_configured() -> None:
    content = {**ROLE, "pull_through": ["docker-hub/"]}
    cached = session_policy(parse(content, where="here"))["Statement"][-1]
    assert cached["Action"] == ["ecr:BatchImportUpstreamImage"]
    assert cached["Resource"] == ["arn:aws:ecr:*:123456789012:repository/docker-hub/*"]
    created = session_policy(parse({**content, "create_repositories": True}, where="here"))["Statement"][-1]
    assert "ecr:CreateRepository" in created["Action"]


def test_a_session_policy_that_is_too_long_is_refused_with_a_remedy() -> None:
    from regcred.registry.aws import compact

    many = parse(
        {**ROLE, "repositories": [f"team-{number}/application" for number in range(60)]}, where="here"
    )
    with pytest.raises(MalformedError, match=r"AWS allows 2048; name fewer") as caught:
        compact(session_policy(many))
    assert caught.value.field == "repositories"


@pytest.mark.parametrize(
    ("region", "kinds"),
    [("us-east-1", 2), ("eu-central-1", 2), ("us-gov-west-1", 2), ("cn-north-1", 2), ("us-iso-east-1", 1)],
)
def test_the_default_endpoints_are_ipv4_and_dual_stack(region: str, kinds: int) -> None:
    definition = parse({"provider": "ecr", "regions": [region]}, where="here")
    found = ecr_hosts.hosts("123456789012", region, frozenset(definition.endpoints))
    assert len(found) == kinds
    assert not any("fips" in host for host in found)
