"""One word has one meaning: docs/glossary.md defines the terms, and these tests check the names in the
code."""

import json
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from regcred.registry import catalog

TOP = Path(__file__).parents[2]
PACKAGES = TOP / "layers/core/python"
SOURCES = sorted(
    file for folder in ("layers/core/python/regcred", "functions") for file in (TOP / folder).rglob("*.py")
)


def test_no_two_classes_have_the_same_name() -> None:
    """``X`` and ``_X`` count as the same name: a search for one finds the other."""
    places_of = defaultdict(list)
    for file in SOURCES:
        for line, text in enumerate(file.read_text().splitlines(), start=1):
            if found := re.match(r"\s*class (\w+)[(:\[]", text):
                places_of[found[1].lstrip("_")].append(f"{file.relative_to(TOP)}:{line}")
    assert len(places_of) > 300
    assert {name: places for name, places in places_of.items() if len(places) > 1} == {}


TEXTS = """
import json
import click
from regcred.cli import definitions
from regcred.cli.app import app
from regcred.console import definition_form
from regcred.declare.kinds import DeclaredKind
from regcred.declare.schema import schema
from regcred.registry import catalog

found = {str(kind): schema(kind) for kind in DeclaredKind}
for name in catalog.names():
    first, rest = definition_form.fields_of(name, {}, {})
    shown = [(one.name, one.help) for one in (*first, *rest)]
    found[name] = [definitions.summary(name), definitions.template(name), *shown]

def helps(command, context):
    yield context.command_path, command.get_help(context)
    for name in command.list_commands(context) if isinstance(command, click.Group) else ():
        inner = command.get_command(context, name)
        yield from helps(inner, click.Context(inner, info_name=name, parent=context))

root = click.Context(app(), info_name="regcred", terminal_width=80, **app().context_settings)
found |= helps(app(), root)
print(json.dumps(found))
"""


def test_no_text_for_users_comes_from_a_docstring(capsys: pytest.CaptureFixture[str]) -> None:
    """Without docstrings (``-OO``) the help of all commands, templates, forms and schemas are the same."""
    stripped = subprocess.run(
        [sys.executable, "-OO", "-c", TEXTS],
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(PACKAGES), "PYTHONPYCACHEPREFIX": sys.pycache_prefix or ""},
    ).stdout
    exec(TEXTS, {})
    usual = json.loads(capsys.readouterr().out)
    assert json.loads(stripped) == usual
    assert len([name for name in usual if name.startswith("regcred ")]) > 40


@pytest.mark.parametrize("provider", catalog.names())
def test_each_provider_and_each_of_its_fields_has_a_text(provider: str) -> None:
    model = catalog.definition_model(provider)
    assert model.summary, "people choose a provider by this line"
    assert not model.summary.endswith(".")
    assert [name for name in model.model_fields if name != "provider" and not model.describe(name)] == []
