"""Dispatch: which registries a sweep or a nudge sends to rotate, and for which reason."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from threading import Event

import pytest
from fakes.cloud import FakeQueue
from fakes.key_value import FakeKeyValue
from hypothesis import given
from hypothesis import strategies as st

from regcred.dispatch import Dispatch, Limits, Observed, QueuedMessage, QueueError, Sweep, health, plan
from regcred.errors import MalformedError, RefusedError, TransientError
from regcred.registry_limit import within_limit
from regcred.registry_reference import Reference
from regcred.rotation_message import RotationMessage, RotationReason
from regcred.vault.records.declared import Action, Definition, ProjectPolicy, Request
from regcred.vault.records.index import Index, IndexEntry, State
from regcred.vault.records.paths import index_path
from regcred.vault.store import Store

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
SWEEP = Sweep(NOW)
LATER = NOW + timedelta(hours=5)


def entry(state: State = State.OK, **fields: object) -> IndexEntry:
    base = {"version": 1, "definition_version": 1, "changed_at": NOW - timedelta(hours=7), "provider": "ecr"}
    expiring = {"expires_at": NOW + timedelta(hours=11), "refresh_at": LATER}
    return IndexEntry.model_validate(base | expiring | {"state": state} | fields)


def observed(entries: dict[str, IndexEntry] | None = None, **fields: object) -> Observed:
    index = Index(registries=entries or {})
    return Observed(**({"project": "p", "registries": ["r"], "requests": [], "index": index} | fields))


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ({}, RotationReason.NEW),
        ({"r": entry()}, None),
        ({"r": entry(refresh_at=NOW)}, RotationReason.DUE),
        ({"r": entry(State.FAILING, refresh_at=NOW, next_attempt_at=LATER)}, None),
        ({"r": entry(State.FAILING, next_attempt_at=NOW)}, RotationReason.DUE),
        ({"r": entry(State.REVOKED, refresh_at=NOW)}, None),
        ({"r": entry(State.REMOVED)}, RotationReason.NEW),
        ({"r": entry(State.REMOVED, next_attempt_at=LATER)}, None),
    ],
)
def test_the_reason_follows_from_time_and_state(
    entries: dict[str, IndexEntry], reason: RotationReason | None
) -> None:
    assert plan(observed(entries), SWEEP).get("r") is reason


def test_a_registry_without_definition_is_sent_once_as_removed() -> None:
    assert plan(observed({"r": entry()}, registries=[]), SWEEP) == {"r": RotationReason.REMOVED}
    assert plan(observed({"r": entry(State.REMOVED)}, registries=[]), SWEEP) == {}


def test_a_request_has_priority_and_works_for_a_revoked_registry_too() -> None:
    found = observed({"r": entry(State.REVOKED)}, requests=["r", "unknown"])
    assert plan(found, SWEEP) == {"r": RotationReason.REQUESTED}


def test_a_definition_with_another_version_counts_as_edited() -> None:
    for version in (2, 0):
        assert plan(observed({"r": entry()}, definitions={"r": version}), SWEEP) == {
            "r": RotationReason.EDITED
        }
    assert plan(observed({"r": entry()}, definitions={"r": 1}), SWEEP) == {}


@given(st.text("abcxyz0123-", max_size=20).map(lambda inner: f"r{inner}r"), st.integers(0, 10**6))
def test_each_definition_is_checked_once_an_hour_and_each_static_credential_twice_a_day(
    name: str, start: int
) -> None:
    sweeps = [Sweep(NOW + timedelta(minutes=5) * (start + number)) for number in range(144)]
    for period, count in ((timedelta(hours=1), 12), (timedelta(hours=12), 1)):
        assert sum(sweep.is_turn_of(Reference("p", name), period) for sweep in sweeps) == count


def test_checks_of_static_credentials_are_spread_over_the_sweeps() -> None:
    names = [f"r{number}" for number in range(144)]
    static = {name: entry(expires_at=None, refresh_at=None) for name in names}
    found = observed(static, registries=names)
    counts = [len(plan(found, Sweep(NOW + timedelta(minutes=5) * number))) for number in range(144)]
    assert sum(counts) == 144
    assert max(counts) < 10


class World:
    def __init__(self) -> None:
        self.kv = FakeKeyValue()
        self.store = Store(self.kv)
        self.queue = FakeQueue()
        self.verb = Dispatch(self.store, self.queue)

    def define(self, *references: str) -> None:
        for text in references:
            reference = Reference.parse(text)
            version = self.store.definition_version(reference)
            definition = Definition.model_validate({"provider": "basic"})
            self.store.write_definition(reference, definition, cas=version)

    def index(self, reference: str, found: IndexEntry) -> None:
        parsed = Reference.parse(reference)
        self.store.merge_index(parsed.project, {parsed.registry: found})


@pytest.fixture
def world() -> World:
    return World()


def test_a_sweep_sends_one_message_per_project_and_chunk(world: World) -> None:
    world.define(*(f"a/r{number:02}" for number in range(25)), "b/r")
    report = world.verb.run(SWEEP)
    assert sorted((len(e.message.registries), e.message.project) for e in world.queue.sent) == [
        (1, "b"),
        (5, "a"),
        (20, "a"),
    ]
    assert (report.projects, report.messages, report.reasons) == (2, 3, {RotationReason.NEW: 26})


def test_messages_of_a_repeated_sweep_are_dropped_and_those_of_the_next_one_are_not(world: World) -> None:
    world.define("a/r")
    world.verb.run(SWEEP)
    world.verb.run(SWEEP)
    assert (len(world.queue.sent), world.queue.dropped) == (1, {"a": 1})
    world.verb.run(Sweep(NOW + timedelta(minutes=5)))
    assert len(world.queue.sent) == 2


def test_the_number_of_reads_depends_on_projects_and_not_on_registries(world: World) -> None:
    for project in ("a", "b", "c"):
        for number in range(100):
            world.define(f"{project}/r{number}")
        world.store.merge_index(project, {f"r{number}": entry() for number in range(100)})
    world.kv.calls.clear()
    world.verb.run(SWEEP)
    reads = [call for call in world.kv.calls if call[0] != "version"]
    versions = [call for call in world.kv.calls if call[0] == "version"]
    assert len(reads) == 2 + 3 * 4
    assert len(versions) < 300 / 12 * 2


def test_an_edit_is_sent_within_an_hour(world: World) -> None:
    world.define("a/r", "a/r")
    world.index("a/r", entry())
    for number in range(12):
        world.verb.run(Sweep(NOW + timedelta(minutes=5) * number))
    assert world.queue.reasons() == {"a/r": RotationReason.EDITED}


def test_a_nudge_checks_one_project_and_all_its_definitions(world: World) -> None:
    world.define("a/r", "a/r", "b/r")
    world.index("a/r", entry())
    world.verb.run(SWEEP, only="a")
    assert world.queue.reasons() == {"a/r": RotationReason.EDITED}


def test_a_nudge_with_an_invalid_name_does_nothing_and_reports_it(world: World) -> None:
    report = world.verb.run(SWEEP, only="../platform")
    assert not world.queue.sent
    assert isinstance(report.unreadable["../platform"], MalformedError)


def test_a_request_is_sent_in_the_next_sweep(world: World) -> None:
    world.define("a/r")
    world.index("a/r", entry())
    world.store.write_request(Reference("a", "r"), Request(action=Action.ROTATE, requested_at=NOW))
    world.verb.run(SWEEP)
    assert world.queue.reasons() == {"a/r": RotationReason.REQUESTED}


def test_a_failing_queue_has_its_own_error(world: World) -> None:
    class Full:
        def send(self, _: Sequence[QueuedMessage]) -> None:
            raise TransientError("SQS did not accept 1 of 1 messages")

    world.define("a/r")
    with pytest.raises(QueueError, match="1 of 1"):
        Dispatch(world.store, Full()).run(SWEEP)


@pytest.mark.parametrize("broken", [None, RefusedError("403"), TransientError("timeout")])
def test_an_unreadable_index_blocks_no_other_project_and_removes_nothing(
    world: World, broken: RefusedError | TransientError | None
) -> None:
    world.define("a/r", "b/r")
    if broken:
        world.kv.faults["read", index_path("a")] = broken
    else:
        world.kv.write(index_path("a"), {"document": "{"}, cas=0)
    report = world.verb.run(SWEEP)
    assert world.queue.reasons() == {"b/r": RotationReason.NEW}
    assert list(report.unreadable) == ["a"]


def test_an_unreadable_index_entry_blocks_no_other_registry(world: World) -> None:
    world.define("a/r", "a/s")
    world.index("a/r", entry())
    break_index(world, "a", "Not_a_label")
    report = world.verb.run(SWEEP)
    assert world.queue.reasons() == {"a/s": RotationReason.NEW}
    assert list(report.unreadable) == ["a/_index/'Not_a_label'"]


def break_index(world: World, project: str, name: str) -> None:
    """Add a malformed entry to a project's index."""
    path = index_path(project)
    index = json.loads(world.kv.read(path).fields["document"])
    index["registries"][name] = {"state": "asleep"}
    world.kv.write(path, {"document": json.dumps(index)}, cas=world.kv.version(path))


def test_a_failed_list_removes_nothing(world: World) -> None:
    world.define("a/r")
    world.index("a/r", entry())
    world.kv.faults["list", "registries/a"] = RefusedError("403")
    report = world.verb.run(SWEEP)
    assert not world.queue.sent
    assert list(report.unreadable) == ["a"]


def test_an_invalid_registry_name_is_reported_and_ignored(world: World) -> None:
    world.define("a/r")
    world.kv.write("registries/a/Not_a_label", {"document": "{}"}, cas=0)
    report = world.verb.run(SWEEP)
    assert world.queue.reasons() == {"a/r": RotationReason.NEW}
    assert list(report.unreadable) == ["a/Not_a_label"]


def test_a_failed_list_of_projects_is_an_error(world: World) -> None:
    world.kv.faults["list", "registries"] = TransientError("sealed")
    with pytest.raises(TransientError):
        world.verb.run(SWEEP)


def test_health_counts_what_the_alarms_need() -> None:
    entries = [
        entry(),
        entry(State.FAILING, expires_at=NOW + timedelta(hours=2), refresh_at=NOW - timedelta(hours=4)),
        entry(State.FAILING, expires_at=NOW - timedelta(hours=1), refresh_at=NOW - timedelta(hours=7)),
        entry(State.FAILING, version=0, expires_at=None, refresh_at=None),
        entry(State.REMOVED, expires_at=NOW - timedelta(hours=1)),
        entry(expires_at=None, refresh_at=None),
    ]
    found = health(entries, now=NOW)
    assert (found.registries, found.failing, found.last_quarter, found.expired) == (5, 3, 1, 1)


def test_a_message_is_parsed_as_it_was_written_and_an_invalid_one_names_the_field() -> None:
    message = RotationMessage(project="a", registries={"r2": RotationReason.DUE, "r1": RotationReason.NEW})
    assert RotationMessage.parse(message.body()) == message
    for body, field in (("{", "document"), ('{"project":"A","registries":{"r":"due"}}', "project")):
        with pytest.raises(MalformedError, match=field):
            RotationMessage.parse(body)


@pytest.mark.no_cover
def test_planning_takes_linear_time() -> None:
    names = [f"r{number}" for number in range(52_000)]
    started = time.process_time()
    wanted = plan(observed(registries=names, requests=names), SWEEP)
    assert set(wanted.values()) == {RotationReason.REQUESTED}
    assert time.process_time() - started < 5  # 28 s when each name was looked up in a list


@pytest.mark.no_cover
def test_choosing_the_served_registries_takes_linear_time() -> None:
    names = [f"r{number}" for number in range(52_000)]
    started = time.process_time()
    assert len(within_limit(names, Index(), limit=30_000)) == 30_000
    assert time.process_time() - started < 5


@pytest.mark.no_cover
def test_a_huge_project_delays_no_other_and_takes_several_sweeps(world: World) -> None:
    names = [f"r{number}" for number in range(12_000)]
    world.define("b/r")
    for name in names:
        world.kv.put(f"registries/a/{name}", {"document": "{}"})
    report = world.verb.run(SWEEP)
    assert world.queue.reasons()["b/r"] is RotationReason.NEW
    assert sum(e.message.project == "a" for e in world.queue.sent) == Limits().messages
    assert report.left_out == {"a": 2_000}
    first = set(world.queue.reasons())
    world.verb.run(Sweep(NOW + timedelta(minutes=5)))
    assert len(set(world.queue.reasons()) - first) > 1_000


def test_messages_of_one_project_are_sent_while_another_is_still_read(world: World) -> None:
    world.define("slow/r", "quick/r")
    sent, gave_up = Event(), []
    send = world.queue.send

    def send_and_signal(messages: Sequence[QueuedMessage]) -> None:
        send(messages)
        sent.set()

    def wait_for_send(operation: str) -> None:
        if operation == "list" and world.kv.calls[-1] == ("list", "registries/slow"):
            gave_up.append(not sent.wait(10))

    world.queue.send, world.kv.wait = send_and_signal, wait_for_send
    world.verb.run(SWEEP)
    assert gave_up == [False]


def test_a_project_over_its_limit_keeps_its_registries_and_gets_no_more(world: World) -> None:
    world.store.write_project("a", ProjectPolicy(max_registries=2), cas=0)
    world.define("a/old", "a/new1", "a/new2")
    world.index("a/old", entry(refresh_at=NOW))
    report = world.verb.run(SWEEP)
    assert world.queue.reasons() == {"a/old": RotationReason.DUE, "a/new1": RotationReason.NEW}
    assert report.left_out == {"a": 1}


def test_a_lowered_limit_removes_no_registry_that_has_a_credential(world: World) -> None:
    world.store.write_project("a", ProjectPolicy(max_registries=1), cas=0)
    world.define("a/r1", "a/r2")
    for name in ("a/r1", "a/r2"):
        world.index(name, entry(refresh_at=NOW))
    world.verb.run(SWEEP)
    assert world.queue.reasons() == {"a/r1": RotationReason.DUE, "a/r2": RotationReason.DUE}


@pytest.mark.parametrize("broken", ['{"max_registries": "many"}', "{", '{"max_registries": -1}'])
def test_a_malformed_project_document_stops_no_rotation(world: World, broken: str) -> None:
    world.kv.put("platform/projects/a", {"document": broken})
    world.define("a/r")
    report = world.verb.run(SWEEP)
    assert world.queue.reasons() == {"a/r": RotationReason.NEW}
    assert list(report.unreadable) == ["platform/projects/a"]


def test_thousands_of_wrong_names_are_reported_in_a_few_lines(world: World) -> None:
    for number in range(5_000):
        world.kv.put(f"registries/a/NOT A LABEL {number}", {"document": "{}"})
    world.define("a/r")
    report = world.verb.run(SWEEP)
    assert world.queue.reasons() == {"a/r": RotationReason.NEW}
    assert len(report.unreadable) <= 21


def test_a_revocation_is_sent_first_in_a_separate_group(world: World) -> None:
    world.define(*(f"a/r{number:03}" for number in range(100)))
    world.index("a/r050", entry())
    world.store.write_request(Reference("a", "r050"), Request(action=Action.REVOKE, requested_at=NOW))
    world.verb.run(SWEEP, only="a")
    first = world.queue.sent[0]
    assert first.message.registries == {"r050": RotationReason.REVOKE}
    assert {envelope.group for envelope in world.queue.sent[1:]} == {"a"}
    assert first.group not in {"a", ""}
    assert not any("r050" in envelope.message.registries for envelope in world.queue.sent[1:])


def test_a_revocation_is_sent_even_if_the_index_cannot_be_read(world: World) -> None:
    world.kv.faults["read", index_path("a")] = TransientError("timeout")
    world.store.write_request(Reference("a", "r"), Request(action=Action.REVOKE, requested_at=NOW))
    world.define("a/r")
    world.verb.run(SWEEP)
    assert world.queue.reasons() == {"a/r": RotationReason.REVOKE}


@pytest.mark.parametrize(
    "body",
    [
        "[" * 100_000,
        json.dumps({"project": "a", "registries": {f"r{n}": "due" for n in range(101)}}),
        json.dumps({"project": "a", "registries": {"x" * 10_000: "due"}}),
        json.dumps({"project": "a", "registries": {"r": "due"}, "x" * 5_000: 1}),
        json.dumps({"project": "a", "registries": {f"R{n}": "no" for n in range(1_000)}}),
        "null",
        "",
    ],
    ids=["deep", "too-many", "long-name", "unknown-field", "all-wrong", "null", "empty"],
)
def test_a_hostile_message_is_refused_in_one_short_line(body: str) -> None:
    with pytest.raises(MalformedError) as caught:
        RotationMessage.parse(body)
    assert len(str(caught.value)) < 1_000


def test_a_malformed_request_counts_as_a_request(world: World) -> None:
    world.define("a/r")
    world.index("a/r", entry())
    world.kv.put("requests/a/r", {"document": "x" * 1_000_000})
    world.kv.put("requests/a/r/deeper/still", {"document": "{}"})
    world.kv.put("requests/a/revoke/NOT A LABEL", {"document": "{}"})
    world.verb.run(SWEEP)
    assert world.queue.reasons() == {"a/r": RotationReason.REQUESTED}


@pytest.mark.parametrize("life", [timedelta(minutes=10), timedelta(hours=12), timedelta(days=90)])
def test_a_failing_credential_counts_in_the_last_quarter_of_its_life_and_not_for_ever(
    life: timedelta,
) -> None:
    failing = entry(State.FAILING, expires_at=NOW + life, refresh_at=NOW + life / 2)

    def at(share: float, later: timedelta = timedelta()) -> tuple[int, int]:
        found = health([failing], now=NOW + life * share + later)
        return found.last_quarter, found.expired

    assert [at(0.1), at(0.7), at(0.8), at(1.01)] == [(0, 0), (0, 0), (1, 0), (0, 1)]
    assert at(1, timedelta(days=30)) == (0, 0)


def test_a_registry_with_an_unreadable_index_entry_counts_as_served_and_is_removed_with_its_definition() -> (
    None
):
    index = Index.parse({"document": '{"registries": {"r": {"state": "asleep"}}}'}, path="i")
    assert within_limit(["new", "r"], index, limit=1) == ["r"]
    found = Observed(project="p", registries=[], requests=[], index=index)
    assert plan(found, SWEEP) == {"r": RotationReason.REMOVED}


def test_a_request_with_an_invalid_name_is_reported_and_ignored(world: World) -> None:
    world.define("p/r")
    for path in ("requests/p/A B", "requests/p/revoke/UPPER"):
        world.kv.write(path, {"document": "{}"}, cas=0)
    report = world.verb.run(SWEEP)
    assert sorted(report.unreadable) == ["requests/p/A B", "requests/p/UPPER"]
    assert world.queue.reasons() == {"p/r": RotationReason.NEW}
