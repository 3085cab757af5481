"""One word has one meaning: docs/glossary.md defines the terms, and these tests hold the names of the code to them."""

import ast
from collections import defaultdict
from pathlib import Path

TOP = Path(__file__).parents[2]
SOURCES = sorted(
    file for folder in ("layers/core/python/regcred", "functions") for file in (TOP / folder).rglob("*.py")
)


def test_no_two_classes_have_the_same_name() -> None:
    """``X`` and ``_X`` count as the same name: a reader who searches for one finds the other."""
    homes = defaultdict(list)
    for file in SOURCES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ClassDef):
                homes[node.name.lstrip("_")].append(f"{file.relative_to(TOP)}:{node.lineno}")
    assert len(homes) > 300
    assert {name: places for name, places in homes.items() if len(places) > 1} == {}
