"""Behaviour that only one vendor has, against the stand-in of that vendor."""

from __future__ import annotations

import pytest
from contract.registry.harness import Bench
from fakes.vendors.aws import Aws
from fakes.vendors.clouds import AlibabaFederated, DigitalOcean
from fakes.vendors.federated import GhcrApp
from fakes.vendors.harbor import Harbor, HarborSystem
from fakes.vendors.network import Network, status
from fakes.vendors.static import GhcrServerToken, GhcrToken
from fakes.vendors.tokens import DockerHubOrganisation, Gitlab, GitlabDependencyProxy, GitlabProject

from regcred.errors import MalformedError, RefusedError, TransientError
from regcred.registry.interface import IssuedCredential, Revoked, Verdict


def test_a_gitlab_groups_dependency_proxy_is_in_the_same_login(network: Network, aws: Aws) -> None:
    bench = Bench(GitlabDependencyProxy(network, aws))
    credential = bench.mint()
    assert credential.hosts == ("gitlab.com/team/dependency_proxy/containers/", "registry.gitlab.com/team/")
    assert bench.verify(credential).verdict is Verdict.CAN_PULL


@pytest.mark.parametrize(
    ("vendor", "message"),
    [(Gitlab, "belongs to an Owner of the group"), (GitlabProject, "a Maintainer or Owner of the project")],
)
def test_the_error_for_gitlab_names_the_missing_role(
    network: Network, aws: Aws, vendor: type[Gitlab], message: str
) -> None:
    bench = Bench(vendor(network, aws))
    bench.vendor.role = "maintainer" if vendor is Gitlab else "developer"
    with pytest.raises(RefusedError, match=message):
        bench.mint()


@pytest.mark.parametrize("vendor", [DigitalOcean, GhcrApp, GhcrToken])
def test_a_token_is_not_revoked_without_its_secret(
    network: Network, aws: Aws, vendor: type[DigitalOcean | GhcrApp | GhcrToken]
) -> None:
    """Rotate leaves the secret out when the definition names another place."""
    bench = Bench(vendor(network, aws))
    credential = bench.mint()
    before = len(network.requests)
    issued = IssuedCredential("", None)
    assert bench.provider.revoke(bench.definition, issued, bench.context()) is Revoked.UNSUPPORTED
    assert len(network.requests) == before
    assert bench.verify(credential).verdict is Verdict.CAN_PULL


@pytest.mark.parametrize(
    ("vendor", "path"),
    [
        (DigitalOcean, r"POST cloud\.digitalocean\.com/"),
        (GhcrApp, r"DELETE api\.github\.com/"),
        (GhcrToken, r"POST api\.github\.com/"),
    ],
)
def test_a_failed_revocation_is_an_error(
    network: Network, aws: Aws, vendor: type[DigitalOcean | GhcrApp | GhcrToken], path: str
) -> None:
    bench = Bench(vendor(network, aws))
    credential = bench.mint()
    network.fail(path, status(503))
    with pytest.raises(TransientError):
        bench.revoke(credential)


def test_a_github_server_that_requires_a_login_for_a_revocation_gets_it(network: Network, aws: Aws) -> None:
    bench = Bench(GhcrServerToken(network, aws))
    credential = bench.mint()
    assert bench.revoke(credential) is Revoked.YES
    assert bench.verify(credential).verdict is Verdict.REFUSED


def test_a_github_server_that_refuses_both_revocations_is_an_error(network: Network, aws: Aws) -> None:
    bench = Bench(GhcrServerToken(network, aws))
    credential = bench.mint()
    network.fail(r"POST github\.example\.com/", status(403), times=2)
    with pytest.raises(RefusedError, match="machine user's settings"):
        bench.revoke(credential)


def test_a_github_server_without_the_revocation_call_cannot_revoke(network: Network, aws: Aws) -> None:
    bench = Bench(GhcrToken(network, aws))
    credential = bench.mint()
    network.fail(r"POST api\.github\.com/", status(404, {"message": "Not Found"}))
    assert bench.revoke(credential) is Revoked.UNSUPPORTED


@pytest.mark.parametrize("lacking", ["registry:read", "registry:update"])
def test_the_error_for_digitalocean_names_the_scopes_of_the_token(
    network: Network, aws: Aws, lacking: str
) -> None:
    bench = Bench(DigitalOcean(network, aws))
    bench.vendor.scopes.discard(lacking)
    with pytest.raises(RefusedError, match="registry:read and registry:update"):
        bench.mint()


def test_a_session_at_alibaba_cannot_push_even_if_its_role_can(network: Network, aws: Aws) -> None:
    vendor = AlibabaFederated(network, aws)
    vendor.may_push = True
    bench = Bench(vendor)
    assert bench.verify(bench.mint()).verdict is Verdict.CAN_PULL


def test_more_repositories_than_a_session_policy_of_alibaba_can_contain_are_an_error(
    network: Network, aws: Aws
) -> None:
    bench = Bench(AlibabaFederated(network, aws))
    many = tuple(f"team/application-number-{number}" for number in range(50))
    definition = bench.definition.model_copy(update={"repositories": many})
    with pytest.raises(MalformedError, match="name fewer") as caught:
        bench.provider.mint(definition, bench.context())
    assert caught.value.field == "repositories"


def test_the_error_for_docker_hub_names_who_can_create_organisation_tokens(
    network: Network, aws: Aws
) -> None:
    bench = Bench(DockerHubOrganisation(network, aws))
    network.fail(r"POST hub\.docker\.com/v2/orgs/", status(403, {"message": "forbidden"}))
    with pytest.raises(RefusedError, match="an owner, or a role with 'Manage organization access tokens'"):
        bench.mint()


@pytest.mark.parametrize("vendor", [Harbor, HarborSystem])
def test_the_error_names_why_harbor_refuses_a_robot_whose_permissions_are_denied(
    network: Network, aws: Aws, vendor: type[Harbor]
) -> None:
    """The list of its permissions, which the provider reads first, does not show the effect."""
    bench = Bench(vendor(network, aws))
    bench.vendor.maker_effect = "deny"
    with pytest.raises(RefusedError, match="can only give permissions that it has itself"):
        bench.mint()
    assert bench.vendor.kept == {}
