"""Traces from a request to the Secret: what they contain, and that none are sent while tracing is off."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta

import pytest
from fakes.cloud import FakeQueue
from fakes.cluster import FakeCluster
from fakes.collector import Collector, collecting, switch_off
from fakes.console import World as ConsoleWorld
from fakes.rotate_world import PROD, World
from fakes.sync_world import CLUSTER, Mount, deployment, namespace, options
from opentelemetry.sdk.trace import TracerProvider

from regcred import tracing
from regcred.dispatch import Dispatch, Sweep
from regcred.errors import TransientError
from regcred.registry_reference import Reference
from regcred.rotation_message import RotationMessage, RotationReason
from regcred.sync import run_once
from regcred.vault.records.declared import Action, Definition, ProjectPolicy, Request
from regcred.vault.records.index import Index, IndexEntry, State, merge
from regcred.vault.store import Store
from regcred.wiring.tracing import is_wanted, set_up

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
GOOD = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
"""The example of https://www.w3.org/TR/trace-context/#examples-of-http-traceparent-headers"""

HOSTILE = [
    "",
    GOOD.upper(),
    f"{GOOD}\n",
    f" {GOOD}",
    f"{GOOD}-more",
    GOOD.replace("00-", "01-", 1),
    GOOD.replace("00-", "ff-", 1),
    f"00-{'0' * 32}-00f067aa0ba902b7-01",
    f"00-4bf92f3577b34da6a3ce929d0e0e4736-{'0' * 16}-01",
    "00-4bf92f3577b34da6a3ce929d0e0e473٣-00f067aa0ba902b7-01",
    "x" * 1_000_000,
    7,
    None,
    ["00"],
    {"traceparent": GOOD},
]


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """A collector to which tracing sends, for the time of the test."""
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.address)
        set_up("test", {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.address})
        assert tracing.is_on()
        try:
            yield collector
        finally:
            switch_off()


class Fleet:
    """Dispatch, rotate and sync with one Vault."""

    def __init__(self) -> None:
        self.rotate = World()
        self.queue = FakeQueue()
        self.dispatch = Dispatch(store=self.rotate.store, queue=self.queue)
        self.cluster = FakeCluster()
        self.rotate.enter(PROD, username="puller", password="upstream-s3cret")

    def sweep(self) -> None:
        self.dispatch.run(Sweep(self.rotate.clock()))

    def handle(self) -> None:
        """Rotate the registries of each sent message, after it was serialized as for the queue."""
        for envelope in self.queue.sent:
            message = RotationMessage.parse(envelope.message.body())
            self.rotate.verb.run(message, owner="me").check()

    async def sync(self) -> None:
        await self.cluster.create(namespace("shop"))
        await self.cluster.create(deployment("shop", "web", str(PROD)))
        Mount(self.rotate.kv, self.rotate.clock).grant({"payments": ["shop"]})
        await run_once(self.cluster, self.rotate.store, options(), clock=self.rotate.clock)
        assert await self.cluster.secret("shop", PROD.secret_name)


def ask(fleet: Fleet, traceparent: object = "") -> None:
    document = {
        "action": "rotate",
        "requested_at": fleet.rotate.clock().isoformat(),
        "traceparent": traceparent,
    }
    fleet.rotate.kv.put(f"requests/{PROD}", {"document": json.dumps(document)})


async def test_the_steps_from_a_request_to_the_secret_are_one_trace(collector: Collector) -> None:
    fleet = Fleet()
    with tracing.span("request", project="payments", registry="prod", task="rotate") as span:
        ask(fleet, span.traceparent)
    fleet.sweep()
    fleet.handle()
    await fleet.sync()
    tracing.flush()
    spans = {span.name: span for span in collector.spans()}
    assert {span.trace for span in spans.values()} == {spans["request"].trace}
    parents = {"request": "", "dispatch": "request", "rotate": "dispatch", "call vendor": "rotate"}
    parents |= {"verify": "rotate", "write credential": "rotate", "write index": "rotate", "sync": "rotate"}
    assert set(spans) == set(parents)
    for name, parent in parents.items():
        assert spans[name].parent == (spans[parent].id if parent else ""), name
    assert spans["rotate"].attributes == {
        "regcred.project": "payments",
        "regcred.registry": "prod",
        "regcred.task": "mint",
        "regcred.outcome": "rotated",
        "regcred.provider": "basic",
    }
    assert spans["sync"].attributes == {
        "regcred.cluster": CLUSTER,
        "regcred.namespace": "shop",
        "regcred.project": "payments",
        "regcred.registry": "prod",
        "regcred.outcome": "create",
    }
    sent = b"".join(collector.bodies)
    for secret in ("upstream-s3cret", fleet.rotate.password()):
        assert secret.encode() not in sent


async def test_the_steps_from_a_sweep_to_the_secret_are_one_trace(collector: Collector) -> None:
    fleet = Fleet()
    fleet.sweep()
    fleet.handle()
    await fleet.sync()
    tracing.flush()
    assert len({span.trace for span in collector.spans()}) == 1
    assert collector.named("rotate").parent == collector.named("dispatch").id
    assert collector.named("dispatch").attributes["regcred.reason"] == "new"


def test_the_span_of_a_failure_contains_its_kind_but_not_its_text(collector: Collector) -> None:
    fleet = Fleet()
    fleet.rotate.provider.error = TransientError("an answer with upstream-s3cret")
    fleet.sweep()
    fleet.handle()
    tracing.flush()
    for name in ("rotate", "call vendor"):
        span = collector.named(name)
        assert (span.failed, span.attributes["regcred.error_kind"], span.events) == (True, "transient", 0)
    assert b"upstream-s3cret" not in b"".join(collector.bodies)


NEW = Reference("payments", "main")


def send_in_console(action: str) -> Request:
    """Send a request in the console, and return the request in Vault."""
    world = ConsoleWorld()
    store = Store(world.vault.kv)
    browser = world.signed_in()
    if action == "add":
        store.write_project("payments", ProjectPolicy(hosts=["registry.example.com"]), cas=0)
        path, form = (
            "/registries/add?provider=basic",
            {
                "provider": "basic",
                "project": "payments",
                "registry": "main",
                "hosts": "registry.example.com",
                "secret.username": "puller",
                "secret.password": "upstream-s3cret",
            },
        )
    else:
        content = {"provider": "basic", "hosts": ["registry.example.com"]}
        store.write_definition(NEW, Definition.model_validate(content), cas=0)
        path, form = f"/registries/{NEW}/do/{action}", {"name": str(NEW)}
    answer = browser.post(path.partition("?")[0], {"csrf": browser.get(path).csrf, **form})
    assert answer.status == 303, answer.text
    found = store.revocation(NEW) if action == "revoke" else store.request(NEW)
    assert found
    return found.value


@pytest.mark.parametrize(
    ("action", "task"),
    [("rotate", "rotate"), ("verify", "verify"), ("revoke", "revoke"), ("add", "rotate")],
)
def test_a_request_in_the_console_begins_a_trace(collector: Collector, action: str, task: str) -> None:
    request = send_in_console(action)
    tracing.flush()
    span = collector.named("request")
    assert request.traceparent.startswith(f"00-{span.trace}-{span.id}-")
    assert span.parent == ""
    assert span.attributes == {
        "regcred.project": "payments",
        "regcred.registry": "main",
        "regcred.task": task,
    }
    assert b"upstream-s3cret" not in b"".join(collector.bodies)


@pytest.mark.parametrize("action", ["rotate", "verify", "revoke", "add"])
def test_while_tracing_is_off_a_request_in_the_console_has_no_trace(action: str) -> None:
    assert "traceparent" not in send_in_console(action).fields()["document"]


async def test_a_secret_that_is_written_long_after_the_rotation_is_not_in_its_trace(
    collector: Collector,
) -> None:
    fleet = Fleet()
    fleet.sweep()
    fleet.handle()
    fleet.rotate.clock.tick(hours=2)
    await fleet.sync()
    tracing.flush()
    assert collector.named("sync").parent == ""


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text)[:30])
def test_a_malformed_traceparent_is_dropped_without_an_error(collector: Collector, text: object) -> None:
    fleet = Fleet()
    ask(fleet, text)
    fleet.sweep()
    fleet.handle()
    tracing.flush()
    assert fleet.rotate.entry().state is State.OK
    assert collector.named("dispatch").parent == ""
    assert collector.named("rotate").trace == collector.named("dispatch").trace


def test_a_malformed_traceparent_is_dropped_from_each_document_and_message() -> None:
    assert tracing.valid(GOOD) == GOOD
    for text in HOSTILE:
        assert tracing.valid(text) == ""
        fields = {"action": "rotate", "requested_at": NOW, "traceparent": text}
        assert Request.model_validate(fields).traceparent == ""
        assert IndexEntry(state=State.OK, changed_at=NOW, traceparent=text).traceparent == ""
        body = json.dumps({"project": "a", "registries": {"b": "due"}, "traceparent": text})
        if len(body) < 1000:
            assert RotationMessage.parse(body).traceparent == ""


def test_two_deliveries_of_a_sweep_send_one_message(collector: Collector) -> None:
    fleet = Fleet()
    fleet.sweep()
    fleet.sweep()
    assert (len(fleet.queue.sent), fleet.queue.dropped) == (1, {"payments": 1})
    assert fleet.queue.sent[0].message.traceparent


def test_the_index_is_not_written_only_for_a_trace() -> None:
    entry = IndexEntry(state=State.OK, version=1, changed_at=NOW)
    index = Index(registries={"prod": entry})
    repeated = {"changed_at": NOW + timedelta(hours=1), "traceparent": GOOD}
    assert merge(index, {"prod": entry.model_copy(update=repeated)}) is index


async def test_while_tracing_is_off_no_document_and_no_message_has_a_trace() -> None:
    assert not tracing.is_on()
    assert isinstance(tracing.span("rotate"), nullcontext)
    fleet = Fleet()
    ask(fleet)
    fleet.sweep()
    fleet.handle()
    await fleet.sync()
    assert "traceparent" not in fleet.queue.sent[0].message.body()
    request = Request(action=Action.ROTATE, requested_at=NOW)
    assert "traceparent" not in request.fields()["document"]
    assert "traceparent" not in fleet.rotate.kv.read("credentials/payments/_index").fields["document"]


def test_while_tracing_is_off_dispatch_reads_no_request() -> None:
    fleet = Fleet()
    ask(fleet)
    fleet.rotate.kv.calls.clear()
    fleet.sweep()
    assert ("read", f"requests/{PROD}") not in fleet.rotate.kv.calls


def test_while_tracing_is_off_no_package_of_opentelemetry_is_loaded() -> None:
    code = """
import sys
import regcred.wiring.rotate, regcred.wiring.dispatch, regcred.wiring.sync
import regcred.wiring.console.deployed, regcred.wiring.console.local, regcred.console.handlers.registry
from regcred.wiring.tracing import set_up
set_up("test", {})
print([name for name in sys.modules if name.split(".")[0] in ("opentelemetry", "google")])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "x"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
    ],
)
def test_the_standard_variables_switch_tracing_on_and_off(
    environment: dict[str, str], *, wanted: bool
) -> None:
    assert is_wanted(environment) is wanted


def test_a_missing_package_is_only_an_error_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "regcred.adapters.otlp", None)
    with caplog.at_level(logging.ERROR):
        set_up("test", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"})
    assert not tracing.is_on()
    assert "install regcred[otel]" in caplog.text


def test_a_collector_that_does_not_answer_causes_only_a_short_delay(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = threading.Event()
    monkeypatch.setattr(TracerProvider, "force_flush", lambda _: answered.wait(60))
    monkeypatch.setattr("regcred.adapters.otlp.FLUSH_SECONDS", 0.01)
    try:
        tracing.flush()
        assert not answered.is_set()
    finally:
        answered.set()


def test_the_span_of_dispatch_has_the_reason_of_its_first_registry(collector: Collector) -> None:
    fleet = Fleet()
    ask(fleet, GOOD)
    fleet.sweep()
    tracing.flush()
    span = collector.named("dispatch")
    assert span.attributes["regcred.reason"] == RotationReason.REQUESTED.value
    assert span.trace == GOOD.split("-")[1]
