"""Copies images into the system registry with crane or skopeo: all platforms, and their signatures."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regcred.errors import MalformedError, MissingError, RegcredError
from regcred.printable import printable
from regcred.yaml_documents import YamlDocument, documents

SIGNATURES = (".sig", ".att", ".sbom", "")
"""Tags of signatures, attestations and SBOMs are ``sha256-<digest>`` with one of these suffixes: cosign's
tags, and the OCI referrers tag without a suffix."""

SECONDS_MAX = 3600
"""The maximum time of one call of crane or skopeo."""

IMAGES_MAX = 1000
"""The maximum number of images in a list."""

_IMAGE = re.compile(r"[a-z0-9][a-zA-Z0-9._:/@-]{0,510}")
_NAME = re.compile(r"[a-z0-9][a-z0-9._/-]{0,250}:[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True)
class CopyRequest:
    """One image to copy."""

    source: str
    name: str
    """Its name in the registry, without the host."""


class CopyError(RegcredError):
    """crane or skopeo failed. The text is its last message."""


def read_list(file: Path, community: str) -> list[CopyRequest]:
    """Parse a list of images.

    Args:
        file: YAML with the list ``images``. Each item is an image, or a map with ``source`` and ``as``.
        community: The project that gets the images without ``as``.

    Raises:
        MalformedError: the list is malformed. The message names the file and the line.
    """
    try:
        found = list(documents(file.read_text("utf-8"), str(file)))
    except UnicodeDecodeError:
        raise MalformedError(f"{file}: is not UTF-8 text") from None
    if len(found) > 1:
        raise MalformedError(f"{file}: contains {len(found)} documents; write only one")
    content = found[0].content if found else None
    entries = content.get("images") if isinstance(content, dict) else None
    if not isinstance(entries, list) or len(entries) > IMAGES_MAX:
        raise MalformedError(f"{file}: images must be a list of at most {IMAGES_MAX} images", field="images")
    return [_copy_request(entry, number, found[0], community) for number, entry in enumerate(entries)]


def _copy_request(entry: Any, number: int, document: YamlDocument, community: str) -> CopyRequest:
    fields = entry if isinstance(entry, dict) else {"source": entry}
    source = str(fields.get("source", ""))
    name = str(fields.get("as") or f"{community}/{source.partition('@')[0].rpartition('/')[2]}")
    if not _IMAGE.fullmatch(source) or not _NAME.fullmatch(name):
        path = f"images[{number}]"
        raise MalformedError(
            f"{document.at(path)}: write an image with a tag, as in docker.io/library/nginx:1.29, or "
            "'source' and 'as'",
            field=path,
        )
    return CopyRequest(source, name)


@dataclass(frozen=True, slots=True)
class Copier:
    """Runs the installed crane or skopeo. The tool finds the logins itself."""

    program: str

    def copy(self, source: str, target: str) -> bool:
        """Copy an image and its signatures. Skip those that the target already has with the same digest.

        Returns:
            Whether anything was copied.

        Raises:
            CopyError: the source can't be read, or the target can't be written.
        """
        digest = self._digest(source)
        copied = self._copy_missing(source, target, digest)
        repository, target_repository = _repository(source), _repository(target)
        for suffix in SIGNATURES:
            tag = f"{digest.replace(':', '-')}{suffix}"
            try:
                signature = self._digest(f"{repository}:{tag}")
            except CopyError:
                continue  # it has no such tag
            copied |= self._copy_missing(f"{repository}:{tag}", f"{target_repository}:{tag}", signature)
        return copied

    def _copy_missing(self, source: str, target: str, digest: str) -> bool:
        try:
            if self._digest(target) == digest:
                return False
        except CopyError:
            pass  # it does not exist
        if self.program.endswith("skopeo"):
            self._run(
                "copy", "--all", "--preserve-digests", "--quiet", f"docker://{source}", f"docker://{target}"
            )
        else:
            self._run("copy", source, target)
        return True

    def _digest(self, image: str) -> str:
        if self.program.endswith("skopeo"):
            manifest = self._run("inspect", "--raw", f"docker://{image}")
            return f"sha256:{hashlib.sha256(manifest).hexdigest()}"
        return self._run("digest", image).decode().strip()

    def _run(self, *args: str) -> bytes:
        try:
            done = subprocess.run(  # noqa: S603 - the arguments were checked
                [self.program, *args], capture_output=True, check=False, timeout=SECONDS_MAX
            )
        except subprocess.TimeoutExpired:
            raise CopyError(f"{Path(self.program).name} did not end within an hour") from None
        if done.returncode:
            lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
            raise CopyError(printable(lines[-1])[:500])
        return done.stdout


def copier() -> Copier:
    """Find the installed tool: crane, or else skopeo.

    Raises:
        MissingError: neither is installed.
    """
    for name in ("crane", "skopeo"):
        if found := shutil.which(name):
            return Copier(found)
    raise MissingError("neither crane nor skopeo is installed; install one of them")


def _repository(image: str) -> str:
    head, slash, last = image.partition("@")[0].rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}"
