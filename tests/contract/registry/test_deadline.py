"""Each way to call a vendor has one deadline: our own transport, and the SDKs of AWS, Google and Azure."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from contract.registry.harness import Bench, vendor_id
from fakes.vendors.aws import Aws
from fakes.vendors.azure import AcrFederated
from fakes.vendors.ecr import EcrByRole, EcrPublic
from fakes.vendors.google import GarFederated
from fakes.vendors.network import Network, Request, Response
from fakes.vendors.tokens import Gitlab
from fakes.vendors.vendor import Vendor

from regcred.adapters.eventbridge import EventBus
from regcred.adapters.sqs_sender import SqsQueue
from regcred.adapters.sts import ProjectIdentity
from regcred.dispatch import QueuedMessage
from regcred.errors import TransientError
from regcred.registry import limits, transport
from regcred.registry_reference import Reference
from regcred.rotate import Announced, Event
from regcred.rotation_message import RotationMessage, RotationReason
from regcred.vault.records.index import IndexEntry, State

ENTRY = IndexEntry(state=State.OK, version=1, changed_at=datetime(2026, 11, 24, tzinfo=UTC))

SLOW: dict[type[Vendor], str] = {
    AcrFederated: r"POST login\.microsoftonline\.com/",
    EcrByRole: r"POST (api\.)?ecr\.",
    EcrPublic: r"POST sts\.",
    GarFederated: r"POST iamcredentials\.googleapis\.com/",
    Gitlab: r"POST gitlab\.com/api/",
}
"""For each vendor, the call that gets header after header and never a whole response."""


@pytest.mark.parametrize("vendor", SLOW, ids=vendor_id)
def test_a_call_to_a_vendor_that_drips_headers_ends_at_the_deadline(
    vendor: type[Vendor], network: Network, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(vendor(network, aws))
    began: list[float] = []

    def drip(request: Request) -> Response:
        began.append(time.monotonic())
        return Response(200, None, dripping=True)

    network.fail(SLOW[vendor], drip, times=5)
    monkeypatch.setattr(limits, "CALL_SECONDS", 1.5)
    with pytest.raises(TransientError, match="did not send its whole response"):
        bench.mint()
    assert began, "the vendor got no request"
    assert time.monotonic() - began[0] < 5


def announce() -> None:
    EventBus("regcred").announce([Event(Announced.ROTATED, Reference("p", "r"), ENTRY)])


def send() -> None:
    message = RotationMessage(project="p", registries={"r": RotationReason.DUE})
    SqsQueue("https://sqs.eu-central-1.amazonaws.com/1/q.fifo").send([QueuedMessage(message, "id")])


def assume() -> None:
    ProjectIdentity("payments", "arn:aws:iam::123456789012:role/regcred/payments").aws()


@pytest.mark.parametrize(("host", "call"), [("events", announce), ("sqs", send), ("sts", assume)])
def test_a_functions_own_call_to_an_aws_service_that_drips_headers_ends_at_the_deadline(
    host: str, call: Callable[[], None], network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths: list[str] = []

    def drip(request: Request) -> Response:
        paths.append(request.path)
        return Response(200, None, dripping=True)

    network.add(f"{host}.eu-central-1.amazonaws.com", drip)
    monkeypatch.setattr(transport, "_kept", [])  # the servers of earlier tests are gone
    monkeypatch.setattr(limits, "CALL_SECONDS", 4.0)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "ours")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    began = time.monotonic()
    with pytest.raises(TransientError, match="did not send its whole response"):
        call()
    assert paths, "the service got no request"
    assert time.monotonic() - began < 15
