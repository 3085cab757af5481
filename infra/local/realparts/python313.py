"""`python -m realparts.python313 PYTEST-ARGUMENTS`: runs tests on Python 3.13, Lambda's version.

The environment `.venv313` contains the locked packages. Its Python is the machine's or Debian's.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from .build import LOCAL, BuildError, say
from .debian import python313

ROOT = LOCAL.parents[1]
LOCK = ROOT / "requirements/dev.txt"
ENVIRONMENT = ".venv313"


def environment_python() -> Path:
    """Return the Python of `.venv313`. Create the environment if it is missing or out of date.

    Raises:
        BuildError: Python 3.13 or the packages could not be installed.
    """
    base = python313()
    target = ROOT / ENVIRONMENT
    made_of = hashlib.sha256(LOCK.read_bytes() + str(base).encode()).hexdigest()
    stamp = target / ".made-of"
    if not stamp.exists() or stamp.read_text() != made_of:
        say(f"installing the packages of the tests for Python 3.13 ({base}) ...")
        shutil.rmtree(target, ignore_errors=True)
        python = target / "bin/python"
        _uv("venv", "--quiet", "--python", base, target)
        _uv("pip", "sync", "--quiet", "--require-hashes", "--python", python, LOCK)
        _uv("pip", "install", "--quiet", "--no-deps", "--python", python, "--editable", ROOT)
        stamp.write_text(made_of)
    return target / "bin/python"


def environment_variables() -> dict[str, str]:
    """Return the variables for that Python: its programs are first in PATH, and it has its own bytecode."""
    folder = ROOT / ENVIRONMENT
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {
        **kept,
        "PYTHONPYCACHEPREFIX": str(folder / "pycache"),
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
    }


def _uv(*arguments: str | Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "uv", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BuildError(f"uv {arguments[0]} failed; it printed:\n{done.stderr.strip()[-1500:]}")


def main() -> int:
    """Run pytest and return its exit code."""
    try:
        command = [str(environment_python()), "-m", "pytest", *sys.argv[1:]]
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    return subprocess.run(command, cwd=ROOT, env=environment_variables(), check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
