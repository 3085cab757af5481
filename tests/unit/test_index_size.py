"""A project's index fits into one document of Vault. It reports what does not fit."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from fakes.rotate_world import World

from regcred.errors import MalformedError
from regcred.registry_limit import within_limit
from regcred.registry_reference import Reference
from regcred.rotate import RotationResult
from regcred.rotation_message import RotationReason
from regcred.vault.records import index as records
from regcred.vault.records.compression import DOCUMENT_MAX, deflate
from regcred.vault.records.index import Index, IndexEntry, State, merge

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
RNG = random.Random(7)


def entry(number: int, hosts: list[str] | None = None, **fields: object) -> IndexEntry:
    """An index entry as rotate writes it, with random values, so that compression finds no repetition."""
    at = NOW - timedelta(seconds=RNG.random() * 40_000)
    plain = {
        "state": State.OK,
        "version": number % 500 + 1,
        "fingerprint": RNG.randbytes(8).hex(),
        "provider": "harbor",
        "hosts": hosts or [f"registry{number}.example.com"],
        "expires_at": at + timedelta(hours=12),
        "refresh_at": at + timedelta(hours=6, seconds=-RNG.random() * 2_000),
        "definition_version": 2,
        "changed_at": at,
    }
    return IndexEntry.model_validate(plain | fields)


def read(index: Index) -> Index:
    fields = index.fields()
    assert len(fields["document"]) <= DOCUMENT_MAX
    return Index.parse(fields, path="credentials/p/_index")


@pytest.mark.no_cover
def test_an_index_of_10000_registries_fits_even_if_all_fail() -> None:
    index = merge(Index(), {f"registry-{number}": entry(number) for number in range(10_000)})
    assert (len(index.registries), index.full) == (10_000, False)
    assert read(index) == index
    failing = {
        name: entry(
            number,
            state=State.FAILING,
            error=f"registry{number}.example.com: the connection was refused; is it the right host?",
            error_kind="transient",
            failing_since=NOW,
            next_attempt_at=NOW + timedelta(seconds=RNG.random() * 2_000),
        )
        for number, name in enumerate(index.registries)
    }
    assert len(read(merge(index, failing)).registries) == 10_000


@pytest.mark.no_cover
def test_an_index_of_many_repositories_keeps_all_hosts() -> None:
    entries = {
        f"r{number}": entry(number, [f"registry{number}.example.com/team/app-{n}" for n in range(400)])
        for number in range(60)
    }
    assert read(merge(Index(), entries)).registries == entries


def test_a_small_index_is_plain_json() -> None:
    index = merge(Index(), {"r": entry(1)})
    assert json.loads(index.fields()["document"])["registries"]["r"]["hosts"] == ["registry1.example.com"]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limit the index to about sixty registries, with the same random names in any order of the tests."""
    RNG.seed(1)
    monkeypatch.setattr(records, "DOCUMENT_MAX", 12_000)
    monkeypatch.setattr(records, "PLAIN_MAX", 1_000)


def word() -> str:
    return "".join(RNG.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=60))


@pytest.mark.parametrize(
    "large",
    [
        lambda: {"hosts": [f"{word()}.example.com/{word()}" for _ in range(300)]},
        lambda: {"error": " ".join(word() for _ in range(60)), "state": State.FAILING},
        lambda: {"warning": " ".join(word() for _ in range(60))},
    ],
    ids=["hosts", "errors", "warnings"],
)
@pytest.mark.usefixtures("small")
def test_texts_and_hosts_that_are_too_large_are_cut_and_no_registry_is_left_out(
    large: Callable[[], dict[str, object]],
) -> None:
    index = Index()
    for start in range(0, 40, 10):
        new = {f"r{number}": entry(number, **large()) for number in range(start, start + 10)}
        index = merge(index, new)
    found = read(index)
    assert (len(found.registries), found.full) == (40, False)
    cut = found.registries["r7"]
    assert cut.hosts_left_out or "…" in cut.error + cut.warning


@pytest.mark.usefixtures("small")
def test_an_entry_counts_the_hosts_that_were_left_out() -> None:
    index = Index()
    for number in range(20):
        index = merge(index, {f"r{number}": entry(number, hosts=[word() for _ in range(100)])})
    found = read(merge(index, {"more": entry(7, hosts=[word() for _ in range(900)])}))
    assert {len(one.hosts) + one.hosts_left_out for one in found.registries.values()} == {100, 900}
    assert any(one.hosts_left_out for one in found.registries.values())


@pytest.mark.usefixtures("small")
def test_a_full_index_keeps_its_entries_and_accepts_new_ones_after_removals() -> None:
    index = merge(Index(), {f"{word()}": entry(number) for number in range(100)})
    assert index.full
    before = len(index.registries)
    assert 0 < before < 100
    others = {f"another-{number}": entry(number) for number in range(50)}
    again = merge(index, others | {name: entry(number) for number, name in enumerate(index.registries)})
    assert again.full
    assert set(again.registries) >= set(index.registries)
    assert not set(again.registries) >= set(others)
    gone = {
        name: IndexEntry(state=State.REMOVED, version=900, changed_at=NOW - timedelta(days=number))
        for number, name in enumerate(list(again.registries)[: before // 2], start=1)
    }
    assert not merge(again, gone).full


@pytest.mark.usefixtures("small")
def test_a_registry_that_does_not_fit_into_the_index_fails_and_is_not_rotated_each_sweep() -> None:
    world = World()
    world.store.merge_index("payments", {word(): entry(number) for number in range(100)})
    smallest = IndexEntry(state=State.FAILING, changed_at=NOW)
    world.store.merge_index("payments", {f"s{number}": smallest for number in range(100)})
    assert world.store.index("payments").value.full
    known = next(iter(world.store.index("payments").value.registries))
    world.define(Reference("payments", known))
    outcomes = {o.reference.registry: o for o in world.run(RotationReason.REQUESTED, "prod", known)}
    assert outcomes["prod"].done is RotationResult.FAILING
    assert "index of its project is full" in outcomes["prod"].error
    index = world.store.index("payments").value
    assert "prod" not in index.registries
    assert index.registries[known]
    assert within_limit(["prod", known], index, limit=1_000) == [known]


@pytest.mark.parametrize(
    "document",
    ['{"packed":7}', '{"packed":"!"}', '{"packed":'],
    ids=["number", "no-base64", "cut-off"],
)
def test_a_malformed_index_is_refused_with_one_line(document: str) -> None:
    with pytest.raises(MalformedError, match="_index: this is not an index"):
        Index.parse({"document": document}, path="credentials/p/_index")


def test_an_index_that_unpacks_to_40_megabytes_is_refused_in_one_line() -> None:
    document = '{"packed":"' + deflate("0" * 40_000_000) + '"}'
    with pytest.raises(MalformedError, match="_index: this is not an index"):
        Index.parse({"document": document}, path="credentials/p/_index")
