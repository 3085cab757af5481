"""Debian's Chromium, for tests and screenshots."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

FLAGS = [
    "--no-sandbox",  # it runs as root in CI, and opens only our own pages
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def find() -> str:
    """Return the path of Chromium. Install it if it is missing and apt-get is available.

    Raises:
        RuntimeError: there is none. The message contains the remedy.
    """
    names = ("chromium", "chromium-browser", "google-chrome")
    if found := os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None):
        return found
    if shutil.which("apt-get") and os.geteuid() == 0:
        print("installing Debian's Chromium (apt-get install chromium) ...", flush=True)
        for command in (
            ["apt-get", "update", "-qq"],
            ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"],
        ):
            subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
        if found := shutil.which("chromium"):
            return found
    raise RuntimeError("there is no Chromium: run 'apt-get install chromium', or set CHROMIUM to its path")


@contextmanager
def launched() -> Iterator[Browser]:
    """A browser without a screen."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find(), args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()
