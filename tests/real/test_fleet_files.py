"""A small fleet in files, from the first apply to a restore into an empty OpenBao.

`make bench ONLY=apply` does the same with 10,000 registries.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from bench.apply import whole
from bench.table import Table
from fakes.fleet_files import FleetSize

pytestmark = [pytest.mark.real, pytest.mark.timeout(420)]


def test_a_fleet_is_applied_changed_exported_pruned_and_restored(tmp_path: Path) -> None:
    table = Table("A small fleet")
    whole(table, FleetSize(clusters=2, projects=3, registries=4), tmp_path, rounds=1)
    assert [row.what for row in table.rows][-1] == "restore of all into an empty OpenBao, s"
