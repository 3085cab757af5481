"""`sam` and other Python programs whose dependencies conflict with ours, each in a separate environment."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from realparts.build import cache, locked, say
from realparts.debian import python313

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent

Sam = Callable[..., subprocess.CompletedProcess[str]]


def program(name: str, lock: Path) -> Path:
    """Install a program from its lock into a separate environment in the cache, and return its path."""
    digest = hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()[:12]
    target = cache() / "python" / f"{lock.stem}-{digest}"
    with locked(target):
        if not (target / ".complete").exists():
            say(f"installing {name} (half a minute) ...")
            shutil.rmtree(target, ignore_errors=True)
            subprocess.run([BIN / "uv", "venv", "--quiet", "--python", sys.executable, target], check=True)
            python = ("--python", target / "bin/python")
            subprocess.run(
                [BIN / "uv", "pip", "sync", "--quiet", "--require-hashes", *python, lock], check=True
            )
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
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        base = inherited | {
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "__SAM_CLI_APP_DIR": str(home),
            "SAM_CLI_TELEMETRY": "0",
            "AWS_DEFAULT_REGION": "eu-central-1",
            "PYTHON313": str(python),
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


@pytest.fixture(scope="session")
def built(sam: Sam, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the output of `sam build`."""
    target = tmp_path_factory.mktemp("sam") / "build"
    result = sam("build", "--build-dir", target, "--cache-dir", target.parent / "cache")
    assert result.returncode == 0, result.stdout + result.stderr
    return target
