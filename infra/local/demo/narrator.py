"""Says what happens and what to look at, and shows each command as a person would type it."""

from __future__ import annotations

import shlex
import subprocess
import textwrap
import time
from pathlib import Path

WIDTH = 100


class Narrator:
    """Prints numbered steps; commands run in a shell that has read the local parts' env.sh."""

    def __init__(self, environment: Path) -> None:
        self._environment = environment
        self._number = 0
        self._began = time.monotonic()

    def step(self, title: str, why: str = "") -> None:
        """Begin a step."""
        self._number += 1
        seconds = time.monotonic() - self._began
        print(f"\n── {self._number}. {title} " + "─" * max(3, WIDTH - len(title) - 14) + f" {seconds:.0f} s")
        if why:
            self.tell(why)

    def tell(self, text: str) -> None:
        """Say something in plain words."""
        print(
            textwrap.fill(" ".join(text.split()), WIDTH, initial_indent="   ", subsequent_indent="   "),
            flush=True,
        )

    def run(self, command: str, *, stdin: str = "", shown: str = "", succeeds: bool | None = True) -> str:
        """Show a command, run it, show its output, and return it.

        Args:
            command: what to run, by bash.
            stdin: its standard input; never shown.
            shown: what to show instead, where the command is longer than its meaning.
            succeeds: whether it must, or must not; None where both are right.

        Raises:
            SystemExit: it ended otherwise.
        """
        print(f"   $ {shown or command}", flush=True)
        done = subprocess.run(
            ["bash", "-c", f"source {shlex.quote(str(self._environment))}; {command}"],
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        for line in done.stdout.splitlines():
            print(textwrap.fill(line, 160, initial_indent="     ", subsequent_indent="         ") or "")
        if succeeds is not None and (done.returncode == 0) is not succeeds:
            raise SystemExit(
                f"\nThis was not expected (exit code {done.returncode}). The logs are in "
                f"{self._environment.parent / 'logs'}."
            )
        return done.stdout
