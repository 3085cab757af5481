"""The number of Events that a workload gets about the causes of one refusal."""

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
def test_each_cause_gets_one_event(why: Why) -> None:
    causes = [QUOTA, QUOTA, POLICY, QUOTA, POLICY, QUOTA]
    written = new(EventRecorder(), *(event(cause, why=why) for cause in causes))
    assert written == [True, False, True, False, False, False]


def test_many_causes_give_few_events_for_each_workload_and_registry() -> None:
    recorder, other = EventRecorder(), Reference("payments", "other")
    for name, by in (("web", PROD), ("api", PROD), ("web", other)):
        written = new(recorder, *(event(f"{QUOTA} {n}", name=name, by=by) for n in range(3 * PER_NAMESPACE)))
        assert written == [True] * CAUSES + [False] * (3 * PER_NAMESPACE - CAUSES)
    assert sum(map(len, recorder._written.values())) < PER_NAMESPACE
    assert new(recorder, event("", why=Why.REVOKED)) == [True], "another reason still gets an Event"


def test_after_a_success_each_cause_gets_an_event_again() -> None:
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
def test_after_a_restart_only_a_cause_that_differs_from_the_ledger_gets_an_event(
    in_ledger: str, cause: str, *, is_new: bool
) -> None:
    """The ledger can lack the cause."""
    recorder = EventRecorder()
    recorder.load("shop", PROD, Why.NOT_WRITTEN, in_ledger)
    assert new(recorder, event(cause)) == [is_new]
    assert new(recorder, event(QUOTA, why=Why.NOT_READ)) == [True]


def test_each_malformed_annotation_gets_an_event() -> None:
    about = event("").about
    lines = [EmitEvent(about, Reason.MALFORMED, f"{n}", topic=f"{n}") for n in range(3 * CAUSES)]
    assert all(new(EventRecorder(), *lines))
