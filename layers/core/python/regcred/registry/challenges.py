"""Parses ``WWW-Authenticate`` (RFC 9110, section 11.6.1) in one pass, with a limit on its length. Pure.

One header may contain several challenges, and several headers are joined by commas. So a comma may end a
parameter or a challenge. If ``=`` follows the next name, that name is a parameter; otherwise it is a scheme.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from string import ascii_letters, digits

HEADER_MAX = 16 * 1024
"""The maximum number of characters to read. The rest is ignored."""

CHALLENGES_MAX = 16
PARAMETERS_MAX = 32

_TOKEN = frozenset(ascii_letters + digits + "!#$%&'*+-.^_`|~")
_TOKEN68 = _TOKEN | {"/"}
_SPACE = frozenset(" \t")


@dataclass(frozen=True, slots=True)
class Challenge:
    """A challenge: a scheme such as ``basic`` or ``bearer`` in lower case, and its parameters."""

    scheme: str
    parameters: dict[str, str] = field(default_factory=dict)
    """By name in lower case. If a name occurs several times, the first one counts."""

    @property
    def realm(self) -> str:
        """The token service's address for Bearer; a text for people for Basic."""
        return self.parameters.get("realm", "")

    @property
    def service(self) -> str:
        """The registry's name at its token service."""
        return self.parameters.get("service", "")


def parse(header: str) -> list[Challenge]:
    """All challenges of a header, in order. Unreadable ones are skipped.

    Args:
        header: The value, or the values of several headers joined by commas.
    """
    text = _Cursor(header[:HEADER_MAX])
    found: list[Challenge] = []
    found_scheme = False  # whether the last item was a scheme, without a comma since then
    while not text.ended:
        if text.skip_separators():
            found_scheme = False
        name = text.take(_TOKEN68)
        if not name:
            text.pass_over()
        elif text.take_equals():
            value = text.take_value()
            if found and len(found[-1].parameters) < PARAMETERS_MAX:
                found[-1].parameters.setdefault(name.lower(), value)
            found_scheme = False
        elif not found_scheme:  # otherwise it is the token that some schemes have instead of parameters
            if len(found) == CHALLENGES_MAX:
                break
            found.append(Challenge(name.lower()))
            found_scheme = True
    return found


class _Cursor:
    """A text that is read forwards only."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.position = 0

    @property
    def ended(self) -> bool:
        return self.position >= len(self._text)

    def _next(self) -> str:
        return self._text[self.position] if not self.ended else ""

    def take(self, characters: frozenset[str]) -> str:
        start = self.position
        while self._next() in characters and not self.ended:
            self.position += 1
        return self._text[start : self.position]

    def skip_separators(self) -> bool:
        """Skip white space and commas. Return whether there was a comma, or this is the start."""
        began = self.position == 0
        return "," in self.take(_SPACE | {","}) or began

    def take_equals(self) -> bool:
        """Skip white space. If an ``=`` follows, skip it and the white space after it."""
        self.take(_SPACE)
        if self._next() != "=":
            return False
        self.position += 1
        self.take(_SPACE)
        return True

    def pass_over(self) -> None:
        """Skip what is neither a name nor a separator: one character, or a quoted text."""
        if self._next() == '"':
            self.take_value()
        else:
            self.position += 1

    def take_value(self) -> str:
        if self._next() == '"':
            self.position += 1
            return "".join(self._quoted())
        start = self.position
        # More characters than a token allows, because some servers send addresses without quotes.
        while not self.ended and self._next() not in ', \t"':
            self.position += 1
        return self._text[start : self.position]

    def _quoted(self) -> Iterator[str]:
        while not self.ended:
            character = self._next()
            self.position += 1
            if character == '"':
                return
            if character == "\\" and not self.ended:
                character = self._next()
                self.position += 1
            yield character
