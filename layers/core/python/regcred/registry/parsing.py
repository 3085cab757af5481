"""Converts an owner's document to the typed definition of its provider."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from regcred.errors import MalformedError
from regcred.registry.catalog import definition_model
from regcred.registry.definition import BaseDefinition
from regcred.wording import problem_text

PROBLEMS_MAX = 10
"""The maximum number of reported problems of one definition."""

PROBLEM_MAX = 500
"""The maximum length of the line about one problem, in characters."""


def parse(content: Mapping[str, Any], *, where: str) -> BaseDefinition:
    """Convert a definition to the type of its ``provider``.

    Args:
        content: The owner's document as a plain mapping.
        where: Its location (a path in Vault, a file's name), for the error text.

    Raises:
        MalformedError: One line that names each wrong field, the error and the allowed form.
    """
    name = content.get("provider")
    if not isinstance(name, str) or not name:
        wrong = "is not a string" if name else "is missing"
        raise MalformedError(
            f"{where}: provider: {wrong}; name the kind of registry, as in 'provider: ecr'", field="provider"
        )
    try:
        model = definition_model(name)
    except MalformedError as error:
        raise MalformedError(f"{where}: {error}", field="provider") from None
    try:
        return model.model_validate(dict(content))
    except ValidationError as error:
        raise _malformed(error, model, where=where) from None


def _malformed(error: ValidationError, model: type[BaseDefinition], *, where: str) -> MalformedError:
    found = problems(error, model)
    texts = [text if len(text) <= PROBLEM_MAX else f"{text[:PROBLEM_MAX]}…" for _, text in found]
    if error.error_count() > len(found):
        texts.append(f"and {error.error_count() - len(found)} more")
    return MalformedError(f"{where}: " + "; ".join(texts), field=found[0][0][:PROBLEM_MAX], problems=found)


def problems(error: ValidationError, model: type[BaseDefinition]) -> list[tuple[str, str]]:
    """Each wrong field (``repositories[0]``) with a line that names the field and the problem.

    It returns only the first :data:`PROBLEMS_MAX`, because they are stored in Vault and logged.
    """
    return [_problem(dict(item), model) for item in error.errors(include_url=False)[:PROBLEMS_MAX]]


def _problem(item: Mapping[str, Any], model: type[BaseDefinition]) -> tuple[str, str]:
    field = _path(item["loc"])
    if item["type"] == "extra_forbidden":
        return field, f"{field}: is not a field of this provider{_near(field, model.model_fields)}"
    if item["type"] == "missing":
        described = model.describe(field)
        return field, f"{field}: is missing" + (f" ({described.rstrip('.')})" if described else "")
    message = problem_text(item)
    if not field:
        return message.partition(":")[0], message
    return field, f"{field}: {message[:1].lower()}{message[1:]}"


def _near(field: str, known: Iterable[str]) -> str:
    names = [name for name in known if name != "provider"]
    close = difflib.get_close_matches(field, names, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; its fields are {', '.join(names)}"


def _path(location: Sequence[str | int]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
