"""`make console`: OpenBao, the demo's fleet, and the console in front of it, until Ctrl-C."""

from __future__ import annotations

import sys
from pathlib import Path

from realparts.stack import Stack

from . import seed, serving

ROOT = Path(__file__).resolve().parents[3]


def main(port: int) -> None:
    stack = Stack(ROOT / ".local")
    print("Starting OpenBao and filling it with the demo's fleet", flush=True)
    stack.up(["vault"])
    seed.prepare(stack.vault)
    with serving.served(stack.vault.addr, port=port, tls=False) as console:
        print(
            f"The console is at {console.origin}\n"
            "Sign in as alice (admin of payments), bob (admin of search) or petra (platform admin), "
            f"password {seed.PASSWORD!r}.\nIt ends with Ctrl-C; OpenBao goes on until 'make down'.",
            flush=True,
        )
        try:
            console.wait()
        except KeyboardInterrupt:
            print()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8900)
