"""Commands in the messages of sync can be pasted into a shell: each name is quoted as one word."""

from __future__ import annotations

import shlex

import pytest

from regcred.cluster.model import Mode
from regcred.registry_reference import Reference
from regcred.sync.messages import Why, mode_not_allowed, refusal, restart_needed

EVIL = "x; touch /tmp/evil"
REF = Reference("payments", "main")


def words(text: str, command: str) -> list[str]:
    """The words that a shell reads in the text from a command on."""
    return shlex.split(text[text.index(command) :])


@pytest.mark.parametrize(
    ("text", "command"),
    [
        (refusal(Why.NOT_GRANTED, REF, EVIL, cluster="c1"), "regcred grant add"),
        (refusal(Why.NOT_GRANTED, REF, "prod", cluster=EVIL), "regcred grant add"),
        (restart_needed("Deployment", "app", EVIL), "kubectl -n"),
        (mode_not_allowed(Mode.SERVICEACCOUNT, EVIL, cluster="c1", usual=Mode.ADMISSION), "kubectl label"),
    ],
    ids=["namespace to grant", "cluster", "namespace to restart in", "namespace to label"],
)
def test_a_name_with_a_command_in_it_is_quoted_as_one_word(text: str, command: str) -> None:
    assert EVIL in words(text, command)


def test_a_workload_name_with_a_command_in_it_is_quoted_as_one_word() -> None:
    assert f"deployment/{EVIL}" in words(restart_needed("Deployment", EVIL, "prod"), "kubectl -n")


def test_plain_names_are_not_quoted() -> None:
    message = refusal(Why.NOT_GRANTED, REF, "prod", cluster="c1")
    assert message.endswith("regcred grant add --cluster c1 payments prod")
    assert "kubectl -n prod rollout restart deployment/app" in restart_needed("Deployment", "app", "prod")
