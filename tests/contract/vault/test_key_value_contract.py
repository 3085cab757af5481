"""The contract of a KV v2 mount, on each server."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from realparts.procs import wait_for
from regcred.errors import ConflictError, MalformedError, TransientError
from regcred.registry_reference import Reference
from regcred.rotate.registry_claim import HeldClaim
from regcred.vault.interface import KeyValue
from regcred.vault.records.history import Attempt
from regcred.vault.records.index import IndexEntry, State
from regcred.vault.records.status import Placement, Status
from regcred.vault.store import Store

from .conftest import Backend

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
RACERS = 8


def test_a_document_that_was_never_written_is_absent_and_not_an_error(kv: KeyValue, folder: str) -> None:
    assert kv.read(f"{folder}/r") is None
    assert kv.version(f"{folder}/r") == 0
    assert kv.list(folder) == []


def test_reads_back_what_was_written(kv: KeyValue, folder: str) -> None:
    fields = {".dockerconfigjson": '{"auths":{}}', "username": "Zoë ☃", "empty": ""}
    assert kv.write(f"{folder}/r", fields, cas=0) == 1
    found = kv.read(f"{folder}/r")
    assert found is not None
    assert dict(found.fields) == fields
    assert found.version == kv.version(f"{folder}/r") == 1


def test_shows_no_field_when_printed(kv: KeyValue, folder: str) -> None:
    kv.write(f"{folder}/r", {"password": "hunter2"}, cas=0)
    assert "hunter2" not in repr(kv.read(f"{folder}/r"))


@pytest.mark.parametrize("cas", [0, 1, 3])
def test_writes_only_over_the_version_that_was_read(kv: KeyValue, folder: str, cas: int) -> None:
    kv.write(f"{folder}/r", {"a": "1"}, cas=0)
    kv.write(f"{folder}/r", {"a": "2"}, cas=1)
    with pytest.raises(ConflictError):
        kv.write(f"{folder}/r", {"a": "3"}, cas=cas)
    found = kv.read(f"{folder}/r")
    assert found is not None
    assert (found.fields["a"], found.version) == ("2", 2)


def test_a_write_over_a_version_that_never_existed_is_a_conflict(kv: KeyValue, folder: str) -> None:
    with pytest.raises(ConflictError):
        kv.write(f"{folder}/r", {"a": "1"}, cas=5)
    assert kv.read(f"{folder}/r") is None


def test_numbering_goes_on_after_the_newest_version_is_destroyed(kv: KeyValue, folder: str) -> None:
    kv.write(f"{folder}/r", {"a": "1"}, cas=0)
    kv.destroy(f"{folder}/r", [1])
    assert kv.read(f"{folder}/r") is None
    assert kv.version(f"{folder}/r") == 1
    assert kv.list(folder) == ["r"]
    with pytest.raises(ConflictError):
        kv.write(f"{folder}/r", {"a": "2"}, cas=0)
    assert kv.write(f"{folder}/r", {"a": "2"}, cas=1) == 2


def test_destroying_an_old_version_keeps_the_newest(kv: KeyValue, folder: str) -> None:
    kv.write(f"{folder}/r", {"a": "1"}, cas=0)
    kv.write(f"{folder}/r", {"a": "2"}, cas=1)
    kv.destroy(f"{folder}/r", [1])
    kv.destroy(f"{folder}/r", [1, 7])
    found = kv.read(f"{folder}/r")
    assert found is not None
    assert found.fields["a"] == "2"


def test_a_deleted_document_is_gone_and_starts_again_at_version_1(kv: KeyValue, folder: str) -> None:
    kv.write(f"{folder}/r", {"a": "1"}, cas=0)
    kv.write(f"{folder}/r", {"a": "2"}, cas=1)
    kv.delete(f"{folder}/r")
    kv.delete(f"{folder}/r")
    assert kv.read(f"{folder}/r") is None
    assert kv.list(folder) == []
    assert kv.write(f"{folder}/r", {"a": "3"}, cas=kv.version(f"{folder}/r")) == 1


def test_lists_names_sorted_and_marks_folders(kv: KeyValue, folder: str) -> None:
    for name in ("b", "a", "c/d", "c/e", "_index"):
        kv.write(f"{folder}/{name}", {"a": "1"}, cas=0)
    assert kv.list(folder) == ["_index", "a", "b", "c/"]


def test_the_error_for_a_value_that_is_not_a_string_names_the_field_and_not_the_value(
    backend: Backend, folder: str
) -> None:
    backend.put(f"{folder}/r", {"username": "u", "password": 4711})
    with pytest.raises(MalformedError, match="password") as caught:
        backend.open().read(f"{folder}/r")
    assert caught.value.field == "password"
    assert "4711" not in str(caught.value)


def test_a_value_that_is_not_a_string_is_not_written(kv: KeyValue, folder: str) -> None:
    with pytest.raises(MalformedError, match="count"):
        kv.write(f"{folder}/r", {"count": 3}, cas=0)
    assert kv.version(f"{folder}/r") == 0


def test_sees_its_own_writes_at_once(kv: KeyValue, folder: str) -> None:
    for round_ in range(30):
        assert kv.version(f"{folder}/r") == round_
        assert kv.write(f"{folder}/r", {"a": str(round_)}, cas=round_) == round_ + 1
        found = kv.read(f"{folder}/r")
        assert found is not None
        assert found.fields["a"] == str(round_)


def race(run: Callable[[int], object]) -> list[object]:
    """Call at the same moment in many threads. Return the results; a conflict is a result."""
    start = threading.Barrier(RACERS)

    def call(number: int) -> object:
        start.wait()
        try:
            return run(number)
        except ConflictError as error:
            return error

    with ThreadPoolExecutor(RACERS) as pool:
        return list(pool.map(call, range(RACERS)))


def test_one_of_many_writers_wins(backend: Backend, folder: str) -> None:
    clients = [backend.open() for _ in range(RACERS)]
    results = race(lambda number: clients[number].write(f"{folder}/r", {"winner": str(number)}, cas=0))
    assert results.count(1) == 1
    assert sum(isinstance(result, ConflictError) for result in results) == RACERS - 1
    found = clients[0].read(f"{folder}/r")
    assert found is not None
    assert results[int(found.fields["winner"])] == 1


def test_one_client_serves_many_threads(backend: Backend, folder: str) -> None:
    kv = backend.open()
    results = race(lambda number: kv.write(f"{folder}/r{number}", {"a": "1"}, cas=0))
    assert results == [1] * RACERS
    assert len(kv.list(folder)) == RACERS


def entry(version: int, *, at: int = 0, state: State = State.OK) -> IndexEntry:
    return IndexEntry(state=state, version=version, changed_at=NOW + timedelta(seconds=at))


def test_concurrent_merges_lose_no_entry(backend: Backend, folder: str) -> None:
    project = folder.removeprefix("credentials/")
    stores = [Store(backend.open()) for _ in range(RACERS)]
    race(lambda number: stores[number].merge_index(project, {f"r{number}": entry(1)}))
    # A store that lost each race raised a conflict and wrote nothing. The next sweep merges its entry.
    for number, store in enumerate(stores):
        store.merge_index(project, {f"r{number}": entry(1)})

    def all_there() -> bool:
        # A standby may be behind what other clients have written.
        index = stores[0].index(project)
        return index is not None and set(index.value.registries) == {f"r{number}" for number in range(RACERS)}

    wait_for("every entry", all_there)


def test_a_merge_that_changes_nothing_writes_nothing(kv: KeyValue, folder: str) -> None:
    project = folder.removeprefix("credentials/")
    store = Store(kv)
    store.merge_index(project, {"r": entry(3)})
    store.merge_index(project, {"r": entry(3, at=60)})
    store.merge_index(project, {"r": entry(2, at=90, state=State.FAILING)})
    assert store.index_version(project) == 1


def test_one_of_many_runs_gets_the_claim(backend: Backend, folder: str) -> None:
    reference = Reference(folder.removeprefix("credentials/"), "r")
    stores = [Store(backend.open()) for _ in range(RACERS)]
    lease = timedelta(minutes=5)
    results = race(
        lambda number: (
            stores[number]
            .claim(reference, stores[number].rotation(reference), owner=f"o{number}", now=NOW, lease=lease)
            .version
        )
    )
    assert sum(not isinstance(result, ConflictError) for result in results) == 1
    winner = next(number for number, result in enumerate(results) if not isinstance(result, ConflictError))
    claim = stores[winner].rotation(reference).value.claim
    assert claim is not None
    assert claim.owner == f"o{winner}"

    HeldClaim(stores[winner], reference, stores[winner].rotation(reference)).release()
    assert stores[winner].rotation(reference).value.claim is None


def test_an_expired_claim_can_be_taken_and_its_old_owner_cannot_release_it(kv: KeyValue, folder: str) -> None:
    reference = Reference(folder.removeprefix("credentials/"), "r")
    store = Store(kv)
    lease = timedelta(minutes=5)
    held = store.claim(reference, store.rotation(reference), owner="dead", now=NOW, lease=lease)
    with pytest.raises(ConflictError, match="has the claim until"):
        store.claim(reference, held, owner="next", now=NOW + timedelta(minutes=4), lease=lease)
    taken = store.claim(reference, held, owner="next", now=NOW + timedelta(minutes=6), lease=lease)
    assert taken.version == held.version + 1
    HeldClaim(store, reference, held).release()
    claim = store.rotation(reference).value.claim
    assert claim is not None
    assert claim.owner == "next"


def test_a_status_of_ten_thousand_namespaces_is_accepted(kv: KeyValue, folder: str) -> None:
    namespaces = {
        f"team-{number % 97}-service-{number:05d}": f"{number * 7919:08x}"[:8] for number in range(10_000)
    }
    placement = Placement(placed={7: namespaces}, unused_since=dict.fromkeys(list(namespaces)[::3], NOW))
    status = Status(written_at=NOW, registries={f"registry-{number}": placement for number in range(8)})
    cluster = folder.removeprefix("credentials/")
    Store(kv).write_status(cluster, "payments", status, cas=0)
    found = Store(kv).status(cluster, "payments")
    assert found is not None
    assert found.value == status


def test_a_status_that_is_too_large_for_one_document_is_accepted(kv: KeyValue, folder: str) -> None:
    namespaces = {f"{pow(7, number, 2**251):063x}"[:63]: f"{number:08x}" for number in range(1, 20_001)}
    placement = Placement(placed={7: namespaces})
    status = Status(written_at=NOW, registries={"main": placement})
    cluster = folder.removeprefix("credentials/")
    store = Store(kv)
    written = store.write_status(cluster, "payments", status, cas=0)
    found = store.status(cluster, "payments")
    assert found is not None
    assert found.value.registries == status.registries
    assert (found.version, found.others) == (written.version, written.others)

    again = store.write_status(cluster, "payments", status, cas=found.version, others=found.others)
    with pytest.raises(ConflictError):
        store.write_status(cluster, "payments", status, cas=again.version, others=found.others)


@pytest.mark.parametrize(
    ("registries", "hosts"), [(10_000, 1), (60, 400)], ids=["many-registries", "many-repositories"]
)
def test_the_index_and_the_history_of_a_large_project_are_accepted(
    kv: KeyValue, folder: str, registries: int, hosts: int
) -> None:
    rng, store, project = random.Random(7), Store(kv), folder.rsplit("/", maxsplit=1)[-1]
    entries = {
        f"registry-{number}": IndexEntry(
            state=State.OK,
            version=number + 1,
            fingerprint=rng.randbytes(8).hex(),
            provider="harbor",
            hosts=[f"registry{number}.example.com/team/application-{n}" for n in range(hosts)],
            expires_at=NOW + timedelta(seconds=rng.random() * 40_000),
            refresh_at=NOW + timedelta(seconds=rng.random() * 20_000),
            changed_at=NOW,
        )
        for number in range(registries)
    }
    store.merge_index(project, entries)
    found = store.index(project)
    assert found
    assert found.value.registries == entries
    for number in range(3):
        at = NOW + timedelta(hours=number)
        attempt = {name: Attempt(at, "rotated", number, rng.randrange(3_000)) for name in entries}
        store.add_history(project, attempt, known=entries)
    history = store.history(project)
    assert history
    assert len(history.value.attempts("registry-7")) == 3


def test_a_sealed_server_is_a_transient_error_and_works_again_after_the_unseal(
    single: Backend, folder: str
) -> None:
    kv = single.open()
    kv.write(f"{folder}/r", {"a": "1"}, cas=0)
    single.seal()
    try:
        for call in (
            lambda: kv.read(f"{folder}/r"),
            lambda: kv.version(f"{folder}/r"),
            lambda: kv.list(folder),
            lambda: kv.write(f"{folder}/r", {"a": "2"}, cas=1),
            lambda: kv.destroy(f"{folder}/r", [1]),
        ):
            with pytest.raises(TransientError, match="sealed"):
                call()
    finally:
        single.unseal()
    found = kv.read(f"{folder}/r")
    assert found is not None
    assert (found.fields["a"], found.version) == ("1", 1)


def test_a_client_continues_after_a_restart_of_the_server(single: Backend, folder: str) -> None:
    kv = single.open()
    kv.write(f"{folder}/r", {"a": "1"}, cas=0)
    single.restart()
    assert kv.version(f"{folder}/r") == 1
    assert kv.write(f"{folder}/r", {"a": "2"}, cas=1) == 2
