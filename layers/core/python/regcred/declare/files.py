"""Reads declared objects from a file, a folder or a text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from regcred.declare.kinds import DeclaredKind, Item, ObjectKey, item
from regcred.errors import MalformedError, MissingError
from regcred.yaml_documents import documents

ENDINGS = (".yaml", ".yml", ".json")

FILE_MAX = 32_000_000
"""The maximum size of a file in bytes."""


def paths(source: Path) -> list[Path]:
    """The files to read: the file itself, or all files in a folder and its subfolders, sorted.

    Files and folders whose names begin with a dot are ignored.

    Raises:
        MissingError: The file or folder does not exist, or the folder contains no YAML or JSON file.
    """
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise MissingError(f"{source}: no such file or folder")
    found = sorted(
        path
        for path in source.rglob("*")
        if path.suffix in ENDINGS
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(source).parts)
    )
    if not found:
        raise MissingError(f"{source}: contains no file that ends in {', '.join(ENDINGS)}")
    return found


def read(path: Path) -> str:
    """Read the text of a file.

    Raises:
        MalformedError: The file is too large, or not UTF-8 text.
    """
    if path.stat().st_size > FILE_MAX:
        raise MalformedError(f"{path}: is larger than {FILE_MAX} bytes; split it")
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError:
        raise MalformedError(f"{path}: is not UTF-8 text") from None


def items(texts: Iterable[tuple[str, str]]) -> dict[ObjectKey, Item]:
    """Parse the objects in all texts.

    Args:
        texts: The name and the text of each file.

    Raises:
        MalformedError: A field is wrong, or an object is declared twice. The message names file, line and
            field.
    """
    found: dict[ObjectKey, Item] = {}
    for new in _items(texts):
        if old := found.get(new.key):
            raise MalformedError(f"{new.where}: {new.key} is declared already: {old.where}")
        if new.key.kind is DeclaredKind.PLATFORM and (
            others := [key for key in found if key.kind is DeclaredKind.PLATFORM]
        ):
            raise MalformedError(
                f"{new.where}: a mount has one Platform, and {found[others[0]].where} declares it already"
            )
        found[new.key] = new
    return found


def _items(texts: Iterable[tuple[str, str]]) -> Iterator[Item]:
    for where, text in texts:
        for document in documents(text, where):
            yield item(document)
