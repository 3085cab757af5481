"""What is wrong with a field, in the project's words instead of pydantic's. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_LIST = "must be a list, as in [a, b], also for one"
_MAPPING = "must be a mapping, as in {{name: value}}"
_TIME = "must be a time with its zone, as in 2026-01-31T12:00:00Z"
_WHOLE = "must be a whole number"
_YES_OR_NO = "must be true or false"

_WORDS = {
    "missing": "is missing",
    "extra_forbidden": "is no field of this document; correct its name, or take it out",
    "json_invalid": "is no JSON ({error}); write it again",
    "model_type": _MAPPING,
    "dict_type": _MAPPING,
    "list_type": _LIST,
    "tuple_type": _LIST,
    "string_type": "must be a text; put a number in quotes",
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_from_float": _WHOLE,
    "bool_type": _YES_OR_NO,
    "bool_parsing": _YES_OR_NO,
    "enum": "must be {expected}",
    "literal_error": "must be {expected}",
    "greater_than_equal": "must be {ge} at least",
    "less_than_equal": "must be {le} at most",
    "too_short": "must hold {min_length} at least",
    "string_pattern_mismatch": "must match {pattern}",
    "datetime_type": _TIME,
    "datetime_parsing": _TIME,
    "datetime_from_date_parsing": _TIME,
    "timezone_aware": _TIME,
}
"""By pydantic's type of an error; what stands in braces is the model's, never what was given."""


def worded(item: Mapping[str, Any]) -> str:
    """What is wrong, and what to write instead.

    Args:
        item: One of ``ValidationError.errors()``, with its context. One that our own validators raised speaks for itself.
    """
    words = _WORDS.get(item["type"])
    if words is None:
        return str(item["msg"]).removeprefix("Value error, ")
    return words.format_map(item.get("ctx", {}))
