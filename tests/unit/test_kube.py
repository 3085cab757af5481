"""What an answer to the writing of a Secret is taken for."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
from pydantic import SecretStr

from regcred.cluster.dockerconfig import secret_body
from regcred.cluster.interface import NameTakenError
from regcred.cluster.kube import Kube
from regcred.cluster.reduce import Reducer
from regcred.cluster.session import Session, error_of
from regcred.errors import MalformedError, RefusedError, RegcredError
from regcred.reference import Reference

BODY = secret_body(Reference("payments", "hub"), SecretStr('{"auths":{}}'), version=2, expires_at=None)
WEBHOOK = 'admission webhook "validate.example.com" denied the request: labels are missing'
NOT_OURS = "ValidatingAdmissionPolicy 'regcred-sync-secrets' denied request: Secret shop/x is not Regcred's"


class Answering:
    """A session that gets one answer."""

    def __init__(self, status: int, message: str) -> None:
        self._status, self._message = status, message

    async def call(self, verb: str, path: str, **_: Any) -> dict[str, Any]:
        content = json.dumps({"message": self._message}).encode()
        raise error_of(verb, path, self._status, content, None)


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (422, NOT_OURS, NameTakenError),
        (422, 'Secret "x" is invalid: type: Invalid value: field is immutable', NameTakenError),
        (400, WEBHOOK, MalformedError),
        (403, WEBHOOK, RefusedError),
    ],
)
async def test_only_a_secret_that_is_somebody_elses_is_a_clash(
    status: int, message: str, kind: type[RegcredError]
) -> None:
    kube = Kube(cast("Session", Answering(status, message)), Reducer([]), instance="test")
    with pytest.raises(RegcredError) as caught:
        await kube.apply_secret("shop", BODY, first=False)
    assert type(caught.value) is kind
