"""The compact text of a status document; pure: JSON text in, JSON text out, and back.

Every reference of a project names nearly the same namespaces, and a name may take 63 characters. So each namespace is
written once, and a set of them is a number with one bit per namespace; times and reasons are few, so they are the keys.
The whole is compressed: ten thousand namespaces times eight registries take about 140 kB, or 670 kB if all
names are random and as long as they may be.
"""

from __future__ import annotations

import json
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from typing import Any

INFLATED_MAX = 16 * 1024 * 1024
"""Largest ledger that is unpacked, in bytes: its writer is another party, and compression can be abused."""

_NO_UID = ""
_ONE = ord("1")


def pack(text: str) -> str:
    """Make the JSON text of a status compact.

    Args:
        text: ``{"written_at": …, "registries": {R: {"placed": …, "unused_since": …, "refused": …}}}``, and other short
            fields, which stay as they are.

    Returns:
        ``{"written_at": …, "ledger": …}``, and the other fields.
    """
    status = json.loads(text)
    registries = status.get("registries", {})
    lines = _lines(registries)
    bit = {line: at for at, line in enumerate(lines)}
    first = {name: bit[name, uid] for name, uid in reversed(lines)}
    table = [f"{name} {uid}".rstrip() for name, uid in lines]
    sets = {
        registry: {
            field: _placed_sets(value, bit) if field == "placed" else _keyed_sets(value, first)
            for field, value in placement.items()
        }
        for registry, placement in registries.items()
    }
    inner = json.dumps({"namespaces": table, "registries": sets}, separators=(",", ":"))
    packed = b64encode(zlib.compress(inner.encode())).decode()
    plain = {name: value for name, value in status.items() if name != "registries"}
    return json.dumps({**plain, "ledger": packed}, separators=(",", ":"))


def unpack(text: str) -> str:
    """Undo :func:`pack`.

    Raises:
        ValueError: It is not such a text.
    """
    try:
        packed = json.loads(text)
        inner = json.loads(_inflate(packed["ledger"]))
        lines = [(name, uid) for name, _, uid in (line.partition(" ") for line in inner["namespaces"])]
        registries = {
            registry: {
                field: _placed(sets, lines) if field == "placed" else _keyed(sets, lines)
                for field, sets in fields.items()
            }
            for registry, fields in inner["registries"].items()
        }
        plain = {name: value for name, value in packed.items() if name != "ledger"}
        return json.dumps({**plain, "registries": registries})
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, zlib.error):
        raise ValueError("it is not a status document that sync has written") from None


Line = tuple[str, str]


def _lines(registries: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[Line]:
    """Every namespace with each of its uids (more than one where it was made anew), sorted; without one if it has none."""
    known = {
        line
        for placement in registries.values()
        for namespaces in placement.get("placed", {}).values()
        for line in namespaces.items()
    }
    named = {name for name, _ in known}
    others = {
        name
        for placement in registries.values()
        for field, value in placement.items()
        if field != "placed"
        for name in value
    }
    return sorted(known | {(name, _NO_UID) for name in others - named})


def _placed_sets(placed: Mapping[str, Mapping[str, str]], bit: Mapping[Line, int]) -> dict[str, str]:
    return {version: _set(bit[line] for line in names.items()) for version, names in placed.items()}


def _keyed_sets(keys: Mapping[str, str], first: Mapping[str, int]) -> dict[str, str]:
    sets: dict[str, list[int]] = {}
    for name, key in keys.items():
        sets.setdefault(key, []).append(first[name])
    return {key: _set(bits) for key, bits in sets.items()}


def _set(bits: Iterable[int]) -> str:
    """The number with these bits set, in hexadecimal; linear, unlike a sum of numbers as long as the set."""
    ones = list(bits)
    digits = bytearray(b"0") * (max(ones, default=0) + 1)
    for bit in ones:
        digits[~bit] = _ONE
    return f"{int(digits, 2):x}"


def _placed(sets: Mapping[str, str], lines: list[Line]) -> dict[str, dict[str, str]]:
    return {version: dict(_members(text, lines)) for version, text in sets.items()}


def _keyed(sets: Mapping[str, str], lines: list[Line]) -> dict[str, str]:
    return {name: key for key, text in sets.items() for name, _ in _members(text, lines)}


def _members(text: str, lines: list[Line]) -> list[Line]:
    digits = f"{int(text, 16):b}"
    if len(digits) > max(1, len(lines)):
        raise ValueError(text)
    return [lines[at] for at, digit in enumerate(reversed(digits)) if digit == "1"]


def _inflate(text: str) -> bytes:
    inflater = zlib.decompressobj()
    inner = inflater.decompress(b64decode(text, validate=True), INFLATED_MAX)
    if not inflater.eof:
        raise ValueError("ledger")
    return inner
