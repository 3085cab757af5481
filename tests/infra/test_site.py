"""The documentation as a site: it builds without a warning, its links work, and its pages are up to date."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from regcred.cluster import annotations
from regcred.registry.catalog import names
from regcred.sync.messages import Reason

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
OPERATING = (DOCS / "operating.md").read_text("utf-8")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(DOCS, folder / "docs")
    shutil.copy(ROOT / "zensical.toml", folder)
    command = [str(Path(sys.executable).with_name("zensical")), "build", "--strict"]
    built = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=250)
    assert built.returncode == 0, built.stdout + built.stderr
    assert "No issues found" in built.stdout + built.stderr, built.stdout + built.stderr
    return folder / ".site"


def links(page: str) -> Iterator[str]:
    for link in re.findall(r"""(?:href|src)=["']?([^"' >]+)""", page):
        parts = urlsplit(unescape(link))
        if not parts.scheme and not parts.netloc:
            yield unquote(unescape(link))


def test_each_link_inside_the_site_leads_to_a_page_and_its_heading(site: Path) -> None:
    pages = {path: path.read_text("utf-8") for path in site.rglob("*.html")}
    assert len(pages) > 40
    wrong = []
    for path, page in pages.items():
        if path.name == "404.html":
            continue
        for link in set(links(page)):
            target, _, heading = link.partition("#")
            found = (site / target.lstrip("/") if target.startswith("/") else path.parent / target).resolve()
            found = found / "index.html" if found.is_dir() else found
            if not found.exists():
                wrong.append(f"{path.relative_to(site)}: {link}")
            elif (
                heading
                and found.suffix == ".html"
                and not re.search(rf"""id=["']?{re.escape(heading)}["' >]""", pages.get(found, ""))
            ):
                wrong.append(f"{path.relative_to(site)}: {link}: no such heading")
    assert wrong == []


def test_each_page_is_in_the_navigation() -> None:
    config = tomllib.loads((ROOT / "zensical.toml").read_text("utf-8"))
    named = set(_paths(config["project"]["nav"]))
    assert named == {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")}, "zensical.toml has the nav"


def _paths(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    for item in nav.values() if isinstance(nav, dict) else nav if isinstance(nav, list) else ():
        yield from _paths(item)


def test_the_pages_that_come_from_the_code_are_up_to_date() -> None:
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


def test_operating_has_each_event_of_sync() -> None:
    assert sorted(operated("Events")) == sorted(Reason)
