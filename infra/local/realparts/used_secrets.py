"""Records all secrets of the stand-ins and the tests, so that a test can search all logs for them."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import urllib.parse
from collections.abc import Iterable
from pathlib import Path

FILE = "used-secrets"
SHORTEST = 8
"""The minimum length. A shorter value could be found by chance."""

_JWT = re.compile(rb"eyJ[A-Za-z0-9_-]{16,}\.eyJ[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}")
_VAULT_TOKEN = re.compile(rb"\b(?:hvs\.|hvb\.|s\.|b\.)[A-Za-z0-9_-]{24,}")


def remember(stack_directory: Path, *values: str) -> None:
    """Add values to the stack's list of used secrets."""
    path = stack_directory / FILE
    path.touch(mode=0o600)
    with path.open("a") as file:
        file.writelines(f"{value}\n" for value in values)


def used(stack_directory: Path) -> set[str]:
    """Return the recorded secrets that are long enough to search for."""
    path = stack_directory / FILE
    lines = path.read_text().splitlines() if path.exists() else []
    return {line for line in lines if len(line) >= SHORTEST}


def spellings(secret: str) -> set[bytes]:
    """Return the forms of a secret in a text: unchanged, in a URL, and in base64 at three alignments."""
    raw = secret.encode()
    found = {raw, urllib.parse.quote(secret, safe="").encode()}
    for padding in range(3):
        encoded = base64.b64encode(b"\0" * padding + raw)
        whole = len(encoded) // 4 * 4
        # The first and last group depend on neighbouring bytes, so only the groups between are fixed.
        found.add(encoded[4 if padding else 0 : whole - 4])
    return {text for text in found if len(text) >= SHORTEST}


def leaks(path: Path, secrets: set[str]) -> list[str]:
    """Return the secrets in a file, described without repeating them."""
    by_spelling = {spelling: secret for secret in secrets for spelling in spellings(secret)}
    found = {by_spelling[spelling] for spelling in _found(path, by_spelling) if spelling in by_spelling}
    reports = [f"a used secret that begins with {secret[:3]!r}" for secret in sorted(found)]
    text = path.read_bytes()
    for name, pattern in {"a signed JWT": _JWT, "a Vault token": _VAULT_TOKEN}.items():
        if match := pattern.search(text):
            reports.append(f"{name} that begins with {match[0][:12].decode()!r}")
    return reports


def _found(path: Path, texts: Iterable[bytes]) -> set[bytes]:
    """Return those of the texts that are in a file. grep searches for all in one pass."""
    done = subprocess.run(
        ["grep", "--text", "--only-matching", "--fixed-strings", "--file=-", str(path)],
        input=b"\n".join(texts),
        capture_output=True,
        check=False,
        env={"LC_ALL": "C", "PATH": os.environ["PATH"]},
    )
    if done.returncode > 1:
        raise RuntimeError(done.stderr.decode())
    return set(done.stdout.splitlines())
