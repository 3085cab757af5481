"""`pin_images.py FOLDER`: writes the digests of a release's images into the charts' values.

FOLDER has one file for each function (`sync`, `console`, `token`) with the name of its image,
`<repository>@sha256:<digest>`.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

CHARTS = Path(__file__).resolve().parents[1] / "kubernetes/chart"
PLACES = {
    "sync": ("regcred", "image"),
    "console": ("regcred", "console.image"),
    "token": ("regcred-registry", "tokenServer.image"),
}
"""By function: its chart, and the path of the image in the chart's values."""
IMAGE = re.compile(r"([a-z0-9.:/_-]+)@(sha256:[0-9a-f]{64})")


def with_value(values: str, path: str, value: str) -> str:
    """Set a string in a chart's values, and keep the comments.

    Args:
        values: the text of values.yaml, with two spaces for each level.
        path: the path of the value, as in `console.image.tag`.
        value: the string.

    Raises:
        ValueError: the values do not have this path.
    """
    lines = values.splitlines(keepends=True)
    names = path.split(".")
    depth = 0
    for number, line in enumerate(lines):
        found = re.match(r"^( *)([A-Za-z]+):", line)
        if not found:
            continue
        level = len(found[1]) // 2
        depth = min(depth, level)
        if level == depth and found[2] == names[depth]:
            if depth == len(names) - 1:
                lines[number] = f'{found[1]}{found[2]}: "{value}"\n'
                return "".join(lines)
            depth += 1
    raise ValueError(f"the values have no {path}")


def pin(folder: Path, charts: Path = CHARTS) -> None:
    """Write the images into the charts.

    Raises:
        ValueError: a file does not contain an image with a digest.
        OSError: a file is missing.
    """
    for function, (chart, place) in PLACES.items():
        named = IMAGE.fullmatch((folder / function).read_text("utf-8").strip())
        if not named:
            raise ValueError(f"{folder / function} does not contain <repository>@sha256:<digest>")
        path = charts / chart / "values.yaml"
        values = with_value(path.read_text("utf-8"), f"{place}.repository", named[1])
        path.write_text(with_value(values, f"{place}.digest", named[2]), "utf-8")


if __name__ == "__main__":
    pin(Path(sys.argv[1]))
