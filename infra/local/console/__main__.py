"""`make console`: starts OpenBao with the demo's data, and serves the console until Ctrl-C."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

from realparts.stack import Stack

from . import seed, serving

ROOT = Path(__file__).resolve().parents[3]


def is_in_use(port: int) -> bool:
    """Whether another program listens on this port of 127.0.0.1."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def main(port: int) -> None:
    if is_in_use(port):
        sys.exit(f"Port {port} is in use. End the other program (is it a console that you started before?).")
    stack = Stack(ROOT / ".local")
    print("Starting OpenBao with the demo's data", flush=True)
    stack.up(["vault"])
    seed.prepare(stack.vault)
    with serving.served(stack.vault.addr, port=port, tls=False) as console:
        print(
            f"The console is at {console.origin}\n"
            "Sign in as alice (admin of payments), bob (admin of search) or petra (platform admin), "
            f"password {seed.PASSWORD!r}.\nCtrl-C stops the console, and 'make down' stops OpenBao.",
            flush=True,
        )
        try:
            console.wait()
        except KeyboardInterrupt:
            print()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8900)
