"""The lists of pull Secrets and the Events that sync writes."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from regcred.cluster.interface import Message
from regcred.cluster.kube import event_body
from regcred.cluster.model import WORKLOADS, Workload
from regcred.cluster.service_accounts import merge_pull_secrets


def test_a_name_that_only_starts_like_ours_keeps_its_position() -> None:
    """The admission policy for sync refuses a list in which the entries of others have moved."""
    old = ["regcred.old", "zulu", "regcred.payments.b", "regcred.a.b.c"]
    new = merge_pull_secrets(old, add=["regcred.payments.a"], remove=[])
    assert new == ["regcred.old", "zulu", "regcred.a.b.c", "regcred.payments.a", "regcred.payments.b"]


@pytest.mark.parametrize("name", ["web", f"{'a' * 199}-x", f"{'a' * 199}.x", "a" * 253])
def test_an_event_is_valid_for_the_api_server(name: str) -> None:
    """A note has at most 1,024 bytes, and a name is a DNS subdomain (k8s.io/kubernetes,
    pkg/apis/core/validation/events.go)."""
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
