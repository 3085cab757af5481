"""Files, classes and functions stay short."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import regcred

ROOT = Path(__file__).parents[2]
FILES = sorted([*Path(regcred.__path__[0]).rglob("*.py"), *(ROOT / "functions").rglob("*.py")])
MOST = {"class": 200, "file": 400, "function": 60}
"""The maximum length of each, in lines, with decorators and docstrings."""


def _sizes(path: Path) -> Iterator[tuple[str, str, int]]:
    text = path.read_text()
    lines = text.count("\n")
    yield "file", path.name, lines
    if lines <= min(MOST.values()):
        return  # nothing in a short file is too long
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            kind = "class" if isinstance(node, ast.ClassDef) else "function"
            yield kind, node.name, (node.end_lineno or first) - first + 1


@pytest.mark.no_cover
def test_no_file_class_or_function_is_too_long() -> None:
    assert len(FILES) > 200
    found = {
        f"{path.relative_to(ROOT)}: {kind} {name}": lines
        for path in FILES
        for kind, name, lines in _sizes(path)
        if lines > MOST[kind]
    }
    assert not found, f"split these; the maximum numbers of lines: {MOST}"
