"""How many different Events about one refusal a workload gets, whatever others do to its causes."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from regcred.cluster.model import WORKLOADS, Workload
from regcred.registry_reference import Reference
from regcred.sync.actions import EmitEvent
from regcred.sync.event_duplicates import CAUSES, PER_NAMESPACE, EventRecorder
from regcred.sync.messages import REASON_OF, Reason, Why

PROD = Reference("payments", "ecr-prod")
LEDGER = datetime(2026, 11, 29, 12, tzinfo=UTC)
QUOTA, POLICY = "exceeded quota: few", "every Secret needs the label team"


def event(cause: str, *, why: Why = Why.NOT_WRITTEN, name: str = "web", by: Reference = PROD) -> EmitEvent:
    about = Workload(WORKLOADS[0], "shop", name, f"u-{name}", (by,), created="2026-11-28T12:00:00Z")
    return EmitEvent(about, REASON_OF[why], cause, by, why, topic=why, cause=cause)


def new(recorder: EventRecorder, *events: EmitEvent) -> list[bool]:
    return [recorder.record(one, ledger_written_at=LEDGER) for one in events]


@pytest.mark.parametrize("why", [Why.NOT_WRITTEN, Why.NOT_READ, Why.NOT_ATTACHED, Why.NOT_READY])
def test_each_cause_is_told_once(why: Why) -> None:
    causes = [QUOTA, QUOTA, POLICY, QUOTA, POLICY, QUOTA]
    told = new(EventRecorder(), *(event(cause, why=why) for cause in causes))
    assert told == [True, False, True, False, False, False]


def test_a_flood_of_causes_gives_a_few_events_for_each_workload_and_registry() -> None:
    recorder, other = EventRecorder(), Reference("payments", "other")
    for name, by in (("web", PROD), ("api", PROD), ("web", other)):
        told = new(recorder, *(event(f"{QUOTA} {n}", name=name, by=by) for n in range(3 * PER_NAMESPACE)))
        assert told == [True] * CAUSES + [False] * (3 * PER_NAMESPACE - CAUSES)
    assert sum(map(len, recorder._written.values())) < PER_NAMESPACE
    assert new(recorder, event("", why=Why.REVOKED)) == [True], "another reason is told all the same"


def test_after_a_success_causes_are_told_again() -> None:
    recorder = EventRecorder()
    causes = [event(f"{QUOTA} {number}") for number in range(CAUSES)]
    assert all(new(recorder, *causes))
    recorder.succeed("shop", PROD)
    assert recorder.take_resolved("shop", PROD)
    assert all(new(recorder, *causes))


@pytest.mark.parametrize(
    ("in_ledger", "cause", "is_new"),
    [(QUOTA, QUOTA, False), (QUOTA, POLICY, True), ("", QUOTA, False), (QUOTA, "", False)],
)
def test_a_new_process_tells_only_a_cause_that_differs_from_the_ledger(
    in_ledger: str, cause: str, *, is_new: bool
) -> None:
    """The ledger has only the causes of some namespaces."""
    recorder = EventRecorder()
    recorder.load("shop", PROD, Why.NOT_WRITTEN, in_ledger)
    assert new(recorder, event(cause)) == [is_new]
    assert new(recorder, event(QUOTA, why=Why.NOT_READ)) == [True]


def test_malformed_annotations_are_told_one_by_one() -> None:
    about = event("").about
    lines = [EmitEvent(about, Reason.MALFORMED, f"{n}", topic=f"{n}") for n in range(3 * CAUSES)]
    assert all(new(EventRecorder(), *lines))
