"""What only one vendor has: each test is against that vendor's stand-in."""

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
    ("vendor", "said"),
    [(Gitlab, "belongs to an Owner of the group"), (GitlabProject, "a Maintainer or Owner of the project")],
)
def test_gitlab_says_which_role_is_lacking(
    network: Network, aws: Aws, vendor: type[Gitlab], said: str
) -> None:
    bench = Bench(vendor(network, aws))
    bench.vendor.role = "maintainer" if vendor is Gitlab else "developer"  # type: ignore[attr-defined]
    with pytest.raises(RefusedError, match=said):
        bench.mint()


@pytest.mark.parametrize("vendor", [DigitalOcean, GhcrApp, GhcrToken])
def test_a_token_is_not_ended_where_its_secret_is_not_known(
    network: Network, aws: Aws, vendor: type[DigitalOcean | GhcrApp | GhcrToken]
) -> None:
    """The secret is left out once the definition names another place."""
    bench = Bench(vendor(network, aws))
    credential = bench.mint()
    asked = len(network.requests)
    issued = IssuedCredential("", None)
    assert bench.provider.revoke(bench.definition, issued, bench.context()) is Revoked.UNSUPPORTED
    assert len(network.requests) == asked
    assert bench.verify(credential).verdict is Verdict.CAN_PULL


@pytest.mark.parametrize(
    ("vendor", "path"),
    [
        (DigitalOcean, r"POST cloud\.digitalocean\.com/"),
        (GhcrApp, r"DELETE api\.github\.com/"),
        (GhcrToken, r"POST api\.github\.com/"),
    ],
)
def test_a_token_that_could_not_be_ended_is_not_called_ended(
    network: Network, aws: Aws, vendor: type[DigitalOcean | GhcrApp | GhcrToken], path: str
) -> None:
    bench = Bench(vendor(network, aws))
    credential = bench.mint()
    network.fail(path, status(503))
    with pytest.raises(TransientError):
        bench.revoke(credential)


def test_a_github_server_that_wants_a_sign_in_to_end_a_token_gets_it(network: Network, aws: Aws) -> None:
    bench = Bench(GhcrServerToken(network, aws))
    credential = bench.mint()
    assert bench.revoke(credential) is Revoked.YES
    assert bench.verify(credential).verdict is Verdict.REFUSED


def test_a_github_server_that_refuses_both_ways_has_not_ended_the_token(network: Network, aws: Aws) -> None:
    bench = Bench(GhcrServerToken(network, aws))
    credential = bench.mint()
    network.fail(r"POST github\.example\.com/", status(403), times=2)
    with pytest.raises(RefusedError, match="machine user's settings"):
        bench.revoke(credential)


def test_a_github_server_without_the_call_says_that_it_can_not_end_a_token(
    network: Network, aws: Aws
) -> None:
    bench = Bench(GhcrToken(network, aws))
    credential = bench.mint()
    network.fail(r"POST api\.github\.com/", status(404, {"message": "Not Found"}))
    assert bench.revoke(credential) is Revoked.UNSUPPORTED


@pytest.mark.parametrize("lacking", ["registry:read", "registry:update"])
def test_digitalocean_says_which_scopes_a_token_needs(network: Network, aws: Aws, lacking: str) -> None:
    bench = Bench(DigitalOcean(network, aws))
    bench.vendor.scopes.discard(lacking)  # type: ignore[attr-defined]
    with pytest.raises(RefusedError, match="registry:read and registry:update"):
        bench.mint()


def test_a_session_at_alibaba_can_not_push_whatever_its_role_may_do(network: Network, aws: Aws) -> None:
    vendor = AlibabaFederated(network, aws)
    vendor.may_push = True
    bench = Bench(vendor)
    assert bench.verify(bench.mint()).verdict is Verdict.CAN_PULL


def test_more_repositories_than_a_session_policy_holds_are_said_before_alibaba_is_asked(
    network: Network, aws: Aws
) -> None:
    bench = Bench(AlibabaFederated(network, aws))
    many = tuple(f"team/application-number-{number}" for number in range(50))
    definition = bench.definition.model_copy(update={"repositories": many})
    with pytest.raises(MalformedError, match="name fewer") as caught:
        bench.provider.mint(definition, bench.context())
    assert caught.value.field == "repositories"


def test_docker_hub_says_who_may_make_tokens_of_an_organisation(network: Network, aws: Aws) -> None:
    bench = Bench(DockerHubOrganisation(network, aws))
    network.fail(r"POST hub\.docker\.com/v2/orgs/", status(403, {"message": "forbidden"}))
    with pytest.raises(RefusedError, match="an owner, or a role with 'Manage organization access tokens'"):
        bench.mint()


@pytest.mark.parametrize("vendor", [Harbor, HarborSystem])
def test_a_robot_that_holds_what_it_gives_in_neither_form_hears_why_harbor_refuses(
    network: Network, aws: Aws, vendor: type[Harbor]
) -> None:
    """The list of its permissions, which is asked first, does not show the effect."""
    bench = Bench(vendor(network, aws))
    bench.vendor.maker_effect = "deny"  # type: ignore[attr-defined]
    with pytest.raises(RefusedError, match="can only give permissions that it has itself"):
        bench.mint()
    assert bench.vendor.kept == {}  # type: ignore[attr-defined]
