from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from realparts.build import cache, say

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent

Sam = Callable[..., subprocess.CompletedProcess[str]]


def python313() -> Path | None:
    """A Python 3.13 on this machine, also one that only pyenv knows."""
    found = shutil.which("python3.13")
    candidates = [Path(found)] if found else []
    candidates += sorted(
        Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob("versions/3.13*/bin/python")
    )
    for candidate in candidates:
        if subprocess.run([candidate, "--version"], capture_output=True, check=False).returncode == 0:
            return candidate
    return None


def program(name: str, lock: Path) -> Path:
    """A program that pins what we don't, in an environment of its own in the cache."""
    digest = hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()[:12]
    target = cache() / "python" / f"{lock.stem}-{digest}"
    if not (target / ".complete").exists():
        say(f"installing {name} (half a minute) ...")
        shutil.rmtree(target, ignore_errors=True)
        subprocess.run([BIN / "uv", "venv", "--quiet", "--python", sys.executable, target], check=True)
        install = [
            BIN / "uv",
            "pip",
            "sync",
            "--quiet",
            "--require-hashes",
            "--python",
            target / "bin/python",
            lock,
        ]
        subprocess.run(install, check=True)
        (target / ".complete").touch()
    return target / "bin" / name


@pytest.fixture(scope="session")
def sam_program() -> Path:
    """The SAM CLI."""
    return program("sam", ROOT / "requirements/sam.txt")


@pytest.fixture(scope="session")
def checkov_program() -> Path:
    """The policy scanner."""
    return program("checkov", ROOT / "requirements/checkov.txt")


@pytest.fixture(scope="session")
def sam(sam_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Sam:
    """Run a SAM command in the checkout, without telemetry and without any AWS account."""
    home = tmp_path_factory.mktemp("sam-home")
    python = python313()

    def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        ours = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        base = ours | {
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "__SAM_CLI_APP_DIR": str(home),
            "SAM_CLI_TELEMETRY": "0",
            "AWS_DEFAULT_REGION": "eu-central-1",
            **({"PYTHON313": str(python)} if python else {}),
        }
        return subprocess.run(
            [sam_program, *arguments],
            cwd=ROOT,
            env=base | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return run
