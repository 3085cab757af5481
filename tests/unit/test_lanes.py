"""`make test` runs each test once, in lanes that share nothing, and fails if a lane fails."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import pytest

from realparts import lanes
from realparts.lanes import Outcome, Run

TESTS = Path(__file__).resolve().parents[1]


def covers(run: Run, file: Path) -> bool:
    """Whether the run's arguments make pytest collect a file."""
    name = f"tests/{file.relative_to(TESTS)}"
    named = any(
        name == argument or name.startswith(f"{argument}/")
        for argument in run.arguments
        if not argument.startswith("-")
    )
    return named and f"--ignore={name}" not in run.arguments


def test_each_test_file_is_run_once_on_this_python() -> None:
    runs = [*lanes.units(), *(run for lane in lanes.lanes(TESTS) for run in lane)]
    for file in TESTS.rglob("test_*.py"):
        count = sum(covers(run, file) for run in runs if not run.on_python313)
        assert count == (2 if f"tests/{file.relative_to(TESTS)}" == lanes.LOGS else 1), file


def test_the_branches_of_all_pure_modules_are_measured_in_one_run() -> None:
    (run,) = (run for run in lanes.units() if "--cov-branch" in run.arguments)
    assert not run.on_python313
    measured = {
        argument.removeprefix("--cov=") for argument in run.arguments if argument.startswith("--cov=")
    }
    project = tomllib.loads((TESTS.parent / "pyproject.toml").read_text())["tool"]
    (pure,) = (
        item for item in project["importlinter"]["contracts"] if item["name"].startswith("Pure modules")
    )
    assert measured == set(pure["source_modules"])
    assert project["coverage"]["report"]["fail_under"] >= 93


def test_low_coverage_is_repeated_in_the_summary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    verdict = "FAIL Required test coverage of 95% not reached. Total coverage: 94.10%"
    monkeypatch.setattr(Run, "command", lambda run: [sys.executable, "-c", *run.arguments])
    code = (
        f"print({verdict!r}); print('== short test summary info =='); print('2 passed'); raise SystemExit(1)"
    )
    assert lanes.perform(Run("low", [code]), tmp_path).summary == [verdict, "2 passed"]


def test_a_new_folder_belongs_to_a_lane(tmp_path: Path) -> None:
    for name in ("real", "novel", "unit"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "test_it.py").touch()
    runs = [run for lane in lanes.lanes(tmp_path) for run in lane]
    assert [run.name for run in runs if "tests/novel" in run.arguments] == ["real"]
    assert not any("tests/unit" in run.arguments for run in runs)


def test_lanes_do_not_share_a_folder_of_servers() -> None:
    folders = [{run.folder for run in lane} for lane in lanes.lanes(TESTS)]
    assert not set.intersection(*folders)


def test_a_failed_run_fails_the_whole_and_its_failures_are_repeated_in_the_summary(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "print('== short test summary info =='); print('FAILED tests/x.py::test_y'); raise SystemExit(1)"
    monkeypatch.setattr(Run, "command", lambda run: [sys.executable, "-c", *run.arguments])
    bad = lanes.perform(Run("bad", [code]), tmp_path)
    good = lanes.perform(Run("good", ["print('2 passed')"]), tmp_path)
    assert (bad.code, good.code) == (1, 0)
    assert "[bad] FAILED tests/x.py::test_y" in capsys.readouterr().out
    assert "FAILED" in (tmp_path / "bad.log").read_text()
    assert lanes.report([good, bad]) == 1
    summary = capsys.readouterr().out
    assert "good: passed" in summary
    assert "bad: FAILED (exit code 1)" in summary
    assert "    FAILED tests/x.py::test_y" in summary
    assert lanes.report([good]) == 0


def test_a_run_that_cannot_start_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def command(_run: Run) -> list[str]:
        raise lanes.BuildError("there is no Python 3.13")

    monkeypatch.setattr(Run, "command", command)
    outcome: Outcome = lanes.perform(Run("x", []), tmp_path)
    assert (outcome.code, outcome.summary) == (1, ["there is no Python 3.13"])
