"""The reference ``<project>/<registry>``: how a workload names a registry."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from weakref import WeakValueDictionary

from regcred.errors import MalformedError

LABEL_MAX = 63
"""The maximum length of a DNS label in characters (RFC 1123, section 2.1)."""

_CONTROLS = {"\t": "TAB", "\n": "LINE FEED", "\r": "CARRIAGE RETURN"}
"""The names of control characters, because Unicode has none. The admission policy uses the same names."""

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


def is_label(value: str) -> bool:
    """Whether a text is a DNS label (RFC 1123)."""
    return len(value) <= LABEL_MAX and _LABEL.fullmatch(value) is not None


def check_label(value: str, *, field: str) -> str:
    """Return ``value`` if it is a DNS label (RFC 1123).

    Args:
        value: The name of a project, registry or cluster.
        field: What the value is, for the error text.

    Raises:
        MalformedError: It is not a DNS label. The text names the broken rule.
    """
    if is_label(value):
        return value
    if not value:
        reason = "is empty"
    elif lookalike := _lookalike(value):
        reason = f"contains {lookalike}; only a-z, 0-9 and '-' are allowed"
    elif len(value) > LABEL_MAX:
        reason = f"has {len(value)} characters; {LABEL_MAX} are allowed"
    elif value != value.lower():
        reason = "has capital letters; use lower case"
    elif value[0] == "-" or value[-1] == "-":
        reason = "starts or ends with '-'"
    else:
        reason = "may contain only a-z, 0-9 and '-'"
    raise MalformedError(f"{field} {value[:80]!r} {reason}", field=field)


def _lookalike(value: str) -> str:
    """Describe the first character that is not printable ASCII, because it may look like an allowed one."""
    for char in value[: 2 * LABEL_MAX + 2]:
        if not " " <= char <= "~":
            name = _CONTROLS.get(char) or unicodedata.name(char, "")
            return f"U+{ord(char):04X} {name}".rstrip()
    return ""


@dataclass(frozen=True, order=True, slots=True, weakref_slot=True)
class Reference:
    """A registry of a project. Sorts by project, then registry; both are DNS labels."""

    project: str
    registry: str

    def __post_init__(self) -> None:
        check_label(self.project, field="project")
        check_label(self.registry, field="registry")

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Parse ``<project>/<registry>``. Equal texts share one object while it is in use.

        Args:
            text: The annotation's value or a command's argument. Surrounding white space is refused, not
                trimmed.

        Raises:
            MalformedError: It has another form. The text says why, and shows the right form.
        """
        if known := _KNOWN.get(text):
            return known
        new = cls._read(text)
        _KNOWN[text] = new
        return new

    @classmethod
    def _read(cls, text: str) -> Reference:
        if text.count("/") != 1:
            lookalike = _lookalike(text)
            raise MalformedError(
                f"reference {text[:140]!r} is not of the form <project>/<registry>, as in payments/ecr-prod"
                + (f"; it contains {lookalike}" if lookalike else ""),
                field="reference",
            )
        try:
            return cls(*text.split("/"))
        except MalformedError as error:
            raise MalformedError(
                f"reference {text[:140]!r}: {error}; write <project>/<registry>, as in payments/ecr-prod",
                field="reference",
            ) from None

    @property
    def secret_name(self) -> str:
        """The name of the Secret with this registry's credential in a namespace."""
        return f"regcred.{self.project}.{self.registry}"

    def __str__(self) -> str:
        return f"{self.project}/{self.registry}"


_KNOWN: WeakValueDictionary[str, Reference] = WeakValueDictionary()
"""The references in use, by text. Equal references share one object, and unused ones take no memory."""
