"""Compressed text for documents that grow with a project: the index and the history. Pure."""

from __future__ import annotations

import zlib
from base64 import b64decode, b64encode

DOCUMENT_MAX = 900_000
"""The maximum size of a document's text, in characters. Vault's storage accepts entries of 1 MiB."""

INFLATED_MAX = 32 * 1024 * 1024
"""The maximum size of an unpacked text, in bytes. A few kilobytes can expand to any size."""


def deflate(text: str) -> str:
    """Compress a text: zlib (RFC 1950) in base64, so that it can be part of a JSON document."""
    return b64encode(zlib.compress(text.encode())).decode()


def inflate(packed: str) -> str:
    """Undo :func:`deflate`.

    Raises:
        ValueError: It is not a compressed text, or it expands to more than :data:`INFLATED_MAX`.
    """
    inflater = zlib.decompressobj()
    try:
        text = inflater.decompress(b64decode(packed, validate=True), INFLATED_MAX)
    except zlib.error:
        raise ValueError("is not compressed text") from None
    if not inflater.eof:
        raise ValueError("is cut off, or expands to too much")
    return text.decode()
