"""Each page of the documentation is in the navigation and up to date.

tests/infra/test_site_links.py builds the site and checks its links.
"""

from __future__ import annotations

import re
import runpy
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from regcred.cluster import annotations
from regcred.registry.catalog import names
from regcred.sync.messages import Reason

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
OPERATING = (DOCS / "operating.md").read_text("utf-8")


def test_each_page_is_in_the_navigation() -> None:
    config = tomllib.loads((ROOT / "zensical.toml").read_text("utf-8"))
    named = set(_paths(config["project"]["nav"]))
    assert named == {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")}, "zensical.toml has the nav"


def _paths(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    for item in nav.values() if isinstance(nav, dict) else nav if isinstance(nav, list) else ():
        yield from _paths(item)


@pytest.mark.no_cover
def test_the_generated_pages_are_up_to_date() -> None:
    pages = runpy.run_path(str(ROOT / "infra/docs/reference.py"))["pages"]()
    stale = [path for path, text in pages.items() if (DOCS / path).read_text("utf-8") != text]
    assert stale == [], "run 'make reference'"
    folders = (DOCS / "vendors", DOCS / "reference")
    found = {str(path.relative_to(DOCS)) for folder in folders for path in folder.iterdir()}
    assert found == set(pages), "run 'make reference'"
    assert {f"vendors/{name}.md" for name in names()} <= set(pages)


def test_each_annotation_is_in_the_reference() -> None:
    text = (DOCS / "reference/annotations.md").read_text("utf-8")
    for name, value in vars(annotations).items():
        if name.isupper() and isinstance(value, str) and "regcred.dev" in value:
            assert f"`{value}`" in text, name


def operated(heading: str) -> list[str]:
    section = OPERATING.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| `([^`]+)` \|", section, flags=re.MULTILINE)


def test_the_page_about_operation_lists_each_event_of_sync() -> None:
    assert sorted(operated("Events")) == sorted(Reason)
