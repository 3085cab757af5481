"""`make test` runs every test, in lanes that share nothing, and fails if one of them does."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import pytest

from realparts import lanes
from realparts.lanes import Outcome, Run

TESTS = Path(__file__).resolve().parents[1]


def covers(run: Run, file: Path) -> bool:
    """Whether pytest collects the file by the run's arguments."""
    name = f"tests/{file.relative_to(TESTS)}"
    named = any(
        name == argument or name.startswith(f"{argument}/")
        for argument in run.arguments
        if not argument.startswith("-")
    )
    return named and f"--ignore={name}" not in run.arguments


def test_each_file_of_tests_is_run_once_on_this_python() -> None:
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


def test_a_coverage_that_is_too_low_is_printed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    verdict = "FAIL Required test coverage of 95% not reached. Total coverage: 94.10%"
    monkeypatch.setattr(Run, "command", lambda run: [sys.executable, "-c", *run.arguments])
    code = (
        f"print({verdict!r}); print('== short test summary info =='); print('2 passed'); raise SystemExit(1)"
    )
    assert lanes.perform(Run("low", [code]), tmp_path).summary == [verdict, "2 passed"]


def test_a_folder_that_is_new_belongs_to_a_lane(tmp_path: Path) -> None:
    for name in ("real", "novel", "unit"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "test_it.py").touch()
    runs = [run for lane in lanes.lanes(tmp_path) for run in lane]
    assert [run.name for run in runs if "tests/novel" in run.arguments] == ["real"]
    assert not any("tests/unit" in run.arguments for run in runs)


def test_no_two_lanes_share_the_folder_of_their_servers() -> None:
    folders = [{run.folder for run in lane} for lane in lanes.lanes(TESTS)]
    assert not set.intersection(*folders)


def test_a_run_that_fails_fails_all_and_its_failures_are_printed_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "print('== short test summary info =='); print('FAILED tests/x.py::test_y'); raise SystemExit(1)"
    monkeypatch.setattr(Run, "command", lambda run: [sys.executable, "-c", *run.arguments])
    bad = lanes.perform(Run("bad", [code]), tmp_path)
    good = lanes.perform(Run("good", ["print('2 passed')"]), tmp_path)
    assert (bad.code, good.code) == (1, 0)
    assert "[bad] FAILED tests/x.py::test_y" in capsys.readouterr().out
    assert "FAILED" in (tmp_path / "bad.log").read_text()
    assert lanes.tell([good, bad]) == 1
    told = capsys.readouterr().out
    assert "good: passed" in told
    assert "bad: FAILED (exit code 1)" in told
    assert "    FAILED tests/x.py::test_y" in told
    assert lanes.tell([good]) == 0


def test_a_run_that_can_not_start_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def command(_run: Run) -> list[str]:
        raise lanes.BuildError("there is no Python 3.13")

    monkeypatch.setattr(Run, "command", command)
    outcome: Outcome = lanes.perform(Run("x", []), tmp_path)
    assert (outcome.code, outcome.summary) == (1, ["there is no Python 3.13"])
