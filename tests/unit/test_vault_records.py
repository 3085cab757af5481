"""The documents in Vault: how they are merged, checked, and read back."""

from __future__ import annotations

import json
import tracemalloc
import zlib
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from regcred.credential import Credential, Login
from regcred.errors import ConflictError, MalformedError
from regcred.registry_reference import Reference
from regcred.vault.records.credential import CredentialRecord
from regcred.vault.records.declared import ClusterGrants, ProjectPolicy, Request
from regcred.vault.records.document import Record
from regcred.vault.records.index import Index, IndexEntry, State, merge
from regcred.vault.records.rotation import Rotation, Slot, take
from regcred.vault.records.status import Placement, Status

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
LEASE = timedelta(minutes=5)


def entry(version: int, *, at: int = 0, state: State = State.OK, error: str = "") -> IndexEntry:
    return IndexEntry(state=state, version=version, changed_at=NOW + timedelta(seconds=at), error=error)


def merged(*entries: IndexEntry) -> IndexEntry:
    index = Index()
    for each in entries:
        index = merge(index, {"r": each})
    return index.registries["r"]


def test_a_late_failure_never_hides_a_newer_success() -> None:
    assert merged(entry(3, at=1), entry(2, at=9, state=State.FAILING)).state is State.OK


def test_a_failure_after_a_success_is_shown() -> None:
    failing = merged(entry(3, at=1), entry(3, at=2, state=State.FAILING, error="throttled"))
    assert (failing.state, failing.error) == (State.FAILING, "throttled")


@pytest.mark.parametrize("later", [State.FAILING, State.OK])
def test_a_revoked_credential_stays_revoked_until_a_newer_version(later: State) -> None:
    revoked = entry(3, at=1, state=State.REVOKED)
    after = merged(revoked, entry(3, at=2, state=later, error="mint refused"))
    assert (after.state, after.error) == (State.REVOKED, "mint refused")
    assert merged(revoked, entry(4, at=2)).state is State.OK


def test_a_removed_registry_that_never_worked_can_be_registered_again_and_fail() -> None:
    assert (
        merged(entry(0, at=1, state=State.REMOVED), entry(0, at=2, state=State.FAILING)).state
        is State.FAILING
    )


def test_a_failure_that_is_reported_late_counts_until_the_next_attempt() -> None:
    late = entry(3, at=1, state=State.FAILING)
    assert merged(entry(3), entry(3, at=2), late).state is State.FAILING
    assert merged(entry(3), entry(3, at=2), late, entry(3, at=3)).state is State.OK


def test_a_merge_of_the_same_outcome_returns_the_same_object() -> None:
    index = merge(Index(), {"r": entry(3)})
    assert merge(index, {"r": entry(3, at=60)}) is index


def test_a_removed_registry_leaves_the_index_after_ninety_days() -> None:
    index = merge(Index(), {"gone": entry(3, state=State.REMOVED), "r": entry(1)})
    day = 86_400
    assert "gone" in merge(index, {"r": entry(2, at=89 * day)}).registries
    assert "gone" not in merge(index, {"r": entry(2, at=91 * day)}).registries


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from([State.OK, State.FAILING, State.REVOKED])),
        min_size=1,
        max_size=4,
    )
)
def test_the_order_in_which_writers_of_different_outcomes_arrive_does_not_matter(
    outcomes: list[tuple[int, State]],
) -> None:
    entries = [
        entry(version, at=at, state=state, error=f"outcome {at}")
        for at, (version, state) in enumerate(outcomes)
    ]
    newest = max(version for version, _ in outcomes)
    of_newest = [state for version, state in outcomes if version == newest]
    state = State.REVOKED if newest and State.REVOKED in of_newest else of_newest[-1]
    for order in permutations(entries):
        result = merged(*order)
        assert (result.version, result.state) == (newest, state)


def test_a_claim_can_be_renewed_only_by_its_owner() -> None:
    held = take(Rotation(active=Slot.A), owner="one", now=NOW, lease=LEASE)
    assert held.claim is not None
    assert held.claim.lease_until == NOW + LEASE
    assert held.active is Slot.A
    with pytest.raises(ConflictError, match="has the claim until"):
        take(held, owner="two", now=NOW + LEASE - timedelta(seconds=1), lease=LEASE)
    later = take(held, owner="one", now=NOW + timedelta(minutes=4), lease=LEASE)
    assert later.claim is not None
    assert later.claim.lease_until == NOW + timedelta(minutes=9)


def test_an_expired_claim_can_be_taken_over_and_its_old_owner_is_refused() -> None:
    held = take(Rotation(), owner="one", now=NOW, lease=LEASE)
    taken = take(held, owner="two", now=NOW + LEASE, lease=LEASE)
    with pytest.raises(ConflictError, match="has the claim until"):
        take(taken, owner="one", now=NOW + LEASE, lease=LEASE)


def test_slots_are_written_to_vault_but_never_printed() -> None:
    rotation = Rotation(slots={Slot.A: {"token": SecretStr("hunter2")}})
    assert "hunter2" not in repr(rotation)
    assert Rotation.parse(rotation.fields(), path="rotations/p/r") == rotation
    assert "hunter2" in rotation.fields()["document"]


def status(names: list[str], registries: int) -> Status:
    uid = {name: f"{hash(name) & 0xFFFFFFFF:08x}" for name in names}
    placement = Placement(
        placed={7: uid, 6: {names[0]: "00000000"}},
        unused_since=dict.fromkeys(names[::3], NOW),
        refused=dict.fromkeys(names[::7], "not-granted"),
    )
    return Status(
        written_at=NOW, registries={f"registry-{number}": placement for number in range(registries)}
    )


@pytest.mark.no_cover
def test_a_ledger_of_ten_thousand_namespaces_takes_a_fifth_of_vaults_limit() -> None:
    whole = status([f"team-{number % 97}-service-{number:05d}" for number in range(10_000)], 8)
    fields = whole.fields()
    assert len(fields["document"]) < 1024 * 1024 / 5
    assert Status.parse(fields, path="status/c/p") == whole


@pytest.mark.no_cover
def test_a_ledger_of_names_of_the_maximum_length_fits() -> None:
    names = [f"{number:x}".rjust(5, "0") + f"{pow(7, number, 2**232):058x}" for number in range(10_000)]
    whole = status(names, 8)
    fields = whole.fields()
    assert len(fields["document"]) < 1024 * 1024 * 0.8
    assert Status.parse(fields, path="status/c/p") == whole


_names = st.text("abc-", min_size=1, max_size=4)
_placements = st.builds(
    Placement,
    placed=st.dictionaries(st.integers(0, 3), st.dictionaries(_names, st.text("01", min_size=0, max_size=2))),
    unused_since=st.dictionaries(_names, st.sampled_from([NOW, NOW + timedelta(hours=1)])),
    refused=st.dictionaries(_names, st.sampled_from(["clash", "not-granted"])),
)


@settings(max_examples=30)
@given(st.dictionaries(_names, _placements, max_size=2))
def test_a_status_reads_back_as_it_was_written(registries: dict[str, Placement]) -> None:
    whole = Status(written_at=NOW, registries=registries)
    read = Status.parse(whole.fields(), path="status/c/p")
    for name, placement in registries.items():
        kept = {version: names for version, names in placement.placed.items() if names}
        assert {v: n for v, n in read.registries[name].placed.items() if n} == kept
        assert read.registries[name].unused_since == placement.unused_since
        assert read.registries[name].refused == placement.refused


def test_a_status_with_a_decompression_bomb_or_malformed_data_is_refused_in_one_line() -> None:
    bomb = b64encode(zlib.compress(b"a" * 64 * 1024 * 1024)).decode()
    for ledger in (
        bomb,
        "!",
        b64encode(b"x").decode(),
        b64encode(zlib.compress(b'{"namespaces":["a"],"registries":{"r":{"placed":{"1":"ff"}}}}')).decode(),
    ):
        text = json.dumps({"written_at": NOW.isoformat(), "ledger": ledger})
        tracemalloc.start()
        try:
            with pytest.raises(MalformedError, match="status/c/p: this is not a status document"):
                Status.parse({"document": text}, path="status/c/p")
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 40 * 1024 * 1024, "its size is checked before it is decompressed"


def test_grants_allow_exact_names_and_globs_only_if_these_are_switched_on() -> None:
    exact = ClusterGrants(grants={"payments": ["team-a"]})
    assert exact.allows("team-a", "payments")
    assert not exact.allows("team-ab", "payments")
    assert not exact.allows("team-a", "search")
    globs = ClusterGrants(grants={"payments": ["team-*"]}, globs=True)
    assert globs.allows("team-x", "payments")
    assert not globs.allows("xteam-x", "payments")


@pytest.mark.parametrize(
    ("model", "document", "message"),
    [
        (
            ClusterGrants,
            {"grants": {"payments": ["team-*"]}},
            "path: grants.payments: 'team-*' is a glob; name the namespace, or set globs to true",
        ),
        (
            ClusterGrants,
            {"grants": {"payments": ["Team"]}},
            "path: grants.payments: 'Team' is not the name of a namespace",
        ),
        (ClusterGrants, {"grants": {"Pay ments": []}}, "grants.Pay ments"),
        (ClusterGrants, {"grant": {}}, "grant: is not a field of this document; correct its name"),
        (
            ProjectPolicy,
            {"hosts": ["https://registry.example.com"]},
            "path: hosts: 'https://registry.example.com' is not a host",
        ),
        (ProjectPolicy, {"role_arn": "arn:aws:iam::123456789012:role/admin"}, "role/regcred/<name>"),
        (ProjectPolicy, {"clusters": ["Edge"]}, "clusters.0: is not a name: write a-z, 0-9 and '-'"),
        (ProjectPolicy, {"clusters": ["e" * 64]}, "clusters.0: is not a name"),
        (ProjectPolicy, {"clusters": ["edge\n"]}, "clusters.0: is not a name"),
        (ProjectPolicy, [], "path: the document: must be a mapping, as in {name: value}"),
        (
            ProjectPolicy,
            {"hosts": "a.example.com"},
            "path: hosts: must be a list, as in [a, b], even for one item",
        ),
        (ProjectPolicy, {"accounts": [5]}, "path: accounts.0: must be a string; put a number in quotes"),
        (ProjectPolicy, {"paths": []}, "path: paths: must be a mapping, as in {name: value}"),
        (ClusterGrants, {"globs": "maybe"}, "path: globs: must be true or false"),
        (ClusterGrants, {"globs": []}, "path: globs: must be true or false"),
        (
            Request,
            {"action": "renew", "requested_at": "2026-11-24T12:00:00Z"},
            "path: action: must be 'rotate', 'verify' or 'revoke'",
        ),
        (Request, {"action": "rotate"}, "path: requested_at: is missing"),
        (
            Request,
            {"action": "rotate", "requested_at": "now"},
            "path: requested_at: must be a time with its zone, as in",
        ),
        (
            Request,
            {"action": "rotate", "requested_at": []},
            "path: requested_at: must be a time with its zone, as in",
        ),
        (
            Request,
            {"action": "rotate", "requested_at": "2026-11-24T12:00:00"},
            "path: requested_at: must be a time with its zone, as in 2026-01-31T12:00:00Z",
        ),
    ],
)
def test_an_error_about_a_wrong_document_is_one_line_with_path_and_field(
    model: type[Record], document: object, message: str
) -> None:
    with pytest.raises(MalformedError) as caught:
        model.parse({"document": json.dumps(document)}, path="some/path")
    assert str(caught.value).startswith("some/path: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("fields", [{}, {"other": "x"}, {"document": ""}, {"document": "{"}])
def test_an_empty_or_malformed_document_is_an_error(fields: dict[str, str]) -> None:
    for model in (Index, ClusterGrants, Status, Rotation):
        with pytest.raises(MalformedError, match="some/path"):
            model.parse(fields, path="some/path")


def test_an_error_about_malformed_json_says_where_it_is() -> None:
    with pytest.raises(
        MalformedError, match=r"path: the document: is not valid JSON \(.*line 1 column 10\); write it"
    ):
        ProjectPolicy.parse({"document": '{"hosts":x}'}, path="path")


def test_unknown_fields_of_a_newer_writer_are_ignored() -> None:
    text = json.dumps(
        {"registries": {"r": {**json.loads(entry(1).model_dump_json()), "novel": 1}}, "novel": 2}
    )
    assert Index.parse({"document": text}, path="x").registries["r"] == entry(1)


CREDENTIAL = Credential(
    provider="basic",
    logins=(Login("robot", SecretStr("hunter2"), ("registry.example.com",)),),
    issued_at=NOW,
    expires_at=NOW + timedelta(hours=12),
)


def test_a_credential_can_be_read_back_and_never_prints_its_secret() -> None:
    record = CredentialRecord.of(CREDENTIAL, reference=Reference("payments", "hub"), fingerprint="f")
    assert CredentialRecord.parse(record.fields(), path="credentials/payments/hub") == record
    assert "hunter2" not in repr(record)


@pytest.mark.parametrize("text", ["{}", "[]", "not json", '{"auths":[]}'])
def test_a_credential_without_a_docker_configuration_is_malformed_and_not_shown(text: str) -> None:
    record = CredentialRecord.of(CREDENTIAL, reference=Reference("payments", "hub"), fingerprint="f")
    with pytest.raises(MalformedError, match=r"\.dockerconfigjson") as caught:
        CredentialRecord.parse(
            {**record.fields(), ".dockerconfigjson": text}, path="credentials/payments/hub"
        )
    assert "hunter2" not in str(caught.value)


def test_a_status_contains_the_version_and_the_mode_of_sync() -> None:
    status = Status(written_at=NOW, sync_version="1.2.3", mode="admission", registries={"r": Placement()})
    assert Status.parse(status.fields(), path="status/c/p") == status


RECORD = {
    ".dockerconfigjson": '{"auths": {}}',
    "username": "u",
    "password": "p",
    "provider": "basic",
    "fingerprint": "f",
    "issued_at": "2026-11-24T12:00:00+00:00",
}


def test_the_hosts_of_a_credential_are_a_json_list_that_templates_can_read() -> None:
    login = Login(username="u", password=SecretStr("p"), hosts=("b.example.com/team/", "a.example.com"))
    credential = Credential(provider="basic", logins=(login,), issued_at=NOW)
    record = CredentialRecord.of(credential, reference=Reference("payments", "main"), fingerprint="f")
    assert json.loads(record.fields()["hosts"]) == ["a.example.com", "b.example.com/team/"]
    assert CredentialRecord.parse(record.fields(), path="path") == record


@pytest.mark.parametrize("text", ["a.example.com", "1", '{"a": 1}[', "[1, 2]"])
def test_hosts_must_be_a_list_of_strings(text: str) -> None:
    with pytest.raises(MalformedError, match="path: hosts"):
        CredentialRecord.parse({**RECORD, "hosts": text}, path="path")


def test_an_unreadable_entry_is_skipped_and_the_others_are_used() -> None:
    good = json.loads(Index(registries={"good": entry(3)}).fields()["document"])["registries"]["good"]
    broken = {
        "good": good,
        "Not_a_label": good,
        "x" * 5000: good,
        "newer": {**good, "state": "asleep"},
        "list": [],
    }
    index = Index.parse({"document": json.dumps({"registries": broken, "_skipped": {"good": "x"}})}, path="i")
    assert list(index.registries) == ["good"]
    assert list(index.skipped) == ["'Not_a_label'", repr("x" * 80), "newer", "list"]
    assert index.skipped["newer"].startswith("i: newer: state: ")
    assert sorted(Index.parse(index.fields(), path="i").skipped) == ["list", "newer"]


@pytest.mark.parametrize(
    ("content", "state"),
    [
        ({"state": "revoked", "version": "x"}, State.REVOKED),
        ({"state": "removed"}, State.REMOVED),
        ({"state": "ok"}, None),
        ({"state": ["revoked"]}, None),
        ("revoked", None),
        (None, None),
    ],
)
def test_writes_for_other_registries_keep_a_mark_of_an_unreadable_entry(
    content: object, state: State | None
) -> None:
    index = Index.parse({"document": json.dumps({"registries": {"broken": content}})}, path="i")
    for number in (1, 2):
        index = Index.parse(merge(index, {f"other-{number}": entry(1)}).fields(), path="i")
    assert index.marks == {"broken": state}
    assert sorted(index.registries) == ["other-1", "other-2"]
    written = merge(index, {"broken": entry(4)})
    assert not written.marks
    assert not Index.parse(written.fields(), path="i").skipped


def test_a_full_index_is_still_full_after_it_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("regcred.vault.records.index.TEXT_MAX", 1_000)
    monkeypatch.setattr("regcred.vault.records.index.RELEASED", 0.01)
    full = Index(registries={"a": entry(1)}, full=True)
    later = merge(full, {"a": entry(2)})
    assert later.full
    assert Index.parse(later.fields(), path="i").full


@pytest.mark.parametrize("document", ["{", "[]", '{"registries": []}', '"x"'])
def test_a_document_of_another_shape_is_not_an_index(document: str) -> None:
    with pytest.raises(MalformedError):
        Index.parse({"document": document}, path="i")


class TestStatusOfSeveralDocuments:
    NAMES = tuple(f"{pow(7, n, 2**200):062x}"[:62] + "x" for n in range(1, 201))

    @pytest.fixture(autouse=True)
    def small_documents(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("regcred.vault.records.ledger.PACKED_MAX", 4_000)

    def status(self, *names: str, at: datetime = NOW, version: int = 1) -> Status:
        placement = Placement(
            placed={version: dict.fromkeys(names, "0" * 8)},
            unused_since=dict.fromkeys(names[::3], NOW),
            held=dict.fromkeys(names[::7], "unneeded"),
        )
        return Status(written_at=at, mode="none", registries={"a": placement, "b": placement})

    def parse(self, documents: list[dict[str, str]]) -> list[Status]:
        return [Status.parse(fields, path="status/c/p") for fields in documents]

    def test_the_documents_can_be_joined(self) -> None:
        status = self.status(*self.NAMES)
        documents = self.parse(status.documents())
        assert len(documents) > 1
        assert Status.joined(documents).registries == status.registries

    def test_a_small_status_takes_a_single_document(self) -> None:
        assert len(self.status("shop").documents()) == 1

    def test_a_status_keeps_the_number_of_its_documents(self) -> None:
        documents = self.parse(self.status("shop").documents(4))
        assert [document.parts for document in documents] == [4] * 4
        assert Status.joined(documents).registries == self.status("shop").registries

    def test_the_newer_of_two_documents_with_the_same_namespace_counts(self) -> None:
        old = self.parse(self.status(*self.NAMES).documents(2))
        later = self.status(*self.NAMES, at=NOW + timedelta(seconds=1), version=2)
        new = self.parse(later.documents(4))
        stopped = [new[0], old[1], new[2], new[3]]
        found = Status.joined(stopped).registries["a"].placed
        assert {name for names in found.values() for name in names} == set(self.NAMES)
        assert not found[1].keys() & found[2].keys()
        assert set(new[3].registries["a"].placed[2]) <= set(found[2])

    @pytest.mark.no_cover
    def test_a_status_that_does_not_fit_into_the_maximum_of_documents_is_refused(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("regcred.vault.records.ledger.PACKED_MAX", 400)
        many = [f"{name[:55]}{n:08}" for name in self.NAMES for n in range(10)]
        with pytest.raises(MalformedError, match="too large for Vault"):
            self.status(*many).documents()
