"""Cuts JSON that is nested more deeply than a parser allows. Pure.

The API server accepts 10,000 levels (encoding/json, maxNestingDepth). Python's parsers stop much earlier.
"""

from __future__ import annotations

import re

DEPTH = 64
"""How many levels are kept. Sync reads no field that is deeper."""

_BRACKET = re.compile(r'[^"{}\[\]]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"?+[^"{}\[\]]*+)*+([{}\[\]]?)', re.DOTALL)
"""Everything up to the next bracket that is not in a string."""


def flattened(content: bytes) -> bytes:
    """The same JSON, with ``null`` instead of each value below :data:`DEPTH` levels.

    Takes time linear in the content. Content that is not JSON does not become JSON.
    """
    text = content.decode("latin-1")  # one character for each byte
    kept: list[str] = []
    level = start = 0
    for found in _BRACKET.finditer(text):
        match found[1]:
            case "{" | "[":
                level += 1
                if level == DEPTH + 1:
                    kept += [text[start : found.start(1)], "null"]
            case "}" | "]":
                if level == DEPTH + 1:
                    start = found.end()
                level -= 1
    if level <= DEPTH:
        kept.append(text[start:])
    return "".join(kept).encode("latin-1")
