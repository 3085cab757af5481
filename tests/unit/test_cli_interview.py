"""``registry add`` at a terminal: it refuses a wrong answer at once and keeps the other answers."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from fakes.key_value import FakeKeyValue

from regcred.cli.app import run
from regcred.cli.session import CliSession
from regcred.registry_reference import Reference
from regcred.vault.records.declared import ProjectPolicy
from regcred.vault.store import Store

REFERENCE = Reference("payments", "main")
Interview = Callable[..., tuple[int, str, dict[str, object]]]


@pytest.fixture
def interview(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path) -> Interview:
    """Answer the questions in turn; returns the exit code, the output and the written definition."""
    secret = tmp_path / "secret.json"
    secret.write_text('{"username": "puller", "password": "x"}')
    secret.chmod(0o600)

    def answer(*answers: str, project: ProjectPolicy | None = None) -> tuple[int, str, dict[str, object]]:
        store = Store(FakeKeyValue())
        if project:
            store.write_project("payments", project, cas=0)
        stdin = io.StringIO("".join(f"{line}\n" for line in answers))
        monkeypatch.setattr(stdin, "isatty", lambda: True, raising=False)
        monkeypatch.setattr("sys.stdin", stdin)
        monkeypatch.setattr("sys.stderr.isatty", lambda: True)
        line = ["registry", "add", str(REFERENCE), "--no-wait", "--secret-file", str(secret)]
        code = run(line, CliSession(open_store=lambda: store, nudge=lambda _: False))
        captured = capsys.readouterr()
        found = store.definition(REFERENCE)
        return code, captured.out + captured.err, found.value.content() if found else {}

    return answer


def test_a_missing_project_is_reported_before_the_first_question(interview: Interview) -> None:
    code, shown, _ = interview()
    assert code == 3
    assert "there is no project payments" in shown
    assert "Choose the kind of registry" not in shown


def test_a_host_that_is_not_allowed_is_refused_at_its_question(interview: Interview) -> None:
    code, shown, written = interview(
        "basic",
        "elsewhere.example.com",
        "registry.example.com",
        "n",
        project=ProjectPolicy(hosts=["registry.example.com"]),
    )
    assert code == 0, shown
    assert "host elsewhere.example.com is not allowed for this project" in shown
    assert written["hosts"] == ["registry.example.com"]


def test_a_server_that_is_not_allowed_is_refused_at_its_question(interview: Interview) -> None:
    _, shown, _ = interview(
        "harbor", "elsewhere.example.com", project=ProjectPolicy(hosts=["registry.example.com"])
    )
    assert "host elsewhere.example.com is not allowed" in shown


def test_an_account_that_is_not_allowed_is_refused_at_its_question(interview: Interview) -> None:
    tenant = "11111111-2222-3333-4444-555555555555"
    _, shown, _ = interview(
        "acr",
        "example.azurecr.io",
        "",
        tenant,
        project=ProjectPolicy(hosts=["*.azurecr.io"], accounts=["444455556666"]),
    )
    assert f"account {tenant} is not allowed" in shown


def test_an_error_in_the_combination_of_answers_keeps_the_answers(interview: Interview) -> None:
    """The project may use one path of the host only, so each answer alone is valid."""
    policy = ProjectPolicy(hosts=["registry.example.com"], paths={"registry.example.com": ["team"]})
    code, shown, written = interview(
        "basic", "registry.example.com", "n", "repositories", "team/", project=policy
    )
    assert code == 0, shown
    assert "may use only team" in shown
    assert "field to change" in shown
    assert (written["hosts"], written["repositories"]) == (["registry.example.com"], ["team/"])
    assert shown.count("Choose the kind of registry") == 1


def test_enter_keeps_the_value_of_a_field_in_a_second_round(interview: Interview) -> None:
    policy = ProjectPolicy(hosts=["registry.example.com"], paths={"registry.example.com": ["team"]})
    code, shown, written = interview(
        "basic",
        "registry.example.com",
        "n",
        "hosts",
        "",
        "repositories",
        "other/",
        "repositories",
        "team/app",
        project=policy,
    )
    assert code == 0, shown
    assert written["repositories"] == ["team/app"]
    assert written["hosts"] == ["registry.example.com"]
