"""What an answer to the writing of a Secret is taken for."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from pydantic import SecretStr

from regcred.cluster.dockerconfig import secret_body
from regcred.cluster.interface import Message, NameTakenError
from regcred.cluster.kube import Kube, event_body, merge_pull_secrets
from regcred.cluster.model import WORKLOADS, Workload
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


def test_a_name_that_only_begins_like_ours_keeps_its_place() -> None:
    """The policy that confines the sync refuses a list in which others' entries have moved."""
    old = ["regcred.old", "zulu", "regcred.payments.b", "regcred.a.b.c"]
    new = merge_pull_secrets(old, add=["regcred.payments.a"], remove=[])
    assert new == ["regcred.old", "zulu", "regcred.a.b.c", "regcred.payments.a", "regcred.payments.b"]


@pytest.mark.parametrize("name", ["web", f"{'a' * 199}-x", f"{'a' * 199}.x", "a" * 253])
def test_an_event_is_one_that_the_api_accepts(name: str) -> None:
    """At most 1,024 bytes of note, and a name that is a DNS subdomain (k8s.io/kubernetes pkg/apis/core/validation/events.go)."""
    about = Workload(WORKLOADS[0], "shop", name, "u-1", ())
    body = event_body(
        Message(about, "MalformedReference", "€" * 2000),
        "shop",
        instance="i",
        now=datetime(2026, 1, 1, tzinfo=UTC),
    )
    assert len(body["note"].encode()) <= 1024
    assert re.fullmatch(
        r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*", body["metadata"]["name"]
    )
    assert len(body["metadata"]["name"]) <= 253
