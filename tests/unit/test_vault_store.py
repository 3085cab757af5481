"""Concurrent writers of the same document in Vault lose no change of each other."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from fakes.key_value import FakeKeyValue
from pydantic import SecretStr

from regcred.credential import Credential, Login
from regcred.errors import ConflictError
from regcred.registry_reference import Reference
from regcred.vault.records.credential import CredentialRecord
from regcred.vault.records.declared import Action, Request
from regcred.vault.records.index import IndexEntry, State
from regcred.vault.store import Store

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
REFERENCE = Reference("payments", "hub")


@pytest.fixture
def kv() -> FakeKeyValue:
    return FakeKeyValue()


@pytest.fixture
def store(kv: FakeKeyValue) -> Store:
    return Store(kv)


def credential() -> CredentialRecord:
    minted = Credential("basic", (Login("u", SecretStr("p"), ("h",)),), NOW)
    return CredentialRecord.of(minted, reference=REFERENCE, fingerprint="f")


def entry(version: int) -> IndexEntry:
    return IndexEntry(state=State.OK, version=version, changed_at=NOW)


def test_an_index_that_another_writer_creates_meanwhile_is_merged(kv: FakeKeyValue, store: Store) -> None:
    other = Store(kv)
    operations = []

    def write_first(operation: str) -> None:
        operations.append(operation)
        if operations == ["read"]:
            other.merge_index("payments", {"theirs": entry(1)})

    kv.wait = write_first
    store.merge_index("payments", {"ours": entry(1)})
    index = store.index("payments")
    assert index is not None
    assert set(index.value.registries) == {"ours", "theirs"}


def test_a_claim_that_another_run_takes_between_read_and_write_is_refused(
    kv: FakeKeyValue, store: Store
) -> None:
    operations = []
    theirs = Store(kv)

    def claim_first(operation: str) -> None:
        operations.append(operation)
        if len(operations) == 1:
            theirs.claim(
                REFERENCE, theirs.rotation(REFERENCE), owner="other", now=NOW, lease=timedelta(minutes=5)
            )

    kv.wait = claim_first
    with pytest.raises(ConflictError):
        store.claim(REFERENCE, store.rotation(REFERENCE), owner="ours", now=NOW, lease=timedelta(minutes=5))


def test_a_newer_request_is_not_removed(store: Store) -> None:
    first = store.write_request(REFERENCE, Request(action=Action.ROTATE, requested_at=NOW))
    store.write_request(REFERENCE, Request(action=Action.VERIFY, requested_at=NOW))
    store.remove_request(REFERENCE, first)
    request = store.request(REFERENCE)
    assert request is not None
    assert request.value.action is Action.VERIFY
    store.remove_request(REFERENCE, request.version)
    assert store.pending_requests("payments") == ([], [])


def test_a_revocation_is_stored_separately_from_other_requests(store: Store) -> None:
    store.write_request(REFERENCE, Request(action=Action.ROTATE, requested_at=NOW))
    version = store.write_request(REFERENCE, Request(action=Action.REVOKE, requested_at=NOW))
    assert store.pending_requests("payments") == (["hub"], ["hub"])
    store.remove_request(REFERENCE, version, revocation=True)
    assert store.pending_requests("payments") == (["hub"], [])
    assert store.revocation(REFERENCE) is None


def test_concurrent_requests_are_both_written(kv: FakeKeyValue, store: Store) -> None:
    operations = []

    def write_first(operation: str) -> None:
        operations.append(operation)
        if operations == ["write"]:
            kv.wait = lambda _: None
            Store(kv).write_request(REFERENCE, Request(action=Action.VERIFY, requested_at=NOW))

    kv.wait = write_first
    assert store.write_request(REFERENCE, Request(action=Action.ROTATE, requested_at=NOW)) == 2


def test_a_merge_fails_without_a_write_if_other_writers_always_win(kv: FakeKeyValue, store: Store) -> None:
    kv.faults["write", "credentials/"] = ConflictError("others")
    with pytest.raises(ConflictError, match="nothing was written"):
        store.merge_index("payments", {"hub": entry(1)})


def test_an_index_that_was_already_read_saves_a_read_and_loses_no_other_write(
    kv: FakeKeyValue, store: Store
) -> None:
    store.merge_index("payments", {"a": entry(1)})
    seen = store.index("payments")
    kv.calls.clear()
    store.merge_index("payments", {"b": entry(1)}, seen=seen)
    assert [operation for operation, _ in kv.calls] == ["write"]
    store.merge_index("payments", {"c": entry(1)}, seen=seen)
    found = store.index("payments")
    assert found is not None
    assert set(found.value.registries) == {"a", "b", "c"}
