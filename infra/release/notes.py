"""`notes.py TAG`: checks that all parts have a tag's version, and prints its section of the changelog."""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = {
    "pyproject.toml": r'^version = "(.+)"$',
    "layers/core/python/regcred/__init__.py": r'^__version__ = "(.+)"$',
    "infra/kubernetes/chart/regcred/Chart.yaml": r"^(?:version|appVersion): (.+)$",
    "infra/kubernetes/chart/regcred-registry/Chart.yaml": r"^(?:version|appVersion): (.+)$",
}
"""By file that contains the version: a pattern that finds it."""


def versions(root: Path = ROOT) -> dict[str, set[str]]:
    """By file: the versions in it."""
    return {
        name: set(re.findall(pattern, (root / name).read_text("utf-8"), re.MULTILINE))
        for name, pattern in VERSIONS.items()
    }


def notes(changelog: str, version: str) -> str:
    """The section of a version in the changelog, without its heading.

    Raises:
        ValueError: the changelog has no such section, or it is empty.
    """
    found = re.search(
        rf"^## \[{re.escape(version)}\][^\n]*\n(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL
    )
    if not found or not found[1].strip():
        raise ValueError(f"CHANGELOG.md has no section [{version}]: rename [Unreleased] first")
    return found[1].strip() + "\n"


def main(tag: str) -> int:
    """Print the notes. Return 1 if a part has another version, or if the changelog has no section for it."""
    version = tag.removeprefix("v")
    wrong = {name: found for name, found in versions().items() if found != {version}}
    for name, found in wrong.items():
        print(f"{name} has the version {', '.join(sorted(found))}, and the tag is {tag}", file=sys.stderr)
    if wrong:
        return 1
    try:
        print(notes((ROOT / "CHANGELOG.md").read_text("utf-8"), version), end="")
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
