"""Copies public images into the system registry with crane or skopeo: all platforms, and their signatures."""

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

SIGNATURES = (".sig", ".att", ".sbom", "")
"""The suffixes of ``sha256-<digest>`` in tags of signatures, attestations and SBOMs (cosign; OCI
referrers)."""

SECONDS_MAX = 3600
IMAGES_MAX = 1000
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
        file: YAML with ``images``, each an image, or ``source`` and ``as``.
        community: The target of images without ``as``.

    Raises:
        MalformedError: names the entry.
    """
    import yaml

    try:
        entries = (yaml.safe_load(file.read_text("utf-8")) or {})["images"]
    except (yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise MalformedError(f"{file}: is not YAML with a list 'images'", field="images") from None
    if not isinstance(entries, list) or len(entries) > IMAGES_MAX:
        raise MalformedError(f"{file}: images must be a list of at most {IMAGES_MAX}", field="images")
    return [_copy_request(entry, number, community) for number, entry in enumerate(entries)]


def _copy_request(entry: Any, number: int, community: str) -> CopyRequest:
    fields = entry if isinstance(entry, dict) else {"source": entry}
    source = str(fields.get("source", ""))
    name = str(fields.get("as") or f"{community}/{source.partition('@')[0].rpartition('/')[2]}")
    if not _IMAGE.fullmatch(source) or not _NAME.fullmatch(name):
        raise MalformedError(
            f"images[{number}]: write an image with a tag, as in docker.io/library/nginx:1.29, or 'source' "
            "and 'as'",
            field=f"images[{number}]",
        )
    return CopyRequest(source, name)


@dataclass(frozen=True, slots=True)
class Copier:
    """Runs the installed crane or skopeo, with the logins that it finds."""

    program: str

    def copy(self, source: str, target: str) -> bool:
        """Copy an image and its signatures. Images that exist with the same digest are skipped.

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
    """The installed tool.

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
