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
    """The files to read: the file or pipe itself, or all files in a folder and its subfolders, sorted.

    Files and folders whose names begin with a dot are ignored. Links to folders are followed, and each folder
    is read once. Nothing else is left out silently, because ``--prune`` removes what is not declared.

    Raises:
        MissingError: The file or folder does not exist or can't be read, or the folder contains no YAML or
            JSON file.
    """
    if not source.is_dir():
        if not source.exists():
            raise MissingError(f"{source}: no such file or folder")
        return [source]
    found = sorted(_inside(source))
    if not found:
        raise MissingError(f"{source}: contains no file that ends in {', '.join(ENDINGS)}")
    return found


def _inside(source: Path) -> Iterator[Path]:
    folders, seen = [source], set[tuple[int, int]]()
    while folders:
        folder = folders.pop()
        try:
            status, entries = folder.stat(), sorted(folder.iterdir())
        except OSError as error:
            reason = (error.strerror or "unknown error").lower()
            raise MissingError(f"{folder}: can't be read: {reason}") from None
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        for path in entries:
            if path.name.startswith("."):
                continue
            if path.is_dir():
                folders.append(path)
            elif not path.exists():
                raise MissingError(f"{path}: is a link to a file or folder that does not exist")
            elif path.suffix.lower() in ENDINGS:
                if not path.is_file():
                    raise MissingError(f"{path}: is not a file")
                yield path


def items(texts: Iterable[tuple[str, str]]) -> dict[ObjectKey, Item]:
    """Parse the objects in all texts.

    Args:
        texts: The name and the text of each file.

    Raises:
        MalformedError: Fields are wrong, or an object is declared twice. Its ``problems`` name file, line and
            field of each.
    """
    found: dict[ObjectKey, Item] = {}
    problems: list[str] = []
    platform: Item | None = None
    for new in _items(texts, problems):
        if old := found.get(new.key):
            problems.append(f"{new.where}: {new.key} is declared already: {old.where}")
        elif new.key.kind is DeclaredKind.PLATFORM and platform:
            problems.append(
                f"{new.where}: a mount has one Platform, and {platform.where} declares it already"
            )
        platform = new if new.key.kind is DeclaredKind.PLATFORM else platform
        found.setdefault(new.key, new)
    if problems:
        raise MalformedError(problems[-1], problems=[("", text) for text in problems])
    return found


def _items(texts: Iterable[tuple[str, str]], problems: list[str]) -> Iterator[Item]:
    for where, text in texts:
        try:
            for document in documents(text, where):
                try:
                    yield item(document)
                except MalformedError as error:
                    problems.append(str(error))
        except MalformedError as error:  # the rest of this file can't be parsed
            problems.append(str(error))
