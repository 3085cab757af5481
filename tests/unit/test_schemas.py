"""The JSON schemas for editors, and the examples in docs/fleet.md."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from regcred.declare import files
from regcred.declare.kinds import DeclaredKind
from regcred.declare.schema import schema

DOCS = Path(__file__).resolve().parents[2] / "docs"
EXAMPLES = [
    block
    for block in re.findall(r"```yaml\n(.*?)```", (DOCS / "fleet.md").read_text(), flags=re.DOTALL)
    if "apiVersion: regcred.dev" in block
]


@pytest.mark.parametrize("kind", list(DeclaredKind))
def test_the_schemas_in_the_docs_match_the_models(kind: DeclaredKind) -> None:
    path = DOCS / "schemas" / f"{kind.lower()}.schema.json"
    assert json.loads(path.read_text()) == schema(kind), "run 'make schemas'"


def test_the_examples_of_the_page_are_valid_for_apply() -> None:
    found = files.items([(f"example {at}", text) for at, text in enumerate(EXAMPLES)])
    assert {key.kind for key in found} == set(DeclaredKind)
    kinds = {document["kind"] for text in EXAMPLES for document in yaml.safe_load_all(text)}
    assert kinds == {str(kind) for kind in DeclaredKind}
