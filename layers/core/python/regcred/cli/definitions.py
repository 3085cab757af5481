"""Reading a definition from a file, or asking for it field by field."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from regcred.cli.failures import BadInputError
from regcred.errors import MalformedError
from regcred.registry import catalog
from regcred.registry.definition import BaseDefinition, parse


def read(path: str, *, kind: str = "definition") -> dict[str, Any]:
    """Read a file of YAML or JSON; ``-`` is standard input.

    Raises:
        BadInputError: names the file, the line and what is wrong; never repeats the text.
    """
    where = "standard input" if path == "-" else path
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text("utf-8")
    except UnicodeDecodeError:
        raise BadInputError(f"{where}: is no text in UTF-8; write the {kind} as YAML or JSON") from None
    except OSError as error:
        raise BadInputError(
            f"{where}: can't be read: {(error.strerror or 'unknown error').lower()}"
        ) from None
    content = _json(text, where) if text.lstrip().startswith("{") else _yaml(text, where)
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise BadInputError(f"{where}: holds no {kind}; write its fields, as in 'name: value'")
    return content


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        at = (
            f"line {error.lineno}, column {error.colno}: {error.msg}"
            if isinstance(error, json.JSONDecodeError)
            else "bad JSON"
        )
        raise BadInputError(f"{where}: {at}") from None


def _yaml(text: str, where: str) -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """Reads numbers and dates as text: an account id with leading zeros is no number."""

    Loader.yaml_implicit_resolvers = {
        first: [
            (tag, pattern)
            for tag, pattern in resolvers
            if tag.rsplit(":", 1)[-1] in ("null", "bool", "merge")
        ]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    try:
        return yaml.load(text, Loader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise BadInputError(f"{where}: {at}{error.problem or 'is not YAML'}") from None
    except yaml.YAMLError:
        raise BadInputError(f"{where}: holds characters that YAML does not allow") from None


def typed(content: Mapping[str, Any], where: str) -> BaseDefinition:
    """Give it its type.

    Raises:
        BadInputError: names each wrong field.
    """
    try:
        return parse(content, where=where)
    except MalformedError as error:
        raise BadInputError(str(error)) from None


def ask(given: Mapping[str, Any], where: str) -> BaseDefinition:
    """Ask for the provider and for each field that it needs; an answer that is wrong is asked for again."""
    names = catalog.names()
    content = dict(given)
    if "provider" not in content:
        click.echo(f"Which kind of registry is it? One of: {', '.join(names)}", err=True)
        content["provider"] = click.prompt("provider", type=click.Choice(names), show_choices=False, err=True)
    try:
        model = catalog.definition_model(content["provider"])
    except MalformedError as error:
        raise BadInputError(str(error)) from None
    click.echo("Enter takes the value in brackets; several values are separated by spaces.", err=True)
    for name, field in model.model_fields.items():
        if name not in content and name != "provider":
            _ask_field(content, name, field, where)
    return typed(content, where)


def _ask_field(content: dict[str, Any], name: str, field: Any, where: str) -> None:
    required = field.is_required()
    if field.description:
        click.echo(f"\n{' '.join(field.description.split())}", err=True)
    many = "tuple" in str(field.annotation) or "list" in str(field.annotation)
    while True:
        answer = click.prompt(
            name, default=None if required else "", show_default=not required, err=True
        ).strip()
        if not answer:
            return
        content[name] = answer.split() if many else answer
        problem = _problem(content, name, where)
        if problem is None:
            return
        click.echo(f"  {problem}", err=True)
        del content[name]


def _problem(content: Mapping[str, Any], name: str, where: str) -> str | None:
    try:
        parse(content, where=where)
    except MalformedError as error:
        text = str(error).removeprefix(f"{where}: ")
        mine = [part for part in text.split("; ") if part.startswith((f"{name}:", f"{name}["))]
        return mine[0] if mine else None
    return None
