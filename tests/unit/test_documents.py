"""Each command in the documents exists, and a test runs it or a comment says why none does."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator

import click
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from documents import ROOT, blocks

from regcred.cli.app import app
from regcred.cli.session import CliSession

LANGUAGES = {"bash", "console", "hcl", "json", "mermaid", "python", "text", "toml", "yaml"}
SHELL = re.compile(r"\$\(|[|<>]|\.\.\.|\bP(?:/R)?\b|PROVIDER|KIND")
"""A line that needs a shell or contains a placeholder is not parsed."""


BLOCKS = list(blocks())
COMMANDS = [block for block in BLOCKS if block.language == "bash"]


def test_each_block_names_its_language() -> None:
    """These tests find a command block by its language `bash`."""
    assert len(COMMANDS) > 40
    assert [str(block) for block in BLOCKS if block.language not in LANGUAGES] == []


def test_each_command_block_is_run_by_a_test_or_says_why_not() -> None:
    unmarked = [str(block) for block in COMMANDS if block.mark is None]
    assert unmarked == [], "write <!-- run by: tests/... --> or <!-- not run: the reason --> above it"


def test_the_tests_that_marks_name_exist_and_read_the_page() -> None:
    wrong = []
    for block in COMMANDS:
        assert block.mark
        for name in re.findall(r"tests/[\w/]+(?:\.py)?", block.mark["text"]):
            path = ROOT / name
            if not path.exists():
                wrong.append(f"{block}: there is no {name}")
            elif block.mark["kind"] == "run by" and block.page not in path.read_text("utf-8"):
                wrong.append(f"{block}: {name} does not read {block.page}")
    assert wrong == []


def lines() -> Iterator[tuple[str, list[str]]]:
    """The words of each command line of Regcred in a block."""
    for block in COMMANDS:
        for line in block.commands():
            command = re.split(r"\s+#|&& ", line.strip())[0]
            if command.startswith("regcred ") and not SHELL.search(command):
                yield f"{block} {command}", shlex.split(command)[1:]


@pytest.mark.parametrize(("where", "words"), [pytest.param(*line, id=line[0]) for line in lines()])
def test_each_command_is_parsed_by_the_command_line(where: str, words: list[str]) -> None:
    """Its name, options and values are parsed; nothing is run."""
    command: click.Command = app()
    context = click.Context(command, info_name="regcred", obj=CliSession(), **command.context_settings)
    while isinstance(command, click.Group):
        name, words = words[0], words[1:]
        found = command.get_command(context, name)
        assert found, f"{where}: there is no command {name}"
        command = found
        if not isinstance(command, click.Group):
            break
        context = click.Context(command, info_name=name, parent=context)
    command.make_context(command.name, words, parent=context)


def test_the_command_for_a_clusters_keys_works() -> None:
    """docs/vault.md: the part after `kubectl get --raw /openid/v1/jwks |`."""
    (block,) = (block for block in COMMANDS if "/openid/v1/jwks" in block.text)
    script = block.text.partition("python3 -c '")[2].rpartition("'")[0]
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    keys = {"keys": [json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key)) | {"kid": "1", "use": "sig"}]}
    done = subprocess.run(
        [sys.executable, "-c", script], input=json.dumps(keys), capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith("-----BEGIN PUBLIC KEY-----"), done.stderr
