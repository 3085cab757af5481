"""Foreign text on a terminal, and commands that people paste. Pure."""

from __future__ import annotations

import shlex

_INVISIBLE = frozenset(
    {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0}
    | set(range(0x180B, 0x1810))
    | set(range(0xFE00, 0xFE10))
    | set(range(0xE0100, 0xE01F0))
)
"""Characters that Unicode calls letters, marks or symbols and that leave nothing to see.

They are those with the property Default_Ignorable_Code_Point (https://www.unicode.org/reports/tr44/) that
``str.isprintable`` lets pass, and the blank Braille pattern.
"""


def printable(text: str) -> str:
    r"""One line that can't steer a terminal or look like something else.

    Line ends and tabs become spaces. Other control, formatting (direction, zero width) and invisible
    characters become the escape that names them, such as ``\x1b`` or ``\u202e``.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_shown, text))


def printable_lines(text: str) -> str:
    r"""Several lines, each as by :func:`printable`. The newlines stay."""
    return "\n".join(map(printable, text.split("\n")))


def is_plain(text: str) -> bool:
    """Whether nothing in a text of several lines has to be escaped."""
    return printable_lines(text) == text


def _shown(character: str) -> str:
    if character.isprintable() and ord(character) not in _INVISIBLE:
        return character
    if character.isspace():
        return " "
    return ascii(character)[1:-1]


def command(*words: str) -> str:
    """A command to paste: each word is quoted where a shell would read more than the word in it."""
    return shlex.join(map(printable, words))
