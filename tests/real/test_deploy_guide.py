"""The commands of docs/deploy.md, as they stand there, against the local parts: all but those that need an
AWS account or a cluster."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from realparts.aws import ACCOUNT, BUS, REGION
from realparts.internet import python_environment
from realparts.stack import Stack

ROOT = Path(__file__).resolve().parents[2]
ELSEWHERE = ("aws ", "sam ", "helm ", "kubectl ", "vault login")
"""What the account, the cluster's own tests and tests/infra stand for."""

pytestmark = pytest.mark.real


def commands(page: str = "docs/deploy.md", *, marked: bool = False) -> list[str]:
    """The commands of a page's blocks, with continued lines and here-documents joined.

    Args:
        page: The path of the page.
        marked: Whether to take only the blocks whose mark names this file.
    """
    text = (ROOT / page).read_text()
    blocks = re.findall(
        r"^( *)<!-- ((?:not )?run[^>]*) -->\n\n *```bash\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL
    )
    found: list[str] = []
    for indent, mark, block in blocks:
        if marked and f"tests/real/{Path(__file__).name}" not in mark:
            continue
        joined = re.sub(r"\\\n\s*", "", re.sub(rf"^{indent}", "", block, flags=re.MULTILINE))
        found += _here(joined) if "<<" in joined else joined.splitlines()
    return [re.split(r"\s{3,}(?:☁|#)", line)[0].strip() for line in found if line.strip()]


def _here(text: str) -> list[str]:
    document, rest = text.split("\nEND\n", 1)
    return [f"{document}\nEND\n", *rest.splitlines()]


@pytest.fixture
def serving(aws_stack: Stack) -> Iterator[Stack]:
    aws_stack.push_image("payments/shop", tag="1.0")
    aws_stack.aws.add_role(
        f"arn:aws:iam::{ACCOUNT}:role/regcred/regcred-payments",
        trusted=aws_stack.lambda_.role("rotate"),
        external_id="payments",
        tags={"project": "payments"},
    )
    running = aws_stack.processes.pid("lambda-rotate")
    aws_stack.start_functions()
    yield aws_stack
    if not running:
        aws_stack.stop_functions()


def run(command: str, stack: Stack, folder: Path, **more: str) -> None:
    """Run a command of a page as its reader does, with the command line of this environment."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        command,
        shell=True,
        cwd=folder,
        env=python_environment() | stack.environment() | {"PATH": path} | more,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def test_every_command_of_the_guide_that_can_run_here_does(serving: Stack, tmp_path: Path) -> None:
    ran = []
    for command in commands():
        if command.startswith((*ELSEWHERE, "export ")):
            continue
        here = command.replace("eu-central-1", REGION).replace("--cluster c1", "--cluster local")
        run(here, serving, tmp_path, REGCRED_EVENT_BUS=BUS)
        ran.append(command.split()[1])
    assert ran == ["platform", "platform", "project", ">", "registry", "grant", "annotation", "status"]


def test_the_marked_commands_about_vault_run(serving: Stack, tmp_path: Path) -> None:
    found = [line for line in commands("docs/vault.md", marked=True) if not line.startswith("export ")]
    assert found == ["regcred platform plan", "regcred platform apply", "regcred platform check"]
    for command in found:
        run(command, serving, tmp_path)
