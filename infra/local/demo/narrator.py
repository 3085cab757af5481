"""Prints the steps of the demo, their explanations, and the commands with their output."""

from __future__ import annotations

import shlex
import subprocess
import textwrap
import time
from pathlib import Path

WIDTH = 100


class Narrator:
    """Prints numbered steps, and runs commands in a shell that has sourced env.sh of the local parts."""

    def __init__(self, environment: Path) -> None:
        self._environment = environment
        self._number = 0
        self._began = time.monotonic()

    def step(self, title: str, why: str = "") -> None:
        """Print the title of the next step."""
        self._number += 1
        seconds = time.monotonic() - self._began
        print(f"\n── {self._number}. {title} " + "─" * max(3, WIDTH - len(title) - 14) + f" {seconds:.0f} s")
        if why:
            self.tell(why)

    def tell(self, text: str) -> None:
        """Print an explanation."""
        print(
            textwrap.fill(" ".join(text.split()), WIDTH, initial_indent="   ", subsequent_indent="   "),
            flush=True,
        )

    def run(self, command: str, *, stdin: str = "", shown: str = "", succeeds: bool | None = True) -> str:
        """Print a command, run it, and print and return its output.

        Args:
            command: the bash command.
            stdin: its standard input, which is not printed.
            shown: the text to print instead of a long command.
            succeeds: whether it must succeed (True) or fail (False); None allows both.

        Raises:
            SystemExit: it ended differently.
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
                f"\nThe exit code {done.returncode} was not expected. The logs are in "
                f"{self._environment.parent / 'logs'}."
            )
        return done.stdout
