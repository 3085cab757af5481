"""The plan of sync, with properties that hold for all observations."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from regcred.cluster.model import (
    SERVICE_ACCOUNT,
    WORKLOADS,
    LedgerEntry,
    Mode,
    Namespace,
    ServiceAccount,
    StuckPod,
    Workload,
)
from regcred.registry_reference import Reference
from regcred.sync.actions import EmitEvent, EvictPod, Remove, UpdateLedger, UpdateServiceAccount, WriteSecret
from regcred.sync.inventory import Inventory
from regcred.sync.messages import Why
from regcred.sync.plan import make_plan
from regcred.sync.plan_input import Grants, Knowledge, PlanInput, ProjectView, Registry, RegistryState, Rules

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
DEPLOYMENT = WORKLOADS[0]
CALM = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
REFS = [Reference("p", "a"), Reference("p", "b"), Reference("q", "a")]
SPACES = [f"ns-{n}" for n in range(4)]
UID = "12345678-0000"


def view(
    *,
    wanted: Mapping[str, tuple[Reference, ...]],
    entries: Mapping[str, Mapping[Reference, LedgerEntry]] | None = None,
    grants: Grants | None = None,
    projects: Mapping[str, ProjectView] | None = None,
    complete: bool = True,
    busy: frozenset = frozenset(),
    **rules,
) -> PlanInput:
    inventory = Inventory(WORKLOADS)
    for kind in WORKLOADS if complete else ():
        inventory.replace(kind, [])
    inventory.replace(DEPLOYMENT, [])
    from regcred.cluster.model import NAMESPACE

    inventory.replace(NAMESPACE, [Namespace(name, UID) for name in SPACES])
    for space, references in wanted.items():
        if references:
            inventory.put(
                Workload(
                    DEPLOYMENT,
                    space,
                    "web",
                    f"u-{space}",
                    references,
                    (),
                    "default",
                    True,
                    "2026-01-01T00:00:00Z",
                )
            )
        inventory.put(ServiceAccount(space, "default"))
    everywhere = Grants(Knowledge.KNOWN, {"p": frozenset(SPACES), "q": frozenset(SPACES)})
    ok = ProjectView(
        Knowledge.KNOWN, {"a": Registry(RegistryState.OK, 3), "b": Registry(RegistryState.OK, 5)}
    )
    held = entries or {}
    return PlanInput(
        now=NOW,
        inventory=inventory,
        grants=grants or everywhere,
        projects=projects if projects is not None else {"p": ok, "q": ok},
        entries=held,
        rules=Rules(**{"cluster": "c1", "mode": Mode.NONE, "grace": timedelta(0)} | rules),
        in_place=sum(entry.version is not None for row in held.values() for entry in row.values()),
        busy=busy,
        blocked_removals=busy,
    )


def of(kind: type, seen: PlanInput, scope=None) -> list:
    return [action for action in make_plan(seen, scope).actions if isinstance(action, kind)]


PLACES = st.builds(
    LedgerEntry,
    st.sampled_from([None, 0, 1, 3, 5]),
    st.sampled_from([UID[:8], "ffffffff"]),
    st.sampled_from(["", "2026-11-24T11:00:00+00:00"]),
    st.sampled_from(["", "not-granted", "clash"]),
).filter(lambda entry: entry != LedgerEntry())
LEDGERS = st.dictionaries(st.sampled_from(SPACES), st.dictionaries(st.sampled_from(REFS), PLACES, min_size=1))
WANTED = st.dictionaries(st.sampled_from(SPACES), st.lists(st.sampled_from(REFS), unique=True).map(tuple))
REGISTRIES = st.builds(Registry, st.sampled_from(RegistryState), st.sampled_from([0, 3, 5]))
KNOWN = st.builds(
    ProjectView, st.sampled_from(Knowledge), st.dictionaries(st.sampled_from(["a", "b"]), REGISTRIES)
)
PROJECTS = st.dictionaries(st.sampled_from(["p", "q"]), KNOWN)
GRANTS = st.builds(
    Grants,
    st.sampled_from(Knowledge),
    st.dictionaries(st.sampled_from(["p", "q"]), st.frozensets(st.sampled_from(SPACES))),
)


def test_a_plan_depends_on_data_only() -> None:
    """A pickled copy of the observations gives the same plan."""
    seen = view(wanted={"ns-0": (REFS[0],)}, entries={"ns-1": {REFS[1]: LedgerEntry(3, UID[:8])}})
    copy = pickle.loads(pickle.dumps(seen))
    assert make_plan(copy) == make_plan(seen)
    assert make_plan(copy).actions


@CALM
@given(WANTED, LEDGERS, GRANTS, PROJECTS, st.booleans(), st.sampled_from(Mode))
def test_each_removal_has_a_positive_proof(wanted, entries, grants, projects, complete, mode) -> None:
    seen = view(
        wanted=wanted, entries=entries, grants=grants, projects=projects, complete=complete, mode=mode
    )
    plan = make_plan(seen)
    for removal in [action for action in (*plan.actions, *plan.held) if isinstance(action, Remove)]:
        registry = projects.get(removal.reference.project, ProjectView(Knowledge.ABSENT)).registries.get(
            removal.reference.registry
        )
        requested = removal.reference in wanted.get(removal.namespace, ())
        match removal.why:
            case Why.NOT_GRANTED:
                assert grants.knowledge is Knowledge.KNOWN
                assert not grants.allows(removal.namespace, removal.reference.project)
            case Why.REVOKED | Why.REMOVED:
                assert registry.state.value == removal.why.value
            case _:
                assert removal.why is Why.UNNEEDED
                assert complete
                assert not requested


@CALM
@given(WANTED, LEDGERS, GRANTS, PROJECTS, st.booleans())
def test_only_granted_and_known_credentials_are_written(wanted, entries, grants, projects, complete) -> None:
    seen = view(wanted=wanted, entries=entries, grants=grants, projects=projects, complete=complete)
    for action in of(WriteSecret, seen):
        registry = projects[action.reference.project].registries[action.reference.registry]
        assert action.version == registry.version > 0
        assert registry.state in {RegistryState.OK, RegistryState.FAILING}
        assert action.reference in wanted[action.namespace]
        if action.first:
            assert grants.allows(action.namespace, action.reference.project)


@CALM
@given(WANTED, LEDGERS, GRANTS, PROJECTS)
def test_a_plan_of_some_namespaces_removes_only_after_a_withdrawal_or_revocation(
    wanted, entries, grants, projects
) -> None:
    seen = view(wanted=wanted, entries=entries, grants=grants, projects=projects)
    plan = make_plan(seen, ["ns-1"])
    assert not plan.held
    for action in plan.actions:
        assert not isinstance(action, Remove) or action.why in {Why.NOT_GRANTED, Why.REVOKED}
        assert (action.about.namespace if isinstance(action, EmitEvent) else action.namespace) == "ns-1"


@CALM
@given(WANTED, LEDGERS, GRANTS, PROJECTS)
def test_references_with_a_running_action_get_no_other_action(wanted, entries, grants, projects) -> None:
    busy = frozenset((space, reference) for space in SPACES for reference in REFS)
    seen = view(wanted=wanted, entries=entries, grants=grants, projects=projects, busy=busy)
    assert of(WriteSecret, seen) == []
    assert of(Remove, seen) == []


@CALM
@given(WANTED)
def test_after_a_plan_is_applied_the_next_one_is_empty(wanted) -> None:
    firsts = of(WriteSecret, view(wanted=wanted))
    entries: dict[str, dict[Reference, LedgerEntry]] = {}
    for action in firsts:
        entries.setdefault(action.namespace, {})[action.reference] = LedgerEntry(
            action.version, action.short_uid
        )
    assert make_plan(view(wanted=wanted, entries=entries)).actions == ()


def fleet(kept: Mapping[str, int], lost: Mapping[str, int], **more) -> PlanInput:
    """A namespace with Secrets of each project that are needed (``kept``) and that are not (``lost``)."""
    wanted = [Reference(project, f"k{n}") for project, count in kept.items() for n in range(count)]
    others = [Reference(project, f"l{n}") for project, count in lost.items() for n in range(count)]
    projects = {
        project: ProjectView(
            Knowledge.KNOWN,
            {
                ref.registry: Registry(RegistryState.OK, 3)
                for ref in (*wanted, *others)
                if ref.project == project
            },
        )
        for project in {*kept, *lost}
    }
    everywhere = Grants(Knowledge.KNOWN, dict.fromkeys(projects, frozenset(SPACES)))
    return view(
        wanted={"ns-0": tuple(wanted)},
        entries={"ns-0": {ref: LedgerEntry(3, UID[:8]) for ref in (*wanted, *others)}},
        **{"projects": projects, "grants": everywhere} | more,
    )


@CALM
@given(st.integers(0, 40), st.integers(0, 40))
def test_the_brake_holds_all_removals_of_a_project_or_none(kept: int, lost: int) -> None:
    plan = make_plan(fleet({"p": kept}, {"p": lost}))
    removals = [action for action in plan.actions if isinstance(action, Remove)]
    passes = lost <= max(5, 0.2 * (kept + lost))
    assert (len(removals), len(plan.held)) == ((lost, 0) if passes else (0, lost))


def test_held_removals_of_one_project_do_not_hold_those_of_others() -> None:
    plan = make_plan(fleet({"p": 0, "q": 30}, {"p": 20, "q": 3}))
    assert {action.reference.project for action in plan.actions if isinstance(action, Remove)} == {"q"}
    assert {removal.reference.project for removal in plan.held} == {"p"}


def test_removals_of_a_small_share_in_each_project_are_all_held_if_they_are_many() -> None:
    names = [f"p{n}" for n in range(20)]
    plan = make_plan(fleet(dict.fromkeys(names, 1), dict.fromkeys(names, 5)))
    assert (len(plan.held), of(Remove, fleet(dict.fromkeys(names, 1), dict.fromkeys(names, 5)))) == (100, [])


@pytest.mark.parametrize(
    ("confirmed", "minutes", "removed"), [(20, 5, 20), (25, 5, 20), (19, 5, 0), (20, 0, 0), (20, -5, 0)]
)
def test_a_confirmation_counts_up_to_its_number_and_until_its_time(
    confirmed: int, minutes: int, removed: int
) -> None:
    everywhere = {name: frozenset(SPACES) for name in ("p", "q")}
    until = NOW + timedelta(minutes=minutes)
    grants = Grants(Knowledge.KNOWN, everywhere, confirmed={"p": (confirmed, until)})
    plan = make_plan(fleet({"p": 0, "q": 0}, {"p": 20, "q": 20}, grants=grants))
    removals = [action for action in plan.actions if isinstance(action, Remove)]
    assert [removal.reference.project for removal in removals] == ["p"] * removed
    assert len(plan.held) == 40 - removed


@pytest.mark.parametrize("requested", [True, False])
def test_a_withdrawn_grant_is_never_held(*, requested: bool) -> None:
    """Neither their own number nor the removals of another project hold them, with or without workloads."""
    seen = fleet({"p": 20, "q": 0}, {"q": 20}, grants=Grants(Knowledge.KNOWN, {"q": frozenset(SPACES)}))
    if not requested:
        seen = replace(seen, inventory=fleet({}, {}).inventory)
    plan = make_plan(seen)
    removed = [action for action in plan.actions if isinstance(action, Remove)]
    assert {(removal.reference.project, removal.why) for removal in removed} == {("p", Why.NOT_GRANTED)}
    assert len(removed) == 20
    assert {removal.why for removal in plan.held} == {Why.UNNEEDED}


def test_secrets_that_were_never_written_do_not_count_for_the_brake() -> None:
    seen = fleet({}, {"p": 5})
    announced = {Reference("p", f"a{n}"): LedgerEntry(0, UID[:8]) for n in range(40)}
    plan = make_plan(replace(seen, entries={"ns-0": {**seen.entries["ns-0"], **announced}}))
    assert plan.held == ()
    held = make_plan(
        replace(fleet({}, {"p": 6}), entries={"ns-0": fleet({}, {"p": 6}).entries["ns-0"] | announced})
    )
    assert {removal.reference.registry[0] for removal in held.held} == {"l"}


def test_held_removals_are_recorded_and_reported_and_the_record_is_cleared_afterwards() -> None:
    seen = fleet({}, {"p": 30})
    held = {
        (note.namespace, note.reference): note.held
        for note in of(UpdateLedger, seen)
        if note.held is not None
    }
    assert set(held.values()) == {"unneeded"}
    assert len(held) == 30
    events = [event for event in of(EmitEvent, seen) if event.reason == "RemovalHeld"]
    assert 0 < len(events) <= 20
    assert "regcred cluster confirm-removals c1" in events[0].note
    entries = {"ns-0": {Reference("p", "k0"): LedgerEntry(3, UID[:8], held="unneeded")}}
    over = replace(fleet({"p": 1}, {}), entries=entries)
    assert [note.held for note in of(UpdateLedger, over) if note.held is not None] == [""]


def test_new_secrets_come_before_refreshes_and_refreshes_before_removals() -> None:
    entries = {
        "ns-0": {REFS[0]: LedgerEntry(1, UID[:8])},
        "ns-1": {REFS[1]: LedgerEntry(5, UID[:8], "2026-11-24T11:00:00+00:00")},
    }
    wanted = {"ns-0": (REFS[0],), "ns-2": (REFS[0],)}
    actions = make_plan(view(wanted=wanted, entries=entries)).actions
    kinds = [(type(action), getattr(action, "first", None)) for action in actions]
    assert kinds == [(WriteSecret, True), (WriteSecret, False), (Remove, None)]


def test_a_glob_grants_only_what_it_matches() -> None:
    grants = Grants(Knowledge.KNOWN, {}, {"p": ("ns-[!x]", "team-*")})
    assert grants.allows("team-a", "p")
    assert not grants.allows("other", "p")
    assert not grants.allows("team-a", "q")


def test_a_serviceaccount_gets_the_names_of_placed_and_new_secrets_only() -> None:
    wanted = {"ns-0": (*REFS, Reference("p", "unknown"))}
    entries = {"ns-0": {REFS[0]: LedgerEntry(3, UID[:8]), REFS[2]: LedgerEntry(refused=Why.CLASH)}}
    seen = view(wanted=wanted, entries=entries, mode=Mode.SERVICEACCOUNT)
    names = (REFS[0].secret_name, REFS[1].secret_name)
    assert of(UpdateServiceAccount, seen) == [UpdateServiceAccount("ns-0", "default", names)]


def test_nothing_is_placed_in_a_namespace_that_has_no_serviceaccount_yet() -> None:
    """No Pod can exist there, and work for the Secret would delay the names."""
    seen = view(wanted={"ns-0": (REFS[0],)}, mode=Mode.SERVICEACCOUNT)
    assert of(WriteSecret, seen)
    seen.inventory.replace(SERVICE_ACCOUNT, [])
    assert make_plan(seen).does_nothing


def test_a_pod_is_evicted_only_if_its_secret_is_in_place() -> None:
    def evicted(entries: Mapping[Reference, LedgerEntry]) -> list[str]:
        seen = view(wanted={"ns-0": (REFS[0],)}, entries={"ns-0": entries}, mode=Mode.SERVICEACCOUNT)
        seen.inventory.put(ServiceAccount("ns-0", "default", (REFS[0].secret_name,)))
        seen.inventory.put(StuckPod("ns-0", "web-1", "default", frozenset(), "2026-11-24T11:00:00Z", "7"))
        return [action.pod for action in of(EvictPod, seen)]

    assert evicted({REFS[0]: LedgerEntry(3, UID[:8])}) == ["web-1"]
    assert evicted({}) == []


def prepared(*, grants: Grants | None = None, mode: Mode = Mode.SERVICEACCOUNT, **more) -> PlanInput:
    """A namespace with a ServiceAccount and no workload."""
    only = Grants(Knowledge.KNOWN, {"p": frozenset(["ns-0"])})
    return view(wanted={"ns-0": ()}, grants=grants or only, mode=mode, prepare=True, **more)


def test_a_prepared_namespace_gets_secrets_and_names_before_a_workload_exists() -> None:
    assert [
        (action.namespace, action.reference, action.version) for action in of(WriteSecret, prepared())
    ] == [("ns-0", REFS[0], 3), ("ns-0", REFS[1], 5)]
    entries = {"ns-0": {REFS[0]: LedgerEntry(3, UID[:8]), REFS[1]: LedgerEntry(5, UID[:8])}}
    (update,) = of(UpdateServiceAccount, prepared(entries=entries))
    assert (update.account, update.add) == ("default", (REFS[0].secret_name, REFS[1].secret_name))


@pytest.mark.parametrize(
    "grants",
    [
        Grants(Knowledge.KNOWN, globs={"p": ("ns-*",)}),
        Grants(Knowledge.KNOWN, {"p": frozenset(["ns-1-other"])}),
        Grants(Knowledge.ABSENT),
    ],
    ids=["by a pattern", "to another namespace", "unknown"],
)
def test_nothing_is_prepared_without_a_grant_by_exact_name(grants: Grants) -> None:
    assert make_plan(prepared(grants=grants)).actions == ()


@pytest.mark.parametrize("mode", [Mode.ADMISSION, Mode.NONE])
def test_nothing_is_prepared_in_another_mode(mode: Mode) -> None:
    assert make_plan(prepared(mode=mode)).actions == ()


def test_a_registry_without_a_valid_credential_is_not_prepared() -> None:
    states = [RegistryState.REVOKED, RegistryState.REMOVED]
    registries = {state: Registry(state, 3) for state in states} | {"new": Registry(RegistryState.FAILING, 0)}
    projects = {"p": ProjectView(Knowledge.KNOWN, registries)}
    assert make_plan(prepared(projects=projects)).actions == ()


def test_a_prepared_secret_is_removed_with_its_grant() -> None:
    entries = {"ns-0": {REFS[0]: LedgerEntry(3, UID[:8])}}
    nobody = Grants(Knowledge.KNOWN, {"p": frozenset()})
    (removal,) = of(Remove, prepared(entries=entries, grants=nobody))
    assert (removal.reference, removal.why) == (REFS[0], Why.NOT_GRANTED)


def test_a_namespace_gets_at_most_16_prepared_secrets() -> None:
    many = {f"r{n:02d}": Registry(RegistryState.OK, 1) for n in range(40)}
    projects = {"p": ProjectView(Knowledge.KNOWN, many)}
    written = [action.reference.registry for action in of(WriteSecret, prepared(projects=projects))]
    assert written == [f"r{n:02d}" for n in range(16)]


def test_each_action_is_described_in_one_line() -> None:
    entries = {"ns-1": {REFS[1]: LedgerEntry(5, UID[:8])}, "gone": {REFS[0]: LedgerEntry(3, UID[:8])}}
    wanted = {"ns-0": (REFS[0],), "ns-2": (Reference("p", "nope"),)}
    lines = make_plan(view(wanted=wanted, entries=entries)).lines()
    assert "create  ns-0/regcred.p.a (version 3)" in lines
    assert "forget  gone/regcred.p.a (its namespace is gone)" in lines
    assert "delete  ns-1/regcred.p.b (unneeded), unless a live Pod names it" in lines
    assert any(line.startswith("event   Deployment ns-2/web: NoSuchRegistry: ") for line in lines)
    assert not [line for line in lines if "\n" in line]


def test_within_the_grace_an_unneeded_secret_is_only_recorded() -> None:
    entries = {"ns-1": {REFS[1]: LedgerEntry(5, UID[:8])}}
    plan = make_plan(view(wanted={}, entries=entries, grace=timedelta(minutes=10)))
    assert plan.actions == (UpdateLedger("ns-1", REFS[1], unused_since=NOW),)
