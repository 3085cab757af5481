"""The code blocks of the project's documents."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    path
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "infra").rglob("*.md"))
    if path.name not in {"CHANGELOG.md", "DECISIONS.md"}
)
FENCE = re.compile(r"^( *)```(\S*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
MARK = re.compile(r"<!-- (?P<kind>run by|not run): (?P<text>[^>]+) -->\s*$")
COMMENT = re.compile(r"\s{2,}(?:☁|#).*$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block: its page, the line of its fence, its language, its text, and the text before it."""

    page: str
    line: int
    language: str
    text: str
    before: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def mark(self) -> re.Match[str] | None:
        """The comment that names the test of this block, or says why there is none."""
        return MARK.search(self.before)

    def commands(self) -> list[str]:
        """The block's commands, without comments; continued lines and here-documents are joined."""
        text = COMMENT.sub("", re.sub(r"\\\n\s*", "", self.text))
        found: list[str] = []
        while text:
            line, _, text = text.partition("\n")
            if document := re.search(r"<<'?(\w+)'?", line):
                body, end, text = text.partition(f"\n{document[1]}\n")
                line = f"{line}\n{body}{end}"
            if line.strip() and not line.startswith("#"):
                found.append(line)
        return found


def blocks() -> Iterator[Block]:
    """Yield every fenced block of every page."""
    for path in PAGES:
        text = path.read_text("utf-8")
        for found in FENCE.finditer(text):
            start = found.start()
            yield Block(
                str(path.relative_to(ROOT)),
                text.count("\n", 0, start) + 1,
                found[2],
                re.sub(rf"^{found[1]}", "", found[3], flags=re.MULTILINE),
                text[max(0, start - 400) : start],
            )


def marked(page: str, test: str) -> list[Block]:
    """The blocks of a page whose mark names the file `test`."""
    return [
        block
        for block in blocks()
        if block.page == page and (mark := block.mark) and mark["kind"] == "run by" and test in mark["text"]
    ]
