"""A simulation of a small fleet; `make bench` simulates 10,000 registries for a week."""

from __future__ import annotations

from datetime import timedelta

import pytest
from bench.fleet.simulation import Fleet
from bench.fleet.time import START
from bench.fleet.vendors import KINDS, Kind

pytestmark = pytest.mark.no_cover  # a simulation repeats the same steps many times


@pytest.fixture(scope="module")
def fleet() -> Fleet:
    """40 registries, with outages of each vendor and of Vault."""
    fleet = Fleet(40, seed=7)
    hour = timedelta(hours=1)
    fleet.outages["ecr"].windows = [
        (START + 5 * hour, START + 7 * hour),
        (START + 11 * hour, START + 14 * hour),
    ]
    fleet.outages["acr"].windows = [(START + 9 * hour, START + 10 * hour)]
    fleet.outages["google"].windows = [
        (START + number * hour, START + (number + 0.3) * hour) for number in range(3, 30)
    ]
    second = timedelta(seconds=1)
    fleet.vault_outages.windows = [
        (START + number * hour + second, START + (number + 0.4) * hour) for number in (0, 8, 20)
    ]
    return fleet


def test_no_credential_expires_if_it_could_be_renewed(fleet: Fleet) -> None:
    result = fleet.run(1.5)
    assert result.expired == []
    assert result.excused < 5
    assert result.rotations > 200
    assert (
        min(
            result.down["ecr"],
            result.down["google"],
            result.queue["deliveries without Vault"],
            result.queue["lost"],
        )
        > 0
    )


def test_after_an_outage_of_a_vendor_the_attempts_are_spread(fleet: Fleet) -> None:
    """No account receives more requests than the vendor's limit."""
    assert fleet.vendors.throttled.total() == 0


def test_the_simulation_reports_a_credential_that_could_have_been_renewed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(KINDS, "google", Kind(1.0, timedelta(hours=1), 10, timedelta(milliseconds=250), 1))
    fleet = Fleet(3, seed=1)
    fleet.dispatch = _Idle()
    for reference in fleet.references:
        fleet.vendors.account[reference] = ("google", 0)
    fleet.store.merge_index("project-0", {"registry-0": _entry()})
    assert len(fleet.run(0.1).expired) == 1


class _Idle:
    def run(self, sweep, *, only=None):
        return None


def _entry():
    from regcred.vault.records.index import IndexEntry, State

    half = timedelta(minutes=30)
    return IndexEntry(
        state=State.OK, version=1, changed_at=START, refresh_at=START + half, expires_at=START + 2 * half
    )
