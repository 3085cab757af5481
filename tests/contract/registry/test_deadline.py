"""Every way in which a vendor is called keeps to one deadline: our own transport, and the SDKs of AWS, Google and Azure."""

from __future__ import annotations

import time

import pytest
from contract.registry.harness import Bench, vendor_id
from fakes.vendors.aws import Aws
from fakes.vendors.azure import AcrFederated
from fakes.vendors.ecr import EcrByRole, EcrPublic
from fakes.vendors.google import GarFederated
from fakes.vendors.network import Network, Request, Response
from fakes.vendors.tokens import Gitlab
from fakes.vendors.vendor import Vendor

from regcred.errors import TransientError
from regcred.registry import limits

SLOW: dict[type[Vendor], str] = {
    AcrFederated: r"POST login\.microsoftonline\.com/",
    EcrByRole: r"POST (api\.)?ecr\.",
    EcrPublic: r"POST sts\.",
    GarFederated: r"POST iamcredentials\.googleapis\.com/",
    Gitlab: r"POST gitlab\.com/api/",
}
"""By vendor, the call that is answered by nothing but headers, one after the other."""


@pytest.mark.parametrize("vendor", SLOW, ids=vendor_id)
def test_a_vendor_that_drips_headers_is_given_up_at_the_deadline(
    vendor: type[Vendor], network: Network, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(vendor(network, aws))
    began: list[float] = []

    def drip(request: Request) -> Response:
        began.append(time.monotonic())
        return Response(200, None, dripping=True)

    network.fail(SLOW[vendor], drip, times=5)
    monkeypatch.setattr(limits, "CALL_SECONDS", 1.5)
    with pytest.raises(TransientError, match="did not send its whole answer"):
        bench.mint()
    assert began, "it was not asked"
    assert time.monotonic() - began[0] < 5
