"""The compact text of a status document: makes the JSON text of a status small, and restores it. Pure.

Most references of a project name nearly the same namespaces, and a name may have 63 characters. So each
namespace is written once. A set of namespaces is a number with one bit for each namespace, or a list of
distances if that is shorter. There are few different times and reasons, so they are keys, with the set of
their namespaces as the value. The result is compressed. Ten thousand namespaces times eight registries take
about 140 kB, or 670 kB if all names are random and of maximum length.
"""

from __future__ import annotations

import json
import re
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

PACKED_MAX = 1_000_000
"""The maximum size of a status document's text, in characters. Vault stores strings of up to 1 MiB."""

INFLATED_MAX = 4 * 1024 * 1024
"""The maximum size of an unpacked ledger, in bytes. A cluster writes it, and could abuse compression."""

PARTS_MAX = 100_000
"""The maximum number of objects and lists in a ledger. In memory, each takes many times its bytes."""

ENTRIES_MAX = 500_000
"""The maximum number of namespaces in all sets of a ledger together. They are counted before any set is
expanded."""

_NO_UID = ""
_ONE = ord("1")
_LIST = ","
"""The prefix of a set in the form of a list of distances."""

_HEX = re.compile(r"[0-9a-f]+")
_DISTANCES = re.compile(r"(?:,[0-9]{1,7})+")


def pack(text: str) -> str:
    """Make the JSON text of a status compact.

    Args:
        text: ``{"written_at": …, "registries": {R: {"placed": …, "unused_since": …, "refused": …}}}``, and
            other short fields, which stay as they are.

    Returns:
        ``{"written_at": …, "ledger": …}``, and the other fields.

    Raises:
        ValueError: It is larger than :func:`unpack` allows.
    """
    status = json.loads(text)
    registries = status.pop("registries", {})
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
    _check_size(sets, len(lines))
    inner = json.dumps({"namespaces": table, "registries": sets}, separators=(",", ":"))
    if inner.count("{") + inner.count("[") > PARTS_MAX:
        raise ValueError("parts")
    packed = b64encode(zlib.compress(inner.encode(), 9)).decode()
    whole = json.dumps({**status, "ledger": packed}, separators=(",", ":"))
    if len(whole) > PACKED_MAX or len(inner) > INFLATED_MAX:
        raise ValueError("length")
    return whole


def unpack(text: str) -> str:
    """Undo :func:`pack`.

    Raises:
        ValueError: It is not a text of :func:`pack`, or it would need too much memory.
    """
    try:
        if len(text) > PACKED_MAX:
            raise ValueError("length")
        packed = json.loads(text)
        inner = json.loads(_inflate(packed.pop("ledger")))
        lines = [(name, uid) for name, _, uid in (line.partition(" ") for line in inner["namespaces"])]
        _check_size(inner["registries"], len(lines))
        packed["registries"] = {
            registry: {
                field: _placed(sets, lines) if field == "placed" else _keyed(sets, lines)
                for field, sets in fields.items()
            }
            for registry, fields in inner["registries"].items()
        }
        return json.dumps(packed)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, RecursionError, zlib.error):
        raise ValueError("this is not a status document that sync has written") from None


Line = tuple[str, str]


def _lines(registries: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[Line]:
    """Every namespace with each of its uids, sorted.

    A namespace that was created again has several uids. Without a uid it is listed with an empty one.
    """
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
    """A set in the shorter one of two forms. Takes linear time.

    One form is a hexadecimal number with these bits set. The other is a list with the distance of each bit
    from the previous one.
    """
    ones = sorted(bits)
    if not ones:
        return "0"
    distances = "".join(f"{_LIST}{high - low}" for low, high in pairwise([0, *ones]))
    if len(distances) < ones[-1] // 4:
        return distances
    digits = bytearray(b"0") * (ones[-1] + 1)
    for bit in ones:
        digits[~bit] = _ONE
    return f"{int(digits, 2):x}"


def _check_size(registries: Mapping[str, Mapping[str, Mapping[str, str]]], lines: int) -> None:
    """Count the members of all sets before any is expanded.

    Raises:
        ValueError: a set has an unknown form, or all sets together are too large.
    """
    total = 0
    for fields in registries.values():
        for sets in fields.values():
            for text in sets.values():
                total += _size(text, lines)
                if total > ENTRIES_MAX:
                    raise ValueError("entries")


def _size(text: str, lines: int) -> int:
    if text.startswith(_LIST):
        if not _DISTANCES.fullmatch(text):
            raise ValueError(_LIST)
        return text.count(_LIST)
    if not _HEX.fullmatch(text) or len(text) > lines // 4 + 1:
        raise ValueError("bits")
    return int(text, 16).bit_count()


def _placed(sets: Mapping[str, str], lines: list[Line]) -> dict[str, dict[str, str]]:
    return {version: dict(_members(text, lines)) for version, text in sets.items()}


def _keyed(sets: Mapping[str, str], lines: list[Line]) -> dict[str, str]:
    return {name: key for key, text in sets.items() for name, _ in _members(text, lines)}


def _members(text: str, lines: list[Line]) -> list[Line]:
    if text.startswith(_LIST):
        at, found = 0, []
        for distance in text[1:].split(_LIST):
            at += int(distance)
            found.append(lines[at])
        return found
    digits = f"{int(text, 16):b}"
    return [lines[at] for at, digit in enumerate(reversed(digits)) if digit == "1"]


def _inflate(text: str) -> bytes:
    inflater = zlib.decompressobj()
    inner = inflater.decompress(b64decode(text, validate=True), INFLATED_MAX)
    if not inflater.eof or inner.count(b"{") + inner.count(b"[") > PARTS_MAX:
        raise ValueError("ledger")
    return inner
