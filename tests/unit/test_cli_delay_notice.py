"""The command line says which server it waits for, and which kubeconfig is missing."""

from __future__ import annotations

import contextlib
import os
import re
import time
from pathlib import Path

import pytest

from regcred.cli.app import run
from regcred.cli.delay_notice import reporting_delay


def test_a_quick_answer_prints_no_message(capsys: pytest.CaptureFixture[str]) -> None:
    with reporting_delay("Vault", first=30):
        pass
    assert capsys.readouterr().err == ""


def test_a_slow_answer_prints_a_message_repeatedly(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with reporting_delay("Vault at https://vault.example.com", first=0.02, every=0.02):
        time.sleep(0.5)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) > 2
    assert re.fullmatch(
        r"still waiting for Vault at https://vault.example.com after \d+ s \(Ctrl-C stops the command\)",
        lines[0],
    )


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["nope"], "nope is missing"),
        (["nope", "gone"], "gone is missing"),
        (["."], "is a folder"),
    ],
)
def test_an_error_about_an_unreadable_kubeconfig_names_it(
    names: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("KUBECONFIG", os.pathsep.join(str(tmp_path / name) for name in names))
    assert run(["explain", "pod", "x"]) == 2
    assert f"{tmp_path}" in (shown := capsys.readouterr().err)
    assert message in shown


def test_an_error_about_a_missing_default_kubeconfig_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert run(["explain", "pod", "x"]) == 2
    assert f"{tmp_path}/.kube/config is missing" in capsys.readouterr().err


def test_many_requests_that_wait_for_one_server_print_one_message(capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.ExitStack() as requests:
        for _ in range(50):
            requests.enter_context(reporting_delay("Vault", first=0.05, every=60))
        deadline = time.monotonic() + 10
        while not (output := capsys.readouterr().err) and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.2)
        output += capsys.readouterr().err
    assert len(output.splitlines()) == 1
