"""The nudge that starts dispatch early."""

import json

import boto3
import pytest
from botocore.stub import Stubber

from regcred.wiring.dispatch_nudge import nudge


@pytest.fixture
def events(monkeypatch):
    monkeypatch.setenv("REGCRED_EVENT_BUS", "regcred")
    client = boto3.client("events", region_name="eu-west-1", aws_access_key_id="k", aws_secret_access_key="s")
    monkeypatch.setattr(boto3, "client", lambda *_args, **_kwargs: client)
    with Stubber(client) as stub:
        yield stub


def expected(bus="regcred"):
    detail = json.dumps({"project": "payments"})
    entry = {"EventBusName": bus, "Source": "regcred.cli", "DetailType": "SweepRequested", "Detail": detail}
    return {"Entries": [entry]}


def test_a_nudge_contains_the_project_only(events):
    events.add_response("put_events", {"FailedEntryCount": 0, "Entries": []}, expected())
    assert nudge("payments")
    events.assert_no_pending_responses()


def test_a_denied_nudge_is_not_an_error(events):
    events.add_client_error("put_events", "AccessDeniedException")
    assert not nudge("payments")


def test_an_event_that_eventbridge_rejects_counts_as_failed(events):
    events.add_response("put_events", {"FailedEntryCount": 1, "Entries": []}, expected())
    assert not nudge("payments")


def test_without_an_event_bus_there_is_no_nudge(monkeypatch):
    monkeypatch.delenv("REGCRED_EVENT_BUS", raising=False)
    monkeypatch.setattr(boto3, "client", lambda *_args, **_kwargs: pytest.fail("called AWS"))
    assert not nudge("payments")
