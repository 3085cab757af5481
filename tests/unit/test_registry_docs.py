"""docs/providers.md describes each provider, with a valid example."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from regcred.registry.catalog import names
from regcred.registry.parsing import parse

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "providers.md").read_text()
EXAMPLES = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", DOCUMENT, flags=re.DOTALL)]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["provider"])
def test_each_example_is_a_valid_definition(example: dict[str, object]) -> None:
    parse(example, where="docs/providers.md")


def test_each_provider_has_an_example() -> None:
    assert {example["provider"] for example in EXAMPLES} == set(names())


def test_each_provider_has_a_row() -> None:
    rows = {
        name
        for row in re.findall(r"^\| (`[^|]+`) \|", DOCUMENT, flags=re.MULTILINE)
        for name in re.findall(r"`([^`]+)`", row)
    }
    assert set(names()) <= rows
