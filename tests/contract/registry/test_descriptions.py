"""Requests to vendors, and the responses of the stand-ins, match the vendors' own descriptions.

The fixture `network` checks this in each test of this folder. These tests show that it finds mistakes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from contract.registry.harness import Bench
from fakes.vendors.aws import Aws
from fakes.vendors.azure import AcrFederated
from fakes.vendors.ecr import EcrByRole, EcrPublic
from fakes.vendors.google import GarFederated
from fakes.vendors.network import Network, Request, Response
from fakes.vendors.tokens import DockerHubOrganisation
from fakes.vendors.vendor import Vendor

from regcred.registry import aws_http

AMAZON = ("sts.", "api.ecr.", "api.ecr-public.")

DESCRIBED_HOSTS: dict[type[Vendor], str] = {
    EcrByRole: "api.ecr.*",
    EcrPublic: "api.ecr-public.us-east-1.amazonaws.com",
    GarFederated: "iamcredentials.googleapis.com",
    AcrFederated: "*.azurecr.io",
    DockerHubOrganisation: "hub.docker.com",
}
"""For each vendor, the pattern of a host whose requests and responses are described."""


@pytest.fixture
def problems(network: Network) -> Iterator[list[str]]:
    """The mismatches. A test expects them here, so they don't fail it."""
    yield network.problems
    network.problems.clear()


def change_before_the_check(
    network: Network, pattern: str, change: Callable[[Request, Response], tuple[Request, Response]]
) -> None:
    """Change each request and response before the network checks it."""
    check = network._descriptions[pattern]
    network.describe(pattern, lambda request, response: check(*change(request, response)))


@pytest.mark.parametrize("vendor", DESCRIBED_HOSTS, ids=lambda vendor: vendor.provider)
def test_each_call_of_a_mint_matches_the_description(
    network: Network, aws: Aws, vendor: type[Vendor]
) -> None:
    Bench(vendor(network, aws)).mint()
    assert network.problems == []


@pytest.mark.parametrize("vendor", DESCRIBED_HOSTS, ids=lambda vendor: vendor.provider)
def test_a_response_with_an_unknown_field_is_found(
    network: Network, aws: Aws, problems: list[str], vendor: type[Vendor]
) -> None:
    def add(request: Request, response: Response) -> tuple[Request, Response]:
        return request, Response(response.status, {**json.loads(response.encoded()), "invented": 1})

    change_before_the_check(network, DESCRIBED_HOSTS[vendor], add)
    Bench(vendor(network, aws)).mint()
    assert problems
    assert all("invented" in problem for problem in problems)


@pytest.mark.parametrize("vendor", [GarFederated, AcrFederated, DockerHubOrganisation])
def test_a_request_with_an_unknown_field_is_found(
    network: Network, aws: Aws, problems: list[str], vendor: type[Vendor]
) -> None:
    def add(request: Request, response: Response) -> tuple[Request, Response]:
        if request.method == "GET":
            return request, response
        more = b"&invented=1" if b"grant_type=" in request.body else b""
        body = request.body + more if more else json.dumps({**request.document, "invented": 1}).encode()
        fields = {name: getattr(request, name) for name in ("method", "host", "path", "query", "headers")}
        return Request(**fields, body=body), response

    change_before_the_check(network, DESCRIBED_HOSTS[vendor], add)
    Bench(vendor(network, aws)).mint()
    assert any("invented" in problem for problem in problems), problems


def test_an_sts_request_with_an_unknown_parameter_is_found(
    network: Network, aws: Aws, problems: list[str]
) -> None:
    def add(request: Request, response: Response) -> tuple[Request, Response]:
        fields = {name: getattr(request, name) for name in ("method", "host", "path", "query", "headers")}
        return Request(**fields, body=request.body + b"&Invented=1"), response

    change_before_the_check(network, "sts.*amazonaws.com*", add)
    Bench(EcrByRole(network, aws)).mint()
    assert any("Invented" in problem for problem in problems), problems


def test_an_sts_response_with_an_unknown_element_is_found(
    network: Network, aws: Aws, problems: list[str]
) -> None:
    def add(request: Request, response: Response) -> tuple[Request, Response]:
        body = response.encoded().replace(b"<Credentials>", b"<Credentials><Invented>1</Invented>")
        return request, Response(response.status, body)

    change_before_the_check(network, "sts.*amazonaws.com*", add)
    Bench(EcrByRole(network, aws)).mint()
    assert any("Invented" in problem for problem in problems), problems


@pytest.mark.parametrize("vendor", [EcrByRole, EcrPublic])
def test_botocore_builds_every_request_to_aws(
    network: Network, aws: Aws, monkeypatch: pytest.MonkeyPatch, vendor: type[Vendor]
) -> None:
    """So the models of botocore have validated each request before it was sent."""
    sent: list[Any] = []
    send = aws_http._send
    monkeypatch.setattr(
        aws_http, "_send", lambda request, **more: (sent.append(request.url), send(request, **more))[1]
    )
    bench = Bench(vendor(network, aws))
    bench.verify(bench.mint())
    received = [request for request in network.requests if request.host.startswith(AMAZON)]
    assert len(sent) == len(received) > 0
