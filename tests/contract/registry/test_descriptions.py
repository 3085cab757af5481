"""Calls to vendors and the stand-ins' answers against the vendors' own descriptions.

The fixture `network` checks each test of this folder against them. These tests show that the checks find
what is wrong.
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

PLACES: dict[type[Vendor], str] = {
    EcrByRole: "api.ecr.*",
    EcrPublic: "api.ecr-public.us-east-1.amazonaws.com",
    GarFederated: "iamcredentials.googleapis.com",
    AcrFederated: "*.azurecr.io",
    DockerHubOrganisation: "hub.docker.com",
}
"""By vendor, the pattern of a host whose answers are described."""


@pytest.fixture
def problems(network: Network) -> Iterator[list[str]]:
    """What does not match; it is expected here, so it does not fail the test."""
    yield network.problems
    network.problems.clear()


def changed(
    network: Network, pattern: str, change: Callable[[Request, Response], tuple[Request, Response]]
) -> None:
    check = network._descriptions[pattern]
    network.describe(pattern, lambda request, response: check(*change(request, response)))


@pytest.mark.parametrize("vendor", PLACES, ids=lambda vendor: vendor.provider)
def test_each_call_of_a_mint_is_as_described(network: Network, aws: Aws, vendor: type[Vendor]) -> None:
    Bench(vendor(network, aws)).mint()
    assert network.problems == []


@pytest.mark.parametrize("vendor", PLACES, ids=lambda vendor: vendor.provider)
def test_an_answer_with_a_field_that_the_vendor_does_not_know_is_found(
    network: Network, aws: Aws, problems: list[str], vendor: type[Vendor]
) -> None:
    def add(request: Request, response: Response) -> tuple[Request, Response]:
        return request, Response(response.status, {**json.loads(response.encoded()), "invented": 1})

    changed(network, PLACES[vendor], add)
    Bench(vendor(network, aws)).mint()
    assert problems
    assert all("invented" in problem for problem in problems)


@pytest.mark.parametrize("vendor", [GarFederated, AcrFederated, DockerHubOrganisation])
def test_a_request_with_a_field_that_the_vendor_does_not_know_is_found(
    network: Network, aws: Aws, problems: list[str], vendor: type[Vendor]
) -> None:
    def add(request: Request, response: Response) -> tuple[Request, Response]:
        if request.method == "GET":
            return request, response
        more = b"&invented=1" if b"grant_type=" in request.body else b""
        body = request.body + more if more else json.dumps({**request.document, "invented": 1}).encode()
        fields = {name: getattr(request, name) for name in ("method", "host", "path", "query", "headers")}
        return Request(**fields, body=body), response

    changed(network, PLACES[vendor], add)
    Bench(vendor(network, aws)).mint()
    assert any("invented" in problem for problem in problems), problems


def test_a_role_that_is_assumed_with_an_unknown_parameter_is_found(
    network: Network, aws: Aws, problems: list[str]
) -> None:
    def add(request: Request, response: Response) -> tuple[Request, Response]:
        fields = {name: getattr(request, name) for name in ("method", "host", "path", "query", "headers")}
        return Request(**fields, body=request.body + b"&Invented=1"), response

    changed(network, "sts.*amazonaws.com*", add)
    Bench(EcrByRole(network, aws)).mint()
    assert any("Invented" in problem for problem in problems), problems


def test_an_element_that_sts_does_not_have_is_found(network: Network, aws: Aws, problems: list[str]) -> None:
    def add(request: Request, response: Response) -> tuple[Request, Response]:
        body = response.encoded().replace(b"<Credentials>", b"<Credentials><Invented>1</Invented>")
        return request, Response(response.status, body)

    changed(network, "sts.*amazonaws.com*", add)
    Bench(EcrByRole(network, aws)).mint()
    assert any("Invented" in problem for problem in problems), problems


@pytest.mark.parametrize("vendor", [EcrByRole, EcrPublic])
def test_botocore_makes_every_request_to_amazon(
    network: Network, aws: Aws, monkeypatch: pytest.MonkeyPatch, vendor: type[Vendor]
) -> None:
    """So its models have validated each of them before it was sent."""
    sent: list[Any] = []
    send = aws_http._send
    monkeypatch.setattr(
        aws_http, "_send", lambda request, **more: (sent.append(request.url), send(request, **more))[1]
    )
    bench = Bench(vendor(network, aws))
    bench.verify(bench.mint())
    asked = [request for request in network.requests if request.host.startswith(AMAZON)]
    assert len(sent) == len(asked) > 0
