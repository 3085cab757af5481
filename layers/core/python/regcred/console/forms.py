"""Parses the body of a form, with limits on its size and on the number of its fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from starlette.requests import Request

BODY_MAX = 128 * 1024
"""The maximum size of a request's body in bytes. It is enough for a pasted manifest."""

FIELDS_MAX = 500
"""The maximum number of fields in one form."""


class FormTooLargeError(Exception):
    """The body is longer than any form of the console."""


class BadFormError(Exception):
    """The body is not what a browser sends for a form."""


@dataclass(frozen=True, slots=True)
class Form:
    """The fields of a form, in order. They may contain secrets, so ``repr`` leaves them out."""

    fields: Sequence[tuple[str, str]] = field(default=(), repr=False)

    def get(self, name: str, default: str = "") -> str:
        """The first value of a field, without white space at the ends."""
        return next((value.strip() for key, value in self.fields if key == name), default)

    def whole(self, name: str) -> str:
        """The first value of a field, unchanged."""
        return next((value for key, value in self.fields if key == name), "")

    def all(self, name: str) -> list[str]:
        """All values of a field."""
        return [value.strip() for key, value in self.fields if key == name and value.strip()]

    def has(self, name: str) -> bool:
        """Whether a field was sent."""
        return any(key == name for key, _ in self.fields)

    def typed(self, *, without: Sequence[str] = ()) -> list[tuple[str, str]]:
        """The input to show again, without secrets and the form's own fields."""
        return [
            (key, value)
            for key, value in self.fields
            if key not in {"csrf", *without} and not key.startswith(SECRET) and key != "password"
        ]


SECRET = "secret."  # noqa: S105 - a prefix of names
"""The prefix of fields whose values are never sent back."""


async def read(request: Request) -> Form:
    """Read the body of a form.

    Raises:
        FormTooLargeError: The body is too long. It was not read completely.
        BadFormError: It is not a form.
    """
    if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        raise BadFormError
    size, parts = 0, []
    async for part in request.stream():
        size += len(part)
        if size > BODY_MAX:
            raise FormTooLargeError
        parts.append(part)
    try:
        pairs = parse_qsl(
            b"".join(parts).decode("ascii"),
            keep_blank_values=True,
            strict_parsing=size > 0,
            errors="strict",
            max_num_fields=FIELDS_MAX,
        )
    except ValueError:
        raise BadFormError from None
    if any("\x00" in key or "\x00" in value for key, value in pairs):
        raise BadFormError
    return Form([(key, value.replace("\r\n", "\n")) for key, value in pairs])


def from_mapping(values: Mapping[str, str]) -> Form:
    """A form with these fields."""
    return Form(list(values.items()))
