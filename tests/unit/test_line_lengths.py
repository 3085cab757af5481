"""Lines have at most 110 characters. ruff checks Python, mdformat Markdown, and these tests the rest."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MOST = 110
SUFFIXES = {".css", ".go", ".hcl", ".html", ".in", ".js", ".sh", ".toml", ".tpl", ".txt", ".yaml", ".yml"}
NAMES = {"Dockerfile", "Makefile", "run"}
LOCKED = "--hash=sha256:"
"""`make lock` writes the files with these, and their lines can't be broken."""


def _files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True)
    return [
        path
        for name in listed.stdout.splitlines()
        if (path := ROOT / name).suffix in SUFFIXES | {f".{name}" for name in NAMES} or path.name in NAMES
    ]


def _too_long(text: str) -> list[int]:
    """The numbers of the lines that are too long. A line that is only a URL can't be broken."""
    return [
        number
        for number, line in enumerate(text.splitlines(), 1)
        if len(line) > MOST and not line.lstrip("#/ ").startswith("https://")
    ]


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="lists the files of a git checkout")
def test_no_line_is_too_long() -> None:
    texts = {path: path.read_text("utf-8") for path in _files() if path.exists()}
    assert len(texts) > 100
    found = {
        f"{path.relative_to(ROOT)}:{number}"
        for path, text in texts.items()
        if LOCKED not in text
        for number in _too_long(text)
    }
    assert found == set(), f"break these lines: a line has at most {MOST} characters"


@pytest.mark.parametrize(
    ("line", "is_too_long"),
    [
        ("x" * MOST, False),
        ("x" * (MOST + 1), True),
        ("# https://example.com/" + "x" * MOST, False),
        ("# see https://example.com/" + "x" * MOST, True),
    ],
)
def test_only_a_line_that_is_a_url_may_be_longer(*, line: str, is_too_long: bool) -> None:
    assert bool(_too_long(f"short\n{line}\n")) is is_too_long
