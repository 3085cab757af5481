"""Selects the images of a repository to delete, by age and count. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

_ATTACHED = re.compile(r"sha256-([0-9a-f]{64})(\.[a-z]+)?")
"""The tag of a signature or an attestation. It contains the digest of its image."""


@dataclass(frozen=True, slots=True)
class Tagged:
    """A tag of a repository."""

    name: str
    digest: str
    created: datetime | None
    """When its image was built; None if unknown. Such an image is never deleted."""


def expired(tags: Iterable[Tagged], *, keep: int, age: timedelta, now: datetime) -> list[Tagged]:
    """The tags to delete: those of images that are older than an age and not among the newest.

    An image is deleted with all its tags, since a registry deletes by digest. Signatures are deleted with
    their image and do not count.

    Args:
        tags: All tags of one repository.
        keep: The number of newest images that stay at any age.
        age: The age up to which every image stays.
        now: The time.
    """
    everything = list(tags)
    images = {tag.digest: tag for tag in everything if not _ATTACHED.fullmatch(tag.name)}
    dated = [(tag.created, tag.digest) for tag in images.values() if tag.created]
    newest = {digest for _, digest in sorted(dated, reverse=True)[:keep]}
    gone = {digest for created, digest in dated if digest not in newest and created < now - age}
    return [tag for tag in everything if tag.digest in gone or _image_of(tag.name) in gone]


def _image_of(tag: str) -> str:
    found = _ATTACHED.fullmatch(tag)
    return f"sha256:{found[1]}" if found else ""
