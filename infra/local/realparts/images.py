"""Builds images without Docker: one static program in a tar archive."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from .build import binary
from .gitea import Gitea
from .registry import Registry


def push_pause(registry: Registry | Gitea, repository: str, *, tag: str = "1", note: str = "") -> str:
    """Push an image that waits for SIGTERM, and return its name.

    Args:
        registry: the registry to push to.
        repository: the repository, as in `team/app`.
        tag: the tag.
        note: the content of a file in the image, so that images differ and each must be pulled.
    """
    archive = archive_of_pause(
        registry.directory / f"image-{repository.replace('/', '-')}.tar", note=note or repository
    )
    reference = registry.push(archive, repository, entrypoint="/pause", tag=tag)
    archive.unlink()
    return reference


def archive_of_pause(archive: Path, *, note: str) -> Path:
    """Write the archive of an image that waits for SIGTERM, and return it. Its program is ``/pause``."""
    _write_archive(archive, binary("pause"), note)
    return archive


def _write_archive(archive: Path, program: Path, note: str) -> None:
    with tarfile.open(archive, "w") as tar:
        entry = tar.gettarinfo(program, "pause")
        entry.mode, entry.uid, entry.gid, entry.uname, entry.gname = 0o755, 0, 0, "", ""
        with program.open("rb") as content:
            tar.addfile(entry, content)
        text = tarfile.TarInfo("note")
        text.size = len(note.encode())
        tar.addfile(text, io.BytesIO(note.encode()))
