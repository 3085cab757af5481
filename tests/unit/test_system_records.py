"""Several token servers write the same documents of the system registry at the same time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from fakes.key_value import FakeKeyValue

from regcred.errors import TransientError
from regcred.vault.records.system import EndedLogins
from regcred.vault.system import SystemRecords, ended_path

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
UNTIL = NOW + timedelta(hours=1)


@pytest.fixture
def kv() -> FakeKeyValue:
    return FakeKeyValue()


def deny(identifier: str):
    def change(old: EndedLogins) -> EndedLogins:
        return old.deny(identifier, UNTIL, now=NOW)

    return change


def before_the_version(kv: FakeKeyValue, act) -> None:
    """Let another server act after the first read, and before the version is read."""

    def wait(operation: str) -> None:
        if operation == "version":
            kv.wait = lambda _: None
            act(SystemRecords(kv))

    kv.wait = wait


def test_an_identity_token_that_another_server_accepts_in_between_is_not_accepted_again(
    kv: FakeKeyValue,
) -> None:
    accepted = []
    before_the_version(
        kv, lambda other: accepted.append(other.remember_once("payments", "d1", until=9, now=1))
    )
    accepted.append(SystemRecords(kv).remember_once("payments", "d1", until=9, now=1))
    assert accepted == [True, False]


def test_a_login_that_another_server_ends_in_between_stays_ended(kv: FakeKeyValue) -> None:
    before_the_version(kv, lambda other: other.change_ended("payments", deny("theirs")))
    SystemRecords(kv).change_ended("payments", deny("ours"))
    assert set(SystemRecords(kv).ended("payments").denied) == {"ours", "theirs"}


def test_a_change_that_other_servers_prevent_each_time_can_be_tried_again(kv: FakeKeyValue) -> None:
    def wait(operation: str) -> None:
        if operation == "write":
            kv.put(ended_path("payments"), EndedLogins().fields())

    kv.wait = wait
    with pytest.raises(TransientError, match="try again"):
        SystemRecords(kv).change_ended("payments", deny("ours"))
