"""Files, classes and functions stay short."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

import regcred

ROOT = Path(__file__).parents[2]
FILES = sorted([*Path(regcred.__path__[0]).rglob("*.py"), *(ROOT / "functions").rglob("*.py")])
MOST = {"class": 200, "file": 400, "function": 60}
"""The maximum length of each, in lines, with decorators and docstrings."""


@functools.cache
def _all_sizes() -> list[tuple[Path, str, str, int]]:
    return [(path, *size) for path in FILES for size in _sizes(path)]


def _sizes(path: Path) -> Iterator[tuple[str, str, int]]:
    text = path.read_text()
    yield "file", path.name, text.count("\n")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            kind = "class" if isinstance(node, ast.ClassDef) else "function"
            yield kind, node.name, (node.end_lineno or first) - first + 1


@pytest.mark.parametrize("kind", MOST)
def test_no_file_class_or_function_is_too_long(kind: str) -> None:
    sizes = _all_sizes()
    assert len({path for path, *_ in sizes}) > 200
    found = {
        f"{path.relative_to(ROOT)}: {name}": lines
        for path, of, name, lines in sizes
        if of == kind and lines > MOST[kind]
    }
    assert not found, f"split these: a {kind} has at most {MOST[kind]} lines"
