"""Text for people: problems with fields (instead of pydantic's texts), durations and counts. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

_LIST = "must be a list, as in [a, b], even for one item"
_MAPPING = "must be a mapping, as in {{name: value}}"
_NUMBER = "must be a number"
_TIME = "must be a time with its zone, as in 2026-01-31T12:00:00Z"
_WHOLE = "must be a whole number"
_YES_OR_NO = "must be true or false"

_WORDS = {
    "missing": "is missing",
    "extra_forbidden": "is not a field of this document; correct its name, or remove it",
    "json_invalid": "is not valid JSON ({error}); write it again",
    "model_type": _MAPPING,
    "dict_type": _MAPPING,
    "list_type": _LIST,
    "tuple_type": _LIST,
    "string_type": "must be a string; put a number in quotes",
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_from_float": _WHOLE,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "bool_type": _YES_OR_NO,
    "bool_parsing": _YES_OR_NO,
    "enum": "must be {expected}",
    "literal_error": "must be {expected}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "too_short": "must contain at least {min_length}",
    "string_pattern_mismatch": "must match {pattern}",
    "datetime_type": _TIME,
    "datetime_parsing": _TIME,
    "datetime_from_date_parsing": _TIME,
    "timezone_aware": _TIME,
}
"""Texts by pydantic's error type. Values in braces come from the model, never from the input."""


def without_brackets(words: str) -> str:
    """Write the example of a help text, such as ``[a, b]``, as items: ``a and b``. The user types no list."""
    return re.sub(r"\[([^\]]*)\]", lambda found: found[1].replace(", ", " and "), words)


def problem_text(item: Mapping[str, Any]) -> str:
    """Explain a problem of a field: what is wrong, and what to write instead.

    Args:
        item: One of ``ValidationError.errors()``, with its context. The text of our own validators is used
            unchanged.
    """
    if item["type"] == "value_error":
        return str(item["ctx"]["error"])
    words = _WORDS.get(item["type"])
    if words is None:
        return str(item["msg"])
    return words.format_map(item.get("ctx", {}))


_UNITS = (
    ("d", timedelta(days=1)),
    ("h", timedelta(hours=1)),
    ("m", timedelta(minutes=1)),
    ("s", timedelta(seconds=1)),
)


def duration(span: timedelta) -> str:
    """A duration in its two largest units (``5h 12m``). The sign is ignored."""
    rest = abs(span)
    parts: list[str] = []
    for unit, size in _UNITS:
        count, rest = divmod(rest, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count}{unit}")
        elif parts:
            break
    return " ".join(parts[:2])


def expires_in(expires_at: datetime | None, now: datetime) -> str:
    """The remaining life of a credential; ``never`` for a static one."""
    if expires_at is None:
        return "never"
    if expires_at <= now:
        return f"expired {duration(now - expires_at)} ago"
    return duration(expires_at - now)


def plural(count: int, noun: str) -> str:
    """``1 namespace``, ``2 namespaces``, ``0 registries``."""
    if count == 1:
        return f"1 {noun}"
    return f"{count} {noun[:-1]}ies" if noun.endswith("y") else f"{count} {noun}s"
