"""The documentation as a site: it builds without a warning, and its links work."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


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
