"""Every secret value that the stand-ins and the tests have made up, so that a test can look for them in all
logs."""

from __future__ import annotations

import base64
import re
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

FILE = "used-secrets"
SHORTEST = 8
"""A shorter value is found by chance."""

_JWT = re.compile(rb"eyJ[A-Za-z0-9_-]{16,}\.eyJ[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}")
_VAULT_TOKEN = re.compile(rb"\b(?:hvs\.|hvb\.|s\.|b\.)[A-Za-z0-9_-]{24,}")


def remember(stack_directory: Path, *values: str) -> None:
    """Add values to the stack's list of used secrets."""
    path = stack_directory / FILE
    path.touch(mode=0o600)
    with path.open("a") as file:
        file.writelines(f"{value}\n" for value in values)


def used(stack_directory: Path) -> set[str]:
    """Return all that were remembered and are long enough to be told from chance."""
    path = stack_directory / FILE
    lines = path.read_text().splitlines() if path.exists() else []
    return {line for line in lines if len(line) >= SHORTEST}


def spellings(secret: str) -> set[bytes]:
    """Return how a secret may stand in a text: as it is, in a URL, and inside base64 at each of its three
    alignments."""
    raw = secret.encode()
    found = {raw, urllib.parse.quote(secret, safe="").encode()}
    for padding in range(3):
        encoded = base64.b64encode(b"\0" * padding + raw)
        whole = len(encoded) // 4 * 4
        # The first and last group mix with neighbours, so only what lies between them is sure.
        found.add(encoded[4 if padding else 0 : whole - 4])
    return {text for text in found if len(text) >= SHORTEST}


def leaks(text: bytes, secrets: set[str]) -> Iterator[str]:
    """Yield what a text shows that it must not, told without repeating it."""
    for secret in secrets:
        if any(spelling in text for spelling in spellings(secret)):
            yield f"a used secret that begins with {secret[:3]!r}"
    for name, pattern in {"a signed JWT": _JWT, "a Vault token": _VAULT_TOKEN}.items():
        if found := pattern.search(text):
            yield f"{name} that begins with {found[0][:12].decode()!r}"
