"""Reads the upstream secrets that a plan needs from the sources that the files name."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from regcred.cli import definitions, text_input, upstream_secrets
from regcred.cli.declare.output import problems_error
from regcred.cli.failures import BadInputError
from regcred.cli.session import CliSession
from regcred.cli.text_input import STDIN
from regcred.declare.kinds import Item, ObjectKey
from regcred.declare.steps import DeclarationPlan, Step
from regcred.registry.definition import BaseDefinition

STDIN_MAX = 100_000_000
"""The maximum size in bytes of the upstream secrets on standard input: those of a whole fleet."""


def read_upstream_secrets(
    session: CliSession, wanted: Mapping[ObjectKey, Item], found: DeclarationPlan, sources: Sequence[str]
) -> dict[ObjectKey, dict[str, SecretStr]]:
    """Read all upstream secrets of a plan. The caller does this before it writes anything.

    Raises:
        BadInputError: secrets are missing, or fields of them are wrong. All problems are printed without
            values.
    """
    first = next((step for step in found.steps if step.secret and step.secret.stdin), None)
    from_stdin = _read_stdin(first, sources) if first else {}
    read: dict[ObjectKey, dict[str, SecretStr]] = {}
    files: set[str] = set()
    problems: list[str] = []
    for step in found.steps:
        source, definition = step.secret, step.to
        if source is None or not isinstance(definition, BaseDefinition):
            continue
        fields = definition.upstream_fields()
        try:
            if source.stdin:
                read[step.key] = _from_stdin(step, from_stdin, fields)
            elif source.vault:
                read[step.key] = _from_vault(session, step, fields)
            else:
                file = str(Path(wanted[step.key].source).parent / source.file)
                if file not in files:
                    upstream_secrets.check_source(file)
                files.add(file)
                read[step.key] = upstream_secrets.read(fields, file)
        except BadInputError as error:
            problems.append(error.message)
    if problems:
        raise problems_error(list(dict.fromkeys(problems)))
    return read


def _read_stdin(first: Step, sources: Sequence[str]) -> dict[str, Any]:
    """Read the upstream secrets. An error shows the step's registry as an example."""
    if "-" in sources:
        raise BadInputError("-f - and secretFrom: {stdin: true} can't both be standard input")
    text = text_input.read_text("-", maximum=STDIN_MAX)[1]
    try:
        return definitions.fields_of(text, STDIN, kind="upstream secrets")
    except definitions.NoFieldsError:
        fields = first.to.upstream_fields() if isinstance(first.to, BaseDefinition) else {}
        example = json.dumps({str(first.key.reference): dict.fromkeys(fields, "...")})
        raise BadInputError(
            f"{STDIN}: contains no upstream secrets; write them as YAML or JSON, as in {example}"
        ) from None


def _from_stdin(step: Step, given: Mapping[str, Any], fields: Mapping[str, str]) -> dict[str, SecretStr]:
    own = given.get(str(step.key.reference))
    where = f"{STDIN}: {step.key.reference}"
    if not isinstance(own, dict):
        raise BadInputError(f"{where}: is missing; write it as a mapping of {', '.join(fields)}")
    return upstream_secrets.checked(fields, own, where)


def _from_vault(session: CliSession, step: Step, fields: Mapping[str, str]) -> dict[str, SecretStr]:
    source = step.secret.vault if step.secret else None
    if source is None:
        raise TypeError(step.key)
    document = session.open_vault(source.mount).read(source.path)
    where = f"{step.key}: Vault, {source.mount}/{source.path}"
    if document is None:
        raise BadInputError(f"{where}: the secret does not exist")
    own = {name: value for name, value in document.fields.items() if upstream_secrets.is_field(name, fields)}
    return upstream_secrets.checked(fields, own, where)
