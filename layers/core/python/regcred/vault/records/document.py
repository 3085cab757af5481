"""The common part of the mount's documents: one JSON text in one field, parsed into a model.

OpenBao refuses secrets with more than 500 keys. Audit logs hash strings, but show numbers and key names. Only
the credential and the upstream secret have another form.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from regcred.errors import MalformedError
from regcred.tracing import DROP_IF_WRONG
from regcred.wording import problem_text

DOCUMENT = "document"
"""The only field of a JSON document."""


PROBLEMS_MAX = 5
"""How many wrong fields of one document an error names. A document can have any number of them."""

FIELD_MAX = 80
"""How many characters of a field's name are shown."""

MESSAGE_MAX = 300
"""The maximum length of the message about one wrong field, in characters."""


def matching(pattern: str, what: str) -> AfterValidator:
    """Marks a string that must match a pattern.

    Args:
        pattern: A regular expression for the whole text.
        what: What the value must be, for the error text.
    """
    form = re.compile(pattern)

    def check(value: str) -> str:
        if not form.fullmatch(value):
            raise ValueError(f"is not {what}")
        return value

    return AfterValidator(check)


Label = Annotated[
    str,
    matching(
        r"(?=.{1,63}\Z)[a-z0-9]([-a-z0-9]*[a-z0-9])?", "a name: write a-z, 0-9 and '-', at most 63 characters"
    ),
]


Traceparent = Annotated[str, DROP_IF_WRONG]
"""What joins a trace (:mod:`regcred.tracing`). It is only written while tracing is on."""


class Record(BaseModel):
    """A JSON document that Regcred writes.

    Unknown fields are ignored, so that the writer can be upgraded before its readers.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    @classmethod
    def parse(cls, fields: Mapping[str, str], *, path: str) -> Self:
        """Read a record from a document's fields.

        Args:
            fields: The fields from Vault.
            path: The document's path, for the error text.

        Raises:
            MalformedError: names the field and its error, never its value.
        """
        text = fields.get(DOCUMENT)
        if text is None:
            raise MalformedError(
                f"{path}: the field {DOCUMENT!r} with a JSON text is missing", field=DOCUMENT
            )
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise malformed(error, where=path) from None

    def fields(self) -> dict[str, str]:
        """The document to write. Default values are left out to keep large documents small."""
        return {DOCUMENT: self.model_dump_json(exclude_defaults=True)}


class Declared(Record):
    """A JSON document that people write.

    Unknown fields are refused, so that a misspelt field is an error and not a silent default.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)


def malformed(error: ValidationError, *, where: str) -> MalformedError:
    """Convert pydantic's error to one line that names each wrong field. Values are never repeated."""
    items = error.errors(include_url=False, include_input=False)
    problems = [_problem(dict(item)) for item in items[:PROBLEMS_MAX]]
    text = "; ".join(f"{field}: {message[:MESSAGE_MAX]}" for field, message in problems)
    if len(items) > PROBLEMS_MAX:
        text += f"; and {len(items) - PROBLEMS_MAX} more"
    return MalformedError(f"{where}: {text}", field=problems[0][0])


def _problem(item: Mapping[str, Any]) -> tuple[str, str]:
    """The field and its error. A check of the whole document names the field itself."""
    field = ".".join(str(part)[:FIELD_MAX] for part in item["loc"] if part != "[key]")
    message = problem_text(item)
    if not field and item["type"] == "value_error":
        field, _, message = message.partition(": ")
    return field or "the document", message
