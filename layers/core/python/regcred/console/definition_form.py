"""Forms for definitions, generated from the providers' models and their field descriptions. Pure."""

from __future__ import annotations

import re
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from regcred.console.forms import SECRET, Form
from regcred.errors import MalformedError
from regcred.registry import catalog
from regcred.registry.definition import BaseDefinition
from regcred.registry.parsing import problems
from regcred.registry.upstream_secret import SECOND, second_of
from regcred.wording import without_brackets

AUTH = "auth"
"""The field that selects one of several sign-in methods. Its first value is keyless."""

COMMON = ("description", "probe", "repositories")
"""Fields that every provider has; they come last."""


class Input(StrEnum):
    """The form control of a field."""

    TEXT = "text"
    NUMBER = "number"
    CHECK = "check"
    CHOICE = "choice"
    SEVERAL = "several"
    """One of a few words."""
    LINES = "lines"
    """Several strings, one per line."""
    SECRET = "secret"  # noqa: S105 - a word
    LONG_SECRET = "long-secret"  # noqa: S105 - a word


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a form."""

    name: str
    label: str
    help: str
    input: Input
    required: bool = False
    choices: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    """The value in the control: the input, or the current value."""
    error: str = ""
    second: bool = False
    """Whether it belongs to the second login of an upstream secret."""

    @property
    def value(self) -> str:
        """The value of a field with one value."""
        return self.values[0] if self.values else ""


def summary(provider: str) -> str:
    """What a provider is for, in one line."""
    return catalog.definition_model(provider).summary


def fields_of(
    provider: str, content: Mapping[str, Any], errors: Mapping[str, str] | None = None
) -> tuple[list[Field], list[Field]]:
    """The fields of a provider's form: important ones first, then the optional ones.

    Args:
        provider: Its name.
        content: The values to show.
        errors: The error of each field.
    """
    model = catalog.definition_model(provider)
    found = [
        _field(name, info, model.describe(name), content, (errors or {}).get(name, ""))
        for name, info in model.model_fields.items()
        if name != "provider"
    ]
    filled = {name for name, error in (errors or {}).items() if error} | {AUTH} | set(content)
    first = [
        field for field in found if (field.required or field.name in filled) and field.name not in COMMON
    ]
    first += [field for field in found if field.name in COMMON and field.error]
    rest = [field for field in found if field not in first]
    return sorted(first, key=lambda field: not field.required), rest


def _field(name: str, info: FieldInfo, words: str, content: Mapping[str, Any], error: str) -> Field:
    kind, choices = _input(info.annotation)
    return Field(
        name=name,
        label=name.replace("_", " "),
        help=without_brackets(words) if kind is Input.LINES else words,
        input=kind,
        required=info.is_required(),
        choices=choices,
        values=_shown(content[name] if name in content else _default(info)),
        error=error,
    )


def _default(info: FieldInfo) -> Any:
    return () if info.is_required() else info.get_default(call_default_factory=True, validated_data={})


def _shown(value: Any) -> tuple[str, ...]:
    if isinstance(value, list | tuple):
        return tuple(str(item.value if isinstance(item, Enum) else item) for item in value)
    if isinstance(value, bool):
        return ("yes",) if value else ()
    if isinstance(value, Enum):
        return (str(value.value),)
    return (str(value),) if value is not None else ()


def _input(annotation: Any) -> tuple[Input, tuple[str, ...]]:  # noqa: PLR0911 - one for each type
    """The form control for a value of this type, and its choices."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _input(args[0])
    if origin in {Union, types.UnionType}:
        return _input(next(arg for arg in args if arg is not type(None)))
    if origin is Literal:
        return Input.CHOICE, tuple(map(str, args))
    if origin in {tuple, list}:
        kind, choices = _input(args[0])
        return (Input.SEVERAL, choices) if kind is Input.CHOICE else (Input.LINES, ())
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return Input.CHOICE, tuple(str(item.value) for item in annotation)
    if annotation is bool:
        return Input.CHECK, ()
    return (Input.NUMBER if annotation is int else Input.TEXT), ()


def content_of(provider: str, form: Form) -> dict[str, Any]:
    """The input as a definition. Empty fields are left out, so that their defaults apply."""
    content: dict[str, Any] = {"provider": provider}
    for name, info in catalog.definition_model(provider).model_fields.items():
        if name == "provider":
            continue
        kind, _ = _input(info.annotation)
        if kind is Input.CHECK:
            content[name] = form.has(name)
        elif kind is Input.LINES:
            if items := [item for item in re.split(r"[\s,]+", form.whole(name)) if item]:
                content[name] = items
        elif kind is Input.SEVERAL:
            if items := form.all(name):
                content[name] = items
        elif value := form.get(name):
            content[name] = value
    return content


def check(provider: str, content: Mapping[str, Any]) -> tuple[BaseDefinition | None, dict[str, str]]:
    """Convert the input to a typed definition.

    Returns:
        The definition, or the error of each field (``""`` for errors of several fields).
    """
    model = catalog.definition_model(provider)
    try:
        return model.model_validate(dict(content)), {}
    except ValidationError as error:
        found: dict[str, str] = {}
        for field, text in problems(error, model):
            name = re.split(r"[.\[]", field, maxsplit=1)[0]
            known = name if name in model.model_fields else ""
            message = text.removeprefix(f"{field}: ") if known else text
            found[known] = f"{found[known]}; {message}" if known in found else message
        return None, found


def secrets_of(
    provider: str, content: Mapping[str, Any], errors: Mapping[str, str] | None = None
) -> list[Field]:
    """The fields of the upstream secret of a definition, those of a second login last; none if it is keyless.

    Args:
        provider: Its name.
        content: The definition, as far as it was entered.
        errors: The error of each field.
    """
    model = catalog.definition_model(provider)
    definition, _ = check(provider, content)
    if definition is None:
        known = {name: value for name, value in content.items() if name in model.model_fields}
        definition = model.model_construct(**known)
    try:
        wanted = definition.upstream_fields()
    except (AttributeError, TypeError, ValueError, KeyError, MalformedError):
        return []  # the secret depends on a field that has no value yet
    first = [_secret(name, words, (errors or {}).get(SECRET + name, "")) for name, words in wanted.items()]
    second = [
        _secret(name, words, (errors or {}).get(SECRET + name, ""), second=True)
        for name, words in second_of(wanted).items()
    ]
    return first + second


_OPEN = frozenset({"username", "user", "client_id", "app_id"})
"""Fields of the upstream secret that may be visible during input."""

_LONG = ("key", "pem", "json")


def _secret(name: str, words: str, error: str, *, second: bool = False) -> Field:
    kind = Input.LONG_SECRET if any(word in name for word in _LONG) and "access" not in name else Input.SECRET
    if name.removesuffix(SECOND) in _OPEN:
        kind = Input.TEXT
    label = name.replace("_", " ")
    return Field(SECRET + name, label, words, kind, required=not second, error=error, second=second)


def secret_of(fields: Sequence[Field], form: Form) -> tuple[dict[str, str], dict[str, str]]:
    """The upstream secret in the input, and the error of each missing field.

    A second login is either complete or absent.
    """
    has_second = any(field.second and form.get(field.name) for field in fields)
    names = [field.name for field in fields if has_second or not field.second]
    missing = {name: "is missing" for name in names if not form.get(name)}
    return {name.removeprefix(SECRET): form.get(name) for name in names}, missing
