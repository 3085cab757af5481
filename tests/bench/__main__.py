"""`python -m bench [PART ...]`: every benchmark in turn, or those that are named; fails if a goal does not
hold."""

from __future__ import annotations

import subprocess
import sys

PARTS = ("sync", "rotate", "fleet", "console", "system", "apply")


def main(asked: list[str]) -> int:
    """Run the parts; 0 if all hold."""
    if unknown := [part for part in asked if part not in PARTS]:
        print(f"no such benchmark: {unknown[0]}; there are {', '.join(PARTS)}", file=sys.stderr)
        return 2
    failed = 0
    for part in asked or PARTS:
        print(f"\n## {part}\n", flush=True)
        failed += subprocess.run([sys.executable, "-m", f"bench.{part}"], check=False).returncode != 0
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
