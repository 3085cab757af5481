"""Reads an upstream secret from hidden prompts or from a file, never from the command line."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from regcred.cli import definitions, prompts
from regcred.cli.failures import BadInputError
from regcred.cli.output import say
from regcred.printable import command
from regcred.registry.upstream_secret import JSON_KEY, PRIVATE_PART, SECOND


def read(wanted: Mapping[str, str], file: str | None) -> dict[str, SecretStr]:
    """Read the fields of an upstream secret.

    Args:
        wanted: The required fields, each with a description.
        file: A YAML or JSON file with these fields, or a file with the plain value of the only field. ``-``
            for standard input; None for prompts.

    Raises:
        BadInputError: names the missing or unknown field. It never contains a value.
    """
    if not wanted:
        if file:
            raise BadInputError("--secret-file: this registry needs no upstream secret; leave out the option")
        return {}
    return _from_file(wanted, file) if file else _from_prompts(wanted)


def _from_file(wanted: Mapping[str, str], file: str) -> dict[str, SecretStr]:
    where, text = definitions.read_text(file, kind="upstream secret")
    if len(wanted) == 1 and (only := _plain_value(wanted, text, where)):
        return only
    return checked(wanted, definitions.fields_of(text, where, kind="upstream secret"), where)


def is_field(name: str, wanted: Mapping[str, str]) -> bool:
    """Whether a name is a field of the secret, or the second value of a field."""
    return name.removesuffix(SECOND) in wanted


def checked(wanted: Mapping[str, str], found: Mapping[str, Any], where: str) -> dict[str, SecretStr]:
    """Check the fields of a secret.

    Raises:
        BadInputError: names the field that is missing, unknown or not a string. It never contains a value.
    """
    for name in found:
        if not is_field(name, wanted):
            # It may be the wrong file, such as a list of passwords. So show a name only if it looks misspelt.
            shown = repr(name) if get_close_matches(name, wanted, n=1) else "one of its names"
            raise BadInputError(
                f"{where}: {shown} is not a field of this secret; its fields are {', '.join(wanted)}"
            )
    for name, meaning in wanted.items():
        value = found.get(name)
        if not value or (isinstance(value, str) and not value.strip()):
            raise BadInputError(f"{where}: the field {name!r} is missing ({meaning})")
    for name, value in found.items():
        if not isinstance(value, str):
            raise BadInputError(f"{where}: the field {name!r} is not a string; put it in quotes")
    # A file, a YAML block or 'vault kv put password=@file' adds a line break, which no registry accepts.
    return {name: SecretStr(value.rstrip("\r\n")) for name, value in found.items()}


def _plain_value(wanted: Mapping[str, str], text: str, where: str) -> dict[str, SecretStr] | None:
    """The only field, if the file is its plain value: a token, a PEM key or a JSON key. Otherwise None."""
    (name,) = wanted
    if not text.strip():
        raise BadInputError(f"{where}: is empty; it must contain {wanted[name]}")
    try:
        found = definitions.fields_of(text, where, kind="upstream secret")
    except definitions.NoFieldsError:
        return {name: SecretStr(text.strip())}
    is_json_key = name == JSON_KEY and JSON_KEY not in found and PRIVATE_PART in found
    return {name: SecretStr(text.strip())} if is_json_key else None


def _from_prompts(wanted: Mapping[str, str]) -> dict[str, SecretStr]:
    if not prompts.interactive():
        raise BadInputError(
            f"this registry needs an upstream secret ({', '.join(wanted)}), and there is no terminal to "
            "ask on: add --secret-file FILE with these fields as YAML or JSON ('-' for standard input)"
        )
    say("")
    say("The upstream secret goes to Vault, where only the rotate function can read it.")
    return {name: _prompted(name, meaning) for name, meaning in wanted.items()}


def _prompted(name: str, meaning: str) -> SecretStr:
    value = prompts.answer(f"{name} ({meaning})", hide_input=_hidden(name)).strip()
    if value == "{":
        raise BadInputError(f"{name}: is a file of several lines; pass it with --secret-file FILE")
    return SecretStr(value)


def _hidden(name: str) -> bool:
    return name not in {"username", "user"}


def check_source(file: str | None, *, definition: str | None = None) -> None:
    """Refuse to read two files from standard input, and warn about a secret file that others can read."""
    if file is None:
        return
    if file == "-" and definition == "-":
        raise BadInputError(
            "-f - and --secret-file - can't both be standard input; write one of them to a file"
        )
    if file != "-" and _is_world_readable(file):
        say(f"note: others can read {file}; change its mode or delete it: {command('chmod', '600', file)}")


def _is_world_readable(file: str) -> bool:
    try:
        return bool(Path(file).stat().st_mode & 0o004)
    except OSError:
        return False  # reading the file reports the error
