"""Decides which versions of Regcred's parts work together, and which part must be upgraded. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from regcred.printable import printable

_NUMBER = re.compile(r"(\d{1,6})\.(\d{1,6})(?:\.|$)")
_SHOWN = 40


@dataclass(frozen=True, slots=True)
class VersionNote:
    """A part whose version differs from that of this command line."""

    text: str
    is_supported: bool
    """Whether the two versions work together."""


def is_supported(one: str, other: str) -> bool:
    """Whether parts of two versions work together: they differ by at most one minor version.

    Args:
        one: a version, as in 1.4.2.
        other: another version. A text that is not a version is not supported.
    """
    first, second = _NUMBER.match(one), _NUMBER.match(other)
    if not first or not second:
        return False
    return first[1] == second[1] and abs(int(first[2]) - int(second[2])) <= 1


def version_note(part: str, version: str, own: str) -> VersionNote | None:
    """A note about a part's version; None if it is the same, or if the part has not reported one.

    Args:
        part: the part in words, as in "sync".
        version: the version that it wrote to Vault.
        own: the version of this command line.
    """
    if version in ("", own):
        return None
    shown = printable(version)[:_SHOWN]
    if not is_supported(version, own):
        text = f"{part} has version {shown}, and this command line has {own}: they are not supported together"
        return VersionNote(f"{text}. Upgrade the older one; versions may differ by one minor version", False)
    order = "older" if _order(version) < _order(own) else "newer"
    return VersionNote(
        f"{part} is {order}: it has version {shown}, and this command line has {own} (supported)", True
    )


def _order(version: str) -> tuple[int, ...]:
    return tuple(int(part[:6]) for part in re.findall(r"\d+", version)[:3])
