"""Reads what a server asks for in ``WWW-Authenticate`` (RFC 9110, section 11.6.1), in one pass and to a limit. Pure.

One header may hold several challenges, and several headers are joined by commas, so a comma may end a parameter or a
challenge: what follows is a parameter if ``=`` comes after it, and the name of a scheme if not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from string import ascii_letters, digits

HEADER_MAX = 16 * 1024
"""The most characters that are read; what is cut off is as if it had not been sent."""

CHALLENGES_MAX = 16
PARAMETERS_MAX = 32

_TOKEN = frozenset(ascii_letters + digits + "!#$%&'*+-.^_`|~")
_TOKEN68 = _TOKEN | {"/"}
_SPACE = frozenset(" \t")


@dataclass(frozen=True, slots=True)
class Challenge:
    """What a server asks for: a scheme such as ``basic`` or ``bearer`` in lower case, and its parameters."""

    scheme: str
    parameters: dict[str, str] = field(default_factory=dict)
    """By name in lower case; of several with one name the first."""

    @property
    def realm(self) -> str:
        """The token service's address for Bearer; for Basic a text for people."""
        return self.parameters.get("realm", "")

    @property
    def service(self) -> str:
        """What a token service calls the registry."""
        return self.parameters.get("service", "")


def parse(header: str) -> list[Challenge]:
    """All challenges of a header, in their order; what can't be read is passed over.

    Args:
        header: The value, or those of several headers joined by commas.
    """
    text = _Text(header[:HEADER_MAX])
    found: list[Challenge] = []
    found_scheme = False  # whether the last that was read is a scheme, and no comma came since
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
        elif not found_scheme:  # else it is the one token that some schemes have instead of parameters
            if len(found) == CHALLENGES_MAX:
                break
            found.append(Challenge(name.lower()))
            found_scheme = True
    return found


class _Text:
    """A text that is read from its beginning to its end, never back."""

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
        """Pass over white space and commas; whether there was a comma, or it is the beginning."""
        began = self.position == 0
        return "," in self.take(_SPACE | {","}) or began

    def take_equals(self) -> bool:
        """Pass over white space, and an ``=`` and what is around it if one comes."""
        self.take(_SPACE)
        if self._next() != "=":
            return False
        self.position += 1
        self.take(_SPACE)
        return True

    def pass_over(self) -> None:
        """Leave out what is neither a name nor a separator: one character, or a quoted text."""
        if self._next() == '"':
            self.take_value()
        else:
            self.position += 1

    def take_value(self) -> str:
        if self._next() == '"':
            self.position += 1
            return "".join(self._quoted())
        start = self.position
        while (
            not self.ended and self._next() not in ', \t"'
        ):  # more than a token may hold: addresses come unquoted, too
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
