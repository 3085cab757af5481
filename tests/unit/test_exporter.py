"""``regcred exporter`` with a Vault in memory."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import requests
from fakes.key_value import FakeKeyValue
from prometheus_client.parser import text_string_to_metric_families

from regcred import __version__
from regcred.cli.app import run
from regcred.cli.session import CliSession
from regcred.errors import RefusedError, TransientError
from regcred.registry_reference import Reference
from regcred.vault.records.declared import Definition, ProjectPolicy
from regcred.vault.records.index import IndexEntry, State
from regcred.vault.records.status import Placement, Status
from regcred.vault.store import Store

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Fleet:
    """A Vault with two projects, and the command line."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self.kv = FakeKeyValue()
        self.capture = capture
        self.store = Store(self.kv)
        self.sleeps: Iterator[None] = iter(())
        for project in ("payments", "search"):
            self.store.write_project(project, ProjectPolicy(clusters=["c1"]), cas=0)
            content = {"provider": "public", "hosts": ["registry.example.com"]}
            self.store.write_definition(Reference(project, "main"), Definition.model_validate(content), cas=0)
            self.index(project, "main", version=3, expires_at=NOW + HOUR)

    def index(self, project: str, registry: str, **entry: object) -> None:
        fields = {"state": State.OK, "verified": "yes", "changed_at": NOW, **entry}
        self.store.merge_index(project, {registry: IndexEntry.model_validate(fields)})

    def place(self, project: str, version: str = __version__, **place: object) -> None:
        placement = Placement.model_validate(place)
        status = Status(written_at=NOW, sync_version=version, mode="none", registries={"main": placement})
        self.store.write_status("c1", project, status, cas=0)

    def session(self) -> CliSession:
        return CliSession(open_store=lambda: self.store, now=lambda: NOW, sleep=self._sleep)

    def _sleep(self, _seconds: float) -> None:
        if next(self.sleeps, "end") == "end":
            raise KeyboardInterrupt

    def metrics(self) -> dict[tuple[str, ...], float]:
        """The metrics that `--once` prints, by name and label values, in the order of the labels' names."""
        assert run(["exporter", "--once"], self.session()) == 0
        return parsed(self.capture.readouterr().out)


def parsed(text: str) -> dict[tuple[str, ...], float]:
    return {
        (sample.name.removeprefix("regcred_fleet_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text + "\n")
        for sample in family.samples
    }


@pytest.fixture
def fleet(capsys: pytest.CaptureFixture[str]) -> Fleet:
    return Fleet(capsys)


def test_it_exports_expiries_failures_and_placed_secrets(fleet: Fleet) -> None:
    since = NOW - 2 * HOUR
    fleet.index("payments", "bad", state=State.FAILING, error="401", failing_since=since)
    fleet.place(
        "payments", placed={0: {"e": ""}, 3: {"a": "", "b": ""}, 2: {"c": ""}}, refused={"d": "not-granted"}
    )
    found = fleet.metrics()
    assert found["registries", "payments", "ok"] == 1
    assert found["registries", "payments", "failing"] == 1
    assert found["registries", "search", "failing"] == 0
    assert found["credential_expiry_timestamp_seconds", "payments", "main"] == (NOW + HOUR).timestamp()
    assert found["credential_failing_since_timestamp_seconds", "payments", "bad"] == since.timestamp()
    assert found["secrets_placed", "c1", "payments"] == 3
    assert found["secrets_behind", "c1", "payments"] == 1
    assert found["secrets_refused", "c1", "payments"] == 1
    assert found["sync_info", "c1", "none", __version__] == 1
    assert found["read_timestamp_seconds",] == NOW.timestamp()


def test_a_broken_project_hides_no_other(fleet: Fleet) -> None:
    fleet.kv.put("credentials/payments/_index", {"document": "{"})
    fleet.kv.put("status/c1/search", {"document": "{"})
    found = fleet.metrics()
    assert found["project_readable", "payments"] == 0
    assert found["project_readable", "search"] == 1
    assert found["registries", "search", "ok"] == 1


def test_a_clusters_version_is_shortened_and_made_printable(fleet: Fleet) -> None:
    fleet.place("payments", version='9.9"}\n\x1b[31m' + "x" * 100_000)
    [(labels, value)] = [(key, value) for key, value in fleet.metrics().items() if key[0] == "sync_info"]
    assert value == 0
    assert len(labels[3]) <= 40
    assert labels[3].isprintable()


def test_while_vault_is_down_it_serves_the_last_state(fleet: Fleet) -> None:
    answers: list[str] = []

    def sleeps() -> Iterator[None]:
        output = fleet.capture.readouterr().err
        address = next(word for word in output.split() if word.startswith("http")).rstrip(";")
        answers.append(requests.get(address, timeout=30).text)
        fleet.kv.faults["list", "platform/projects"] = TransientError("Vault is sealed")
        fleet.kv.faults["list", "credentials"] = TransientError("Vault is sealed")
        yield
        answers.append(requests.get(address, timeout=30).text)

    fleet.sleeps = sleeps()
    before = threading.active_count()
    run(["exporter", "--port", "0"], fleet.session())
    first, second = map(parsed, answers)
    assert first == second
    assert first["registries", "payments", "ok"] == 1
    assert "the metrics are not updated: Vault is sealed" in fleet.capture.readouterr().err
    assert threading.active_count() - before < 20


def test_idle_connections_do_not_block_the_metrics(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("regcred.wiring.bounded_http.CONNECTIONS", 20)
    held: list[socket.socket] = []

    def sleeps() -> Iterator[None]:
        output = fleet.capture.readouterr().err
        url = next(word for word in output.split() if word.startswith("http")).rstrip(";")
        port = int(url.split(":")[-1].partition("/")[0])
        held.extend(socket.create_connection(("127.0.0.1", port)) for _ in range(60))
        assert requests.get(url, timeout=30).ok
        ended = [one for one in held if is_ended(one)]
        assert len(ended) >= 40
        yield

    fleet.sleeps = sleeps()
    try:
        assert run(["exporter", "--port", "0"], fleet.session()) == 130
    finally:
        for one in held:
            one.close()


def is_ended(one: socket.socket) -> bool:
    """Whether the server has closed a connection."""
    one.settimeout(0.1)
    try:
        return one.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionResetError:
        return True


def test_a_port_in_use_is_reported(fleet: Fleet) -> None:
    def sleeps() -> Iterator[None]:
        output = fleet.capture.readouterr().err
        port = output.split(":")[-1].partition("/")[0]
        assert run(["exporter", "--port", port], fleet.session()) == 1
        assert "try another --port" in fleet.capture.readouterr().err
        yield

    fleet.sleeps = sleeps()
    run(["exporter", "--port", "0"], fleet.session())


def test_without_the_right_to_list_projects_the_error_names_the_page_with_a_policy(fleet: Fleet) -> None:
    fleet.kv.faults["list", ""] = RefusedError("permission denied")
    assert run(["exporter", "--once"], fleet.session()) == 3
    error = fleet.capture.readouterr().err
    assert "docs/alarms.md has a policy" in error
    assert "PROJECT" not in error
