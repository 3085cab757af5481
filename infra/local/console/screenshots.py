"""`make screenshots`: takes pictures of the console with the demo's data.

Without an argument, it takes the README's pictures into docs/images. With a folder as argument, it takes
every page into that folder: in light and dark colours, and in the width of a phone.
"""

from __future__ import annotations

import re
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext

from realparts.vault import temporary_vault

from . import chromium, seed, serving
from .pages import PAGES, sign_in

IMAGES = Path(__file__).resolve().parents[3] / "docs" / "images"
WIDE = {"width": 1200, "height": 760}
PHONE = {"width": 360, "height": 740}
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light", "viewport": WIDE},
    "dark": {"color_scheme": "dark", "viewport": WIDE},
    "phone": {"color_scheme": "light", "viewport": PHONE},
}
README = {
    "console-overview": ("petra", "/", "light"),
    "console-annotation": ("alice", "/annotation?ref=payments/ecr-prod&ref=payments/nexus", "light"),
}
"""By file name: the user, the page and the look."""


def signed_in(browser: Browser, origin: str, name: str, look: str) -> BrowserContext:
    """Return a browser context in which a person has signed in; no one has if the name is empty."""
    context = browser.new_context(ignore_https_errors=True, **LOOKS[look])
    if not name:
        return context
    page = context.new_page()
    sign_in(page, origin, name)
    page.wait_for_url(f"{origin}/")
    page.close()
    return context


def take(context: BrowserContext, origin: str, path: str, file: Path, *, whole: bool = True) -> None:
    """Take a picture of the whole page, or of its visible part."""
    page = context.new_page()
    page.goto(origin + path)
    page.screenshot(path=file, full_page=whole)
    page.close()


def take_all(browser: Browser, origin: str, folder: Path) -> None:
    """Take a picture of every page in every look."""
    for look in LOOKS:
        for name, paths in PAGES.items():
            context = signed_in(browser, origin, name, look)
            for path in paths:
                title = re.sub(r"\W+", "-", path).strip("-") or "overview"
                take(context, origin, path, folder / f"{look}-{name or 'guest'}-{title}.png")
            context.close()


def take_for_readme(browser: Browser, origin: str) -> None:
    """Take the README's pictures."""
    for title, (name, path, look) in README.items():
        context = signed_in(browser, origin, name, look)
        take(context, origin, path, IMAGES / f"{title}.png", whole=False)
        context.close()


def main(folder: Path | None) -> None:
    """Start OpenBao and the console, take the pictures, and stop both."""
    with temporary_vault() as vault:
        seed.prepare(vault)
        with serving.served(vault.addr, stale=timedelta(0)) as served, chromium.launched() as browser:
            if folder:
                folder.mkdir(parents=True, exist_ok=True)
                take_all(browser, served.origin, folder)
            else:
                IMAGES.mkdir(exist_ok=True)
                take_for_readme(browser, served.origin)
    print(f"The pictures are in {folder or IMAGES}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
