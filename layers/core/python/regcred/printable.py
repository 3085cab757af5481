"""Makes untrusted text safe to show on a terminal, and quotes commands for people to paste. Pure."""

from __future__ import annotations

import shlex

_INVISIBLE = frozenset(
    {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0}
    | set(range(0x180B, 0x1810))
    | set(range(0xFE00, 0xFE10))
    | set(range(0xE0100, 0xE01F0))
)
"""Invisible characters that Unicode classifies as letters, marks or symbols.

They are the characters with the property Default_Ignorable_Code_Point (https://www.unicode.org/reports/tr44/)
that ``str.isprintable`` accepts, and the blank Braille pattern.
"""


def printable(text: str) -> str:
    r"""The text as one line that can't control a terminal or disguise its content.

    Line ends and tabs become spaces. Other control characters, formatting characters (direction, zero width)
    and invisible characters become escapes such as ``\x1b`` or ``\u202e``.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_shown, text))


def printable_lines(text: str) -> str:
    """Apply :func:`printable` to each line. The newlines stay."""
    return "\n".join(map(printable, text.split("\n")))


def is_plain(text: str) -> bool:
    """Whether :func:`printable_lines` leaves a text unchanged."""
    return printable_lines(text) == text


def _shown(character: str) -> str:
    if character.isprintable() and ord(character) not in _INVISIBLE:
        return character
    if character.isspace():
        return " "
    return ascii(character)[1:-1]


def command(*words: str) -> str:
    """A shell command to paste. Words with characters that are special to the shell are quoted."""
    return shlex.join(map(printable, words))
