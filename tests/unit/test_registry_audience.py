"""The audience of an identity token must be the service that receives it. With another audience, that service
could use the token to sign in elsewhere."""

from __future__ import annotations

from typing import Any

import pytest

from regcred.errors import MalformedError
from regcred.registry.parsing import parse

ARTIFACTORY = {
    "provider": "artifactory",
    "platform": "evil.jfrog.io",
    "hosts": ["evil.jfrog.io"],
    "auth": "oidc",
    "oidc_provider": "aws",
}
QUAY = {"provider": "quay", "host": "evil.example.com", "robot": "team+puller"}


@pytest.mark.parametrize("definition", [ARTIFACTORY, QUAY], ids=["artifactory", "quay"])
@pytest.mark.parametrize(
    "audience",
    [
        "https://acme.jfrog.io",
        "https://quay.io",
        "sts.amazonaws.com",
        "api://AzureADTokenExchange",
        "//iam.googleapis.com/projects/1",
        "vault",
        "https://evil.jfrog.io.acme.example.com",
        "https://evil.jfrog.io@acme.example.com",
        "https://evil.example.com:8443",
    ],
)
def test_the_audience_of_another_service_is_refused(definition: dict[str, Any], audience: str) -> None:
    with pytest.raises(MalformedError, match="could use the token elsewhere"):
        parse(definition | {"audience": audience}, where="test")


@pytest.mark.parametrize(
    ("definition", "audience"),
    [
        (ARTIFACTORY, ""),
        (ARTIFACTORY, "https://evil.jfrog.io"),
        (ARTIFACTORY, "https://evil.jfrog.io/access"),
        (QUAY, "evil.example.com"),
    ],
)
def test_an_audience_of_the_registry_itself_is_accepted(definition: dict[str, Any], audience: str) -> None:
    parse(definition | {"audience": audience}, where="test")
