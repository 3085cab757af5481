"""Which versions work together: N and N-1, whichever part is older."""

from __future__ import annotations

import pytest

from regcred.views.versions import is_supported, version_note


@pytest.mark.parametrize(
    ("one", "other", "supported"),
    [
        ("1.4.0", "1.4.9", True),
        ("1.4.0", "1.5.0", True),
        ("1.4.0", "1.6.0", False),
        ("1.9.0", "1.10.0", True),
        ("1.9.0", "2.0.0", False),
        ("1.4.0rc1", "1.4.0", True),
        ("1.4", "1.5.1", True),
        ("", "1.4.0", False),
        ("latest", "1.4.0", False),
        ("1", "1.0.0", False),
    ],
)
def test_versions_that_differ_by_one_minor_version_work_together(
    one: str, other: str, *, supported: bool
) -> None:
    assert is_supported(one, other) is supported
    assert is_supported(other, one) is supported


def test_a_note_names_the_part_that_is_older_or_newer() -> None:
    behind, ahead = version_note("sync", "1.3.9", "1.4.0"), version_note("rotate", "1.10.0", "1.9.0")
    assert behind
    assert ahead
    assert behind.text.startswith("sync is older: it has version 1.3.9")
    assert ahead.text.startswith("rotate is newer: it has version 1.10.0")
    assert version_note("sync", "1.4.0", "1.4.0") is None
    assert version_note("sync", "", "1.4.0") is None


def test_a_hostile_version_is_shown_short_and_printable() -> None:
    """A cluster writes its own status, so the version in it can be any text."""
    note = version_note("sync", "\x1b[31m" + "9" * 100_000, "1.4.0")
    assert note
    assert not note.is_supported
    assert "\x1b" not in note.text
    assert len(note.text) < 250
