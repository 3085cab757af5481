"""Text from Vault can't control the terminal, look like other text, or run when a user pastes it."""

from __future__ import annotations

import ast
import json
import shlex
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fakes.key_value import FakeKeyValue

import regcred.cli
from regcred.cli import output
from regcred.cli.app import run
from regcred.cli.session import CliSession
from regcred.printable import command, printable, printable_lines
from regcred.registry_reference import Reference
from regcred.vault.records.declared import ClusterGrants, Definition, ProjectPolicy
from regcred.vault.records.index import IndexEntry, State
from regcred.vault.records.status import Placement, Status
from regcred.vault.store import Store

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
HOSTILE = (
    "\x1b[2J\x9b31m\u202egnp\u2066\u200bx\u2028y\u00a0\u3164\u115f\ufe0f\U000e0041\x07\r\nregcred: all is "
    "well"
)


HOSTILE_WORD = f"{HOSTILE}\ud800"


def control_characters(text: str) -> list[str]:
    """The characters of an output, except line feeds, that are not printable."""
    return [character for character in text if not (character == "\n" or character.isprintable())]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\u202eexe.txt", r"\u202eexe.txt"),
        ("pay\u200bments", r"pay\u200bments"),
        ("a\r\nb\tc\u2028d", "a  b c d"),
        ("\u3164\u115f\ufe0f", r"\u3164\u115f\ufe0f"),
        ("\ud800", r"\ud800"),
        ("\U000e0041", r"\U000e0041"),
        ("Grüße, 日本 é", "Grüße, 日本 é"),
    ],
)
def test_invisible_characters_are_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_a_document_keeps_its_lines() -> None:
    assert printable_lines("a: 1\nb: \x1b\r\n") == "a: 1\nb: \\x1b \n"


def test_a_command_is_quoted_word_by_word() -> None:
    words = ["kubectl", "-n", "x; touch y", "delete", "pod", "$(id)", "it's"]
    assert shlex.split(command(*words)) == words


@pytest.fixture
def hostile() -> FakeKeyValue:
    """A Vault with control characters in each text that tenants can write."""
    kv = FakeKeyValue()
    store = Store(kv)
    reference = Reference("payments", "main")
    store.write_project("payments", ProjectPolicy(hosts=["registry.example.com"], clusters=["c1"]), cas=0)
    store.write_cluster("c1", ClusterGrants(grants={"payments": ["prod"]}), cas=0)
    store.write_definition(
        reference,
        Definition(
            provider="basic", hosts=["registry.example.com"], description=HOSTILE, **{f"x{HOSTILE}": "1"}
        ),
        cas=0,
    )
    entry = IndexEntry(
        state=State.FAILING,
        version=1,
        hosts=[f"evil{HOSTILE}.example.com"],
        provider=HOSTILE,
        error=HOSTILE,
        warning=HOSTILE,
        changed_at=NOW,
    )
    store.merge_index("payments", {"main": entry})
    store.write_status(
        "c1",
        "payments",
        Status(written_at=NOW, registries={"main": Placement(refused={"prod": HOSTILE, HOSTILE: "clash"})}),
        cas=0,
    )
    return kv


READS = (
    "status",
    "status payments",
    "registry list",
    "registry show payments/main",
    "registry trust payments/main",
    "project list",
    "project show payments",
    "grant list",
    "rotate payments/main --no-wait",
)


@pytest.mark.parametrize("line", READS)
@pytest.mark.parametrize("form", ["text", "json"])
def test_no_control_character_from_vault_reaches_the_terminal(
    line: str, form: str, hostile: FakeKeyValue, capsys: pytest.CaptureFixture[str]
) -> None:
    session = CliSession(
        open_store=lambda: Store(hostile),
        nudge=lambda _: False,
        now=lambda: datetime.now(UTC),
        sleep=lambda _: None,
    )
    args = [*line.split(), *(["-o", "json"] if form == "json" else [])]
    run(args, session)
    captured = capsys.readouterr()
    assert control_characters(captured.out + captured.err) == []
    assert not [
        text for text in (captured.out + captured.err).splitlines() if text.startswith("regcred: all is well")
    ]
    if form == "json" and captured.out:
        assert captured.out.isascii()
        json.loads(captured.out)


@pytest.mark.parametrize(
    "args",
    [
        [f"stat{HOSTILE_WORD}"],
        ["status", HOSTILE_WORD],
        ["status", f"--{HOSTILE_WORD}"],
        ["registry", "add", "payments/new", "-f", f"/nope/{HOSTILE}"],
        ["project", "add", "payments", "--host", f"x/{HOSTILE}"],
        ["explain", HOSTILE],
        ["grant", "add", "--cluster", "c1", "payments", HOSTILE],
    ],
)
def test_no_control_character_of_an_argument_reaches_the_terminal(
    args: list[str], hostile: FakeKeyValue, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(args, CliSession(open_store=lambda: Store(hostile)))
    captured = capsys.readouterr()
    assert control_characters(captured.out + captured.err) == []
    assert captured.err.count("\n") == 1


def test_a_field_named_with_escape_codes_is_shown_escaped(
    hostile: FakeKeyValue, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "d.json"
    file.write_text(json.dumps({"provider": "basic", "hosts": ["registry.example.com"], "x\x1b]0;y\x07": 1}))
    assert (
        run(
            ["registry", "add", "payments/new", "-f", str(file)],
            CliSession(open_store=lambda: Store(hostile)),
        )
        == 2
    )
    assert r"x\x1b]0;y\x07" in capsys.readouterr().err


@pytest.mark.parametrize(
    "show",
    [
        output.say,
        output.write,
        lambda text: output.write(output.Styled(text, "red")),
        output.write_document,
        lambda text: output.print_table(["name"], [[text]]),
        lambda text: output.print_json({text: [text]}),
    ],
    ids=["say", "write", "styled", "document", "table", "json"],
)
def test_each_output_function_makes_text_printable(
    show: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    show(f"{HOSTILE_WORD}é")
    captured = capsys.readouterr()
    assert control_characters(captured.out + captured.err) == []
    assert r"\u202e" in captured.out + captured.err


def test_only_the_output_modules_print() -> None:
    found = []
    for path in Path(regcred.cli.__file__).parent.rglob("*.py"):
        if path.name in {"output.py", "prompts.py"}:
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Attribute(
                        value=ast.Name(id="click"), attr="echo" | "secho" | "prompt" | "confirm"
                    )
                ):
                    found.append(f"{path.name}:{node.lineno}")
                case ast.Call(func=ast.Name(id="print")):
                    found.append(f"{path.name}:{node.lineno}")
                case _:
                    pass
    assert found == []
