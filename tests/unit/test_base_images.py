"""Dockerfiles name their base image by tag and digest, and Renovate updates the digest."""

import json
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PINNED = re.compile(r"[a-z0-9./-]+:[A-Za-z0-9._-]+@sha256:[0-9a-f]{64}")
FROM = re.compile(r"FROM\s+(?:--\S+\s+)*(?P<image>\S+)(?:\s+AS\s+(?P<stage>\S+))?\s*", re.IGNORECASE)
COPY_FROM = re.compile(r"--from=(\S+)")
ARG = re.compile(r"ARG\s+(\w+)=(\S+)\s*", re.IGNORECASE)
SYNTAX = re.compile(r"#\s*syntax\s*=\s*(\S+)\s*", re.IGNORECASE)
"""BuildKit pulls the image of this line to read the Dockerfile."""


def external_images(dockerfile: str) -> list[str]:
    """The images that a build pulls: those of FROM, of COPY --from and of the line `# syntax=`."""
    arguments: dict[str, str] = {}
    stages = {"scratch"}
    found = []
    for line in dockerfile.splitlines():
        names = COPY_FROM.findall(line)
        if argument := ARG.fullmatch(line):
            arguments[argument[1]] = argument[2]
        if syntax := SYNTAX.fullmatch(line):
            names.append(syntax[1])
        base = FROM.fullmatch(line)
        if base:
            names.append(re.sub(r"\$\{?(\w+)\}?", lambda name: arguments[name[1]], base["image"]))
        found += [name for name in names if name not in stages]
        if base and base["stage"]:
            stages.add(base["stage"])
    return found


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="lists the files of a git checkout")
def test_each_base_image_has_a_tag_and_a_digest() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True)
    files = [name for name in listed.stdout.splitlines() if re.search(r"(^|/|\.)Dockerfile$", name)]
    images = {name: external_images((ROOT / name).read_text("utf-8")) for name in files}
    assert len(images) >= 3
    assert all(images.values())
    assert [image for found in images.values() for image in found if not PINNED.fullmatch(image)] == []
    bases = {image for found in images.values() for image in found if image.startswith("python:")}
    assert len(bases) == 1, "all images of a release have the same base"


DIGEST = f"sha256:{'a' * 64}"


@pytest.mark.parametrize(
    ("dockerfile", "images"),
    [
        (f"FROM debian:12@{DIGEST}", [f"debian:12@{DIGEST}"]),
        ("from --platform=$BUILDPLATFORM debian:12 as one\nFROM one", ["debian:12"]),
        ("ARG BASE=debian:12\nFROM ${BASE}\nFROM $BASE", ["debian:12", "debian:12"]),
        ("FROM scratch\nCOPY --from=ghcr.io/a/b:1 /x /x", ["ghcr.io/a/b:1"]),
        ("# syntax=docker/dockerfile:1\nFROM scratch", ["docker/dockerfile:1"]),
    ],
)
def test_all_images_that_a_build_pulls_are_found(dockerfile: str, images: list[str]) -> None:
    assert external_images(dockerfile) == images
    assert [bool(PINNED.fullmatch(image)) for image in images] == [DIGEST in image for image in images]


def test_renovate_updates_the_digests_of_base_images_at_once() -> None:
    """Renovate treats an update without a date as too new, so with the usual delay it would wait forever.

    Source: https://docs.renovatebot.com/configuration-options/#minimumreleaseagebehaviour
    """
    config = json.loads((ROOT / "renovate.json").read_text("utf-8"))
    assert "docker:pinDigests" in config["extends"]
    [rule] = [rule for rule in config["packageRules"] if rule.get("matchManagers") == ["dockerfile"]]
    assert set(rule["matchUpdateTypes"]) == {"digest", "pinDigest"}
    assert rule["minimumReleaseAge"] is None
