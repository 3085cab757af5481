"""Reads a definition from a file, or asks the user for each field."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import click
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from regcred.cli import prompts, text_input
from regcred.cli.failures import BadInputError
from regcred.cli.output import say
from regcred.errors import MalformedError, RefusedError
from regcred.registry import catalog
from regcred.registry.definition import BaseDefinition
from regcred.registry.parsing import parse
from regcred.registry.project_policy import check_allowed
from regcred.vault.records.declared import ProjectPolicy
from regcred.wording import without_brackets

AUTH = "auth"
"""The field that selects one of several sign-in methods."""


TEXT_MAX = 1_000_000
"""The maximum size in bytes of a definition or an upstream secret. Vault accepts no larger document."""


class NoFieldsError(BadInputError):
    """The text has no fields, so it may be a plain value."""


def from_file(path: str) -> BaseDefinition:
    """Read a definition from a YAML or JSON file; ``-`` is standard input.

    Raises:
        BadInputError: names the file and the line, or each wrong field. It never contains the text.
    """
    where, text = read_text(path, kind="definition")
    return typed(fields_of(text, where, kind="definition"), where)


def read_text(path: str, *, kind: str) -> tuple[str, str]:
    """Read a file. Return its name for errors, and its text.

    Raises:
        BadInputError: see :func:`regcred.cli.text_input.read_text`.
    """
    return text_input.read_text(path, maximum=TEXT_MAX, form=f"write the {kind} as YAML or JSON")


def fields_of(text: str, where: str, *, kind: str) -> dict[str, Any]:
    """Read fields from YAML or JSON.

    Raises:
        BadInputError: see :func:`from_file`. It also names a field that appears twice.
        NoFieldsError: the text has no fields.
    """
    content = _json(text, where) if text.lstrip().startswith("{") else _yaml(text, where)
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise NoFieldsError(f"{where}: contains no {kind}; write its fields, as in 'name: value'")
    return content


def _json(text: str, where: str) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        name, times = next(iter(Counter(name for name, _ in pairs).most_common(1)), ("", 0))
        if times > 1:
            raise BadInputError(f"{where}: {name[:80]!r} appears twice; remove one")
        return dict(pairs)

    try:
        content = json.loads(text, object_pairs_hook=once)
        json.dumps(content, ensure_ascii=False).encode()
        return content
    except UnicodeEncodeError:
        raise BadInputError(
            f"{where}: contains half of a surrogate pair (a single escape from \\ud800 to \\udfff)"
        ) from None
    except RecursionError:
        raise BadInputError(f"{where}: is nested too deeply") from None
    except ValueError as error:
        at = (
            f"line {error.lineno}, column {error.colno}: {error.msg}"
            if isinstance(error, json.JSONDecodeError)
            else "bad JSON"
        )
        raise BadInputError(f"{where}: {at}") from None


def _yaml(text: str, where: str) -> Any:
    from regcred.yaml_documents import NotYamlError, documents

    try:
        found = [document.content for document in documents(text, where)]
    except NotYamlError as error:
        raise NoFieldsError(str(error)) from None
    except MalformedError as error:
        raise BadInputError(str(error)) from None
    if len(found) > 1:
        raise NoFieldsError(f"{where}: contains {len(found)} documents; write only one")
    return found[0] if found else None


def typed(content: Mapping[str, Any], where: str) -> BaseDefinition:
    """Convert the fields to a typed definition.

    Raises:
        BadInputError: names each wrong field.
    """
    try:
        return parse(content, where=where)
    except MalformedError as error:
        raise BadInputError(str(error)) from None


def summary(provider: str) -> str:
    """One line about a provider."""
    return catalog.definition_model(provider).summary


def template(provider: str) -> str:
    """A definition to fill in, as YAML: the required fields, and the optional fields as comments.

    Raises:
        MalformedError: the provider does not exist.
    """
    fields = catalog.definition_model(provider).model_fields.items()
    lines = [f"# {summary(provider)}.", f"provider: {provider}"]
    for name, field in sorted(fields, key=lambda item: not item[1].is_required()):
        if name != "provider":
            hint = _description(provider, name)
            lines += [
                "",
                *([f"# {hint}"] if hint else []),
                f"{'' if field.is_required() else '#'}{name}:{_default(field)}",
            ]
    return "\n".join(lines) + "\n"


def fields_to_fill(provider: str) -> list[dict[str, Any]]:
    """The fields of a provider for programs: name, required, default and description.

    Raises:
        MalformedError: the provider does not exist.
    """
    return [
        {
            "name": name,
            "required": field.is_required(),
            "default": None if field.is_required() else to_jsonable_python(_default_value(field)),
            "description": _description(provider, name),
        }
        for name, field in catalog.definition_model(provider).model_fields.items()
        if name != "provider"
    ]


def _default_value(field: FieldInfo) -> Any:
    return field.get_default(call_default_factory=True, validated_data={})


def _description(provider: str, field: str) -> str:
    return catalog.definition_model(provider).describe(field)


def _default(field: FieldInfo) -> str:
    import yaml

    if field.is_required():
        return ""
    default = _default_value(field)
    plain = [str(item) for item in default] if isinstance(default, tuple | list) else default
    text = yaml.safe_dump(
        str(plain) if isinstance(plain, str) else plain, default_flow_style=True
    ).splitlines()[0]
    return f" {text}"


def ask(where: str, policy: ProjectPolicy | None) -> BaseDefinition:
    """Ask for the provider and each required field, and then for the optional fields that the user wants.

    A question is repeated after a wrong or forbidden answer. If a provider has several sign-in methods, the
    first one is the default, which is keyless. If some answers contradict each other, the error is printed at
    the end, and the user changes one of them.

    Args:
        where: The name of the definition in errors.
        policy: The bounds of the project; None if unknown.
    """
    names = catalog.names()
    say("Choose the kind of registry:")
    for name in names:
        say(f"  {name:<13} {summary(name)}")
    provider = prompts.answer("provider", type=click.Choice(names), show_choices=False)
    content: dict[str, Any] = {"provider": provider}
    fields = dict(catalog.definition_model(provider).model_fields)
    del fields["provider"]
    left = dict(fields)
    for name in [*(name for name, field in fields.items() if field.is_required()), *({AUTH} & fields.keys())]:
        _ask_field(content, name, left.pop(name), policy)
    while (name := _needed(content)) in left:
        _ask_field(content, name, left.pop(name), policy)
    if left and prompts.yes(f"Optional fields: {', '.join(left)}. Set any?"):
        say("Press Enter to skip a field.")
        for name, field in left.items():
            _ask_field(content, name, field, policy)
    while problem := _problem_of_all(content, where, policy):
        wrong, text = problem
        say(f"  {text}")
        default = wrong if wrong in fields else None
        name = prompts.answer(
            "field to change (Ctrl-C stops)", type=click.Choice(list(fields)), default=default
        )
        _ask_field(content, name, fields[name], policy)
    return typed(content, where)


def _problem_of_all(
    content: Mapping[str, Any], where: str, policy: ProjectPolicy | None
) -> tuple[str, str] | None:
    """The wrong field and the error of all answers together; None if there is no error."""
    try:
        definition = parse(content, where=where)
        if policy:
            check_allowed(definition, hosts=policy.hosts, paths=policy.paths, accounts=policy.accounts)
    except MalformedError as error:
        return _field_name(error.field), "; ".join(text for _, text in error.problems) or str(error)
    except RefusedError as error:
        return "", str(error)
    return None


def _needed(content: Mapping[str, Any]) -> str:
    """The field that the answers so far require; empty if they require none."""
    try:
        parse(content, where="definition")
    except MalformedError as error:
        return error.field
    return ""


def _field_name(path: str) -> str:
    """The field in a path: ``repositories`` for ``repositories[0]``."""
    return path.partition("[")[0].partition(".")[0]


def _ask_field(content: dict[str, Any], name: str, field: FieldInfo, policy: ProjectPolicy | None) -> None:
    many = "tuple" in str(field.annotation)
    say("")
    words = _description(content["provider"], name)
    say(f"{without_brackets(words)} Separate several values by spaces." if many else words)
    before = content.get(name)
    if before is not None:
        say(
            "Press Enter to keep the answer."
            if field.is_required()
            else "Press Enter to keep the answer. Type '-' to leave out the field."
        )
        default: str | None = " ".join(before) if isinstance(before, list) else str(before)
    else:
        default = None if field.is_required() else str(field.default) if name == AUTH else ""
    while True:
        shown = name == AUTH or before is not None
        answer = prompts.answer(name, default=default, show_default=shown).strip()
        if answer == "-" and not field.is_required():
            content.pop(name, None)
            return
        if not answer:
            return
        content[name] = re.split(r"[\s,]+", answer.strip("[] ")) if many else answer
        problem = _problem(content, name) or _not_allowed(content, policy)
        if problem is None:
            return
        say(f"  {problem}")
        del content[name]
        if before is not None:
            content[name] = before


def _problem(content: Mapping[str, Any], name: str) -> str | None:
    """The error of one field; None if it is right. Errors of other fields don't count."""
    try:
        parse(content, where="definition")
    except MalformedError as error:
        return next((text for path, text in error.problems if _field_name(path) == name), None)
    return None


def _not_allowed(content: Mapping[str, Any], policy: ProjectPolicy | None) -> str | None:
    """Why the project may not use a host or an account; None if it may. Paths are checked at the end."""
    if policy is None:
        return None
    model = catalog.definition_model(content["provider"])
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in content.items()
    }
    try:
        check_allowed(model.model_construct(**values), hosts=policy.hosts, paths={}, accounts=policy.accounts)
    except RefusedError as error:
        return str(error)
    except Exception:  # noqa: BLE001 - the definition is incomplete, so its methods may fail
        return None
    return None
