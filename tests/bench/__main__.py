"""`python -m bench [PART ...]`: run the named benchmarks, or all. Fails if a goal is missed."""

from __future__ import annotations

import subprocess
import sys

PARTS = ("sync", "rotate", "fleet", "console", "system", "apply")


def main(named: list[str]) -> int:
    """Run the benchmarks and return the exit code: 0 if every goal is met."""
    if unknown := [part for part in named if part not in PARTS]:
        print(f"no such benchmark: {unknown[0]}; choose from {', '.join(PARTS)}", file=sys.stderr)
        return 2
    failed = 0
    for part in named or PARTS:
        print(f"\n## {part}\n", flush=True)
        failed += subprocess.run([sys.executable, "-m", f"bench.{part}"], check=False).returncode != 0
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
