"""The suite that every provider must pass, against a stand-in as strict as its vendor."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from contract.registry.harness import REFERENCE, VENDORS, Bench, skewed, vendor_id
from fakes.vendors.aws import Aws
from fakes.vendors.basic import BasicToken
from fakes.vendors.clouds import AlibabaKey, TencentKey
from fakes.vendors.federated import QuayFederated
from fakes.vendors.harbor import Harbor
from fakes.vendors.jfrog import JfrogOidc
from fakes.vendors.network import Network, Request, Response, cut, status
from fakes.vendors.static import QuayStatic
from fakes.vendors.tokens import DockerHubOrganisation, Gitlab
from fakes.vendors.vendor import OTHER_ROLE, Vendor

from regcred.credential import Credential
from regcred.errors import MalformedError, MissingError, RefusedError, RegcredError, TransientError
from regcred.registry.definition import split_key
from regcred.registry.interface import Revoked, Verdict

SKEWS = [timedelta(0), timedelta(minutes=10), timedelta(minutes=-10)]


def vendors(*, where: Callable[[type[Vendor]], bool]) -> pytest.MarkDecorator:
    """Run a test only for the vendors for which `where` is true."""
    return pytest.mark.parametrize(
        "vendor", [item for item in VENDORS if where(item)], ids=vendor_id, indirect=True
    )


READABLE = (AlibabaKey, BasicToken, JfrogOidc, QuayFederated, QuayStatic, TencentKey)
"""Vendors whose pull tokens name their scope, and where only the rights at the vendor limit a credential."""

MINTING = vendors(where=lambda vendor: bool(vendor.calls))
"""For the vendors whose API creates the credentials."""


@pytest.fixture(params=VENDORS, ids=vendor_id)
def vendor(request: pytest.FixtureRequest, network: Network, aws: Aws) -> Vendor:
    made: Vendor = request.param(network, aws)
    return made


@pytest.fixture
def bench(vendor: Vendor) -> Bench:
    return Bench(vendor)


def test_a_minted_credential_can_pull_and_nothing_more(bench: Bench) -> None:
    verification = bench.verify(bench.mint())
    assert verification.verdict is Verdict.CAN_PULL, verification.detail


def test_a_credential_that_can_push_is_detected(bench: Bench) -> None:
    bench.vendor.widen()
    verification = bench.verify(bench.mint())
    assert verification.verdict is Verdict.WIDER, verification.detail


@vendors(where=lambda vendor: vendor in READABLE)
def test_a_credential_for_other_repositories_is_detected(bench: Bench) -> None:
    credential = bench.mint()
    for rights in bench.vendor.registry.logins.values():
        rights.pull.append("*")
    verification = bench.verify(credential)
    assert verification.verdict is Verdict.WIDER, verification.detail
    assert "outside of 'repositories'" in verification.detail


def test_a_credential_names_every_host_of_the_registry_and_no_other(bench: Bench) -> None:
    assert {split_key(key)[0] for key in bench.mint().hosts} == set(bench.vendor.hosts)


def test_the_keys_are_narrowed_to_the_definitions_repositories(bench: Bench) -> None:
    paths = {split_key(key)[1] for key in bench.mint().hosts}
    assert paths == set(bench.definition.scopes() or ("",))


@pytest.mark.parametrize("skew", SKEWS, ids=str)
def test_the_expiry_is_that_of_the_vendor_even_if_our_clock_is_wrong(
    bench: Bench, network: Network, skew: timedelta
) -> None:
    bench.now = skewed(network, skew)
    credential = bench.mint()
    if bench.vendor.lifetime is None:
        assert credential.expires_at is None
        return
    assert credential.expires_at is not None
    left = credential.expires_at - network.clock.now()
    days = abs((bench.now().date() - network.clock.now().date()).days)  # GitLab's tokens end at a date
    assert abs(left - bench.vendor.lifetime) <= abs(skew) + timedelta(days=days, minutes=1)
    refresh_at = credential.refresh_at(REFERENCE)
    assert refresh_at is not None
    network.clock.advance(refresh_at - bench.now())
    assert bench.verify(credential).verdict is Verdict.CAN_PULL, "it expired before its refresh"


@vendors(where=lambda vendor: vendor.lifetime is not None and vendor.dies)
def test_the_registry_refuses_an_expired_credential(bench: Bench, network: Network) -> None:
    credential = bench.mint()
    network.clock.advance(bench.vendor.lifetime + timedelta(minutes=2))
    assert bench.verify(credential).verdict is Verdict.REFUSED


def test_a_second_mint_does_not_end_the_first_credential(bench: Bench) -> None:
    first = bench.mint()
    second = bench.mint(in_force=first.revocation_id)
    assert bench.verify(first).verdict is Verdict.CAN_PULL
    assert bench.verify(second).verdict is Verdict.CAN_PULL


def test_revoking_ends_the_credential_or_reports_that_it_is_unsupported(bench: Bench) -> None:
    credential = bench.mint()
    if bench.vendor.revocable:
        assert bench.revoke(credential) is Revoked.YES
        assert bench.verify(credential).verdict is Verdict.REFUSED
        assert bench.revoke(credential) is Revoked.YES, "revoking twice is no error"
    else:
        assert bench.revoke(credential) is Revoked.UNSUPPORTED
        assert bench.verify(credential).verdict is Verdict.CAN_PULL


@MINTING
def test_a_stand_in_refuses_its_minting_requests_with_another_method(bench: Bench, network: Network) -> None:
    bench.mint()
    for request in network.requests.copy():
        if re.search(bench.vendor.calls, f"{request.method} {request.host}{request.path}"):
            answer = network.answer(replace(request, method="PATCH"))
            refused = answer.status >= 400 or "Error" in answer.body["Response"]  # Tencent refuses with a 200
            assert refused, f"{request.host}{request.path}: {answer.status}"
    network.problems.clear()


@vendors(where=lambda vendor: vendor.keyless)
def test_the_role_of_another_project_is_refused(bench: Bench) -> None:
    bench.role_arn = OTHER_ROLE
    with pytest.raises(RefusedError):
        bench.mint()


@vendors(where=lambda vendor: bool(vendor.calls) and not vendor.keyless)
def test_the_error_for_a_refused_upstream_secret_contains_a_remedy(bench: Bench) -> None:
    bench.vendor.refuse()
    with pytest.raises(RefusedError) as caught:
        bench.mint()
    assert ";" in str(caught.value)


@vendors(where=lambda vendor: not vendor.keyless)
def test_the_error_for_a_missing_upstream_secret_names_its_path(bench: Bench) -> None:
    context = bench.context()
    object.__setattr__(context, "upstream", {})
    with pytest.raises(MissingError, match="upstream/payments/main"):
        bench.provider.mint(bench.definition, context)


@MINTING
@pytest.mark.parametrize("code", [429, 503])
def test_throttling_and_server_faults_are_transient_errors(bench: Bench, network: Network, code: int) -> None:
    network.fail(bench.vendor.calls, status(code, {"message": "boom"}, {"Retry-After": "7"}), times=5)
    with pytest.raises(TransientError):
        bench.mint()


@MINTING
def test_a_broken_connection_is_a_transient_error(bench: Bench, network: Network) -> None:
    network.fail(bench.vendor.calls, cut, times=9)
    with pytest.raises(TransientError):
        bench.mint()


@MINTING
@pytest.mark.parametrize("body", ["<html>sign in</html>", "[]", "{}"])
def test_a_response_of_the_wrong_shape_gives_an_error_of_one_line(
    bench: Bench, network: Network, body: str
) -> None:
    network.fail(bench.vendor.calls, status(200, body), times=9)
    with pytest.raises((MalformedError, TransientError)) as caught:
        bench.mint()
    assert "\n" not in str(caught.value)


@MINTING
@pytest.mark.parametrize("code", [400, 403, 404, 409])
def test_no_error_repeats_the_body_of_the_vendors_response(bench: Bench, network: Network, code: int) -> None:
    body = {"error": "server said s3cr3t-in-a-body", "message": "s3cr3t-in-a-body"}
    network.fail(bench.vendor.calls, status(code, body), times=9)
    with pytest.raises(RegcredError) as caught:
        bench.mint()
    assert "s3cr3t" not in str(caught.value)
    assert caught.value.__cause__ is None, "a traceback would show the vendor's text"
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_no_secret_is_in_a_log_or_a_repr(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    credential = bench.mint()
    bench.verify(credential)
    texts = [caplog.text, repr(credential), repr(bench.context()), repr(bench.definition)]
    for secret in passwords(credential) | set(bench.vendor.upstream.values()) - {
        bench.vendor.upstream.get("username")
    }:
        assert not [text for text in texts if secret in text]


def passwords(credential: Credential) -> set[str]:
    auths = json.loads(credential.dockerconfigjson().get_secret_value())["auths"]
    return {value for entry in auths.values() for value in (entry["password"], entry["auth"])}


@vendors(where=lambda vendor: vendor.provider in {"ecr", "ecr-public"})
def test_the_error_names_the_clock_if_aws_refuses_the_time_of_a_request(
    bench: Bench, network: Network
) -> None:
    network.clock.advance(timedelta(minutes=10))
    with pytest.raises(RefusedError, match="clock"):
        bench.mint()


ENDLESS: dict[type[Vendor], tuple[str, Any, dict[str, str]]] = {
    DockerHubOrganisation: (
        "/v2/orgs/team/access-tokens",
        {"results": [{"id": "1"}], "next": "https://elsewhere.example.com/v2/orgs/team/access-tokens?page=2"},
        {},
    ),
    Gitlab: ("/deploy_tokens", [{"id": 1}], {"X-Next-Page": "2"}),
    Harbor: ("/robots", [{"id": 1}] * 100, {}),
}
"""For each vendor, the path of its list of tokens, and a page (body and headers) that is never the last."""


@vendors(where=lambda vendor: vendor in ENDLESS)
def test_a_list_with_endless_pages_is_an_error(
    bench: Bench, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, page, headers = ENDLESS[type(bench.vendor)]
    answer = network.answer
    hosts: list[str] = []

    def endless(request: Request) -> Response:
        if request.method != "GET" or not request.path.endswith(path):
            return answer(request)
        hosts.append(request.host)
        assert len(hosts) <= 1000, "endless requests"
        return Response(200, page, headers)

    monkeypatch.setattr(network, "answer", endless)
    with pytest.raises(MalformedError, match="has more than 100 pages; check the address"):
        bench.mint()
    assert len(hosts) == 100
    assert len(set(hosts)) == 1
