"""Installs Debian packages, and creates root folders of Debian trixie with Python 3.13.

Lambda runs Python 3.13 on arm64. Debian trixie has this Python for amd64 and arm64, so the tests can run the
output of `sam build`: on amd64 directly, and for arm64 one process at a time in QEMU's user-mode emulation.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from .build import BuildError, cache, locked, say

RELEASE = "trixie"
"""The Debian release whose python3 is 3.13."""

ARM64_PACKAGES = (
    "python3*", "libpython3*", "libc6", "libssl3*", "zlib1g", "libffi*", "libexpat*", "libbz2*",
    "liblzma*", "libsqlite3*", "libgcc*",
    "libstdc++*", "libuuid*", "libtinfo*", "libzstd*", "ca-certificates", "openssl-provider*",
)  # fmt: skip
"""The packages that Python needs. They are only unpacked, because nothing is configured in the arm64 root."""


def install(*packages: str, program: str = "") -> None:
    """Install Debian packages, unless the program that is needed from them exists.

    Args:
        packages: Their names.
        program: The needed program; the first package's name if empty.

    Raises:
        BuildError: apt-get is missing or failed.
    """
    if shutil.which(program or packages[0]):
        return
    if not shutil.which("apt-get") or os.geteuid() != 0:
        raise BuildError(
            f"{program or packages[0]} is missing. Install it: on Debian, apt-get install "
            f"{' '.join(packages)} (as root)"
        )
    say(f"installing Debian's {', '.join(packages)} (apt-get install) ...")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (
        ["apt-get", "update", "-qq"],
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages],
    ):
        _run(command, environment=environment)


def mirror() -> str:
    """Return the address of the Debian mirror in apt's configuration on this machine.

    Raises:
        BuildError: apt has no Debian mirror.
    """
    options = {key: _apt_path(key) for key in ("Dir::Etc::sourcelist", "Dir::Etc::sourceparts")}
    files = [options["Dir::Etc::sourcelist"], *sorted(options["Dir::Etc::sourceparts"].glob("*"))]
    for file in files:
        if file.is_file() and (found := find_mirror(file.read_text(errors="replace"))):
            return found
    raise BuildError(
        "apt has no Debian mirror, so Debian's Python 3.13 can't be installed; add a mirror to apt's sources"
    )


def find_mirror(sources: str) -> str:
    """Return the first address in apt's sources that serves Debian's `main`; empty if there is none.

    Both formats are supported: `deb URI SUITE main` and deb822 stanzas.
    """
    for stanza in re.split(r"\n\s*\n", sources):
        fields = dict(re.findall(r"^(\w+):[ \t]*(.*)$", stanza, re.MULTILINE))
        suites = fields.get("Suites", "").split()
        if "main" in fields.get("Components", "").split() and not any(
            "security" in suite for suite in suites
        ):
            return str(fields.get("URIs", "").split()[0])
    one_line = re.search(
        r"^deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(?!\S*security)\S+\s+(?:\S+\s+)*?main\b", sources, re.MULTILINE
    )
    return one_line[1] if one_line else ""


def python_root() -> Path:
    """Return a folder with Debian's Python 3.13 for this machine's processor, at `usr/bin/python3.13`.

    Raises:
        BuildError: it could not be created.
    """
    return _root("amd64", _bootstrap)


def arm64_root() -> Path:
    """Return a folder with Debian's arm64 Python 3.13, for :func:`emulated`.

    Raises:
        BuildError: it could not be created.
    """
    install("qemu-user-static", program="qemu-aarch64-static")
    return with_bytecode(_root("arm64", _unpack))


def with_bytecode(folder: Path) -> Path:
    """Compile the Python files of a folder of the cache for Python 3.13, once, and return the folder.

    The bytecode is the same on every processor. An emulated Python needs 20 seconds to compile the standard
    library's part of a function, and 3 to load it compiled.

    Raises:
        BuildError: a file could not be compiled.
    """
    done = folder / ".compiled"
    with locked(folder):
        if not done.exists():
            beside = {name: value for name, value in os.environ.items() if name != "PYTHONPYCACHEPREFIX"}
            options = ("-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash")
            _run([python313(), *options, folder], environment=beside)
            done.touch()
    return folder


def emulated(root: Path) -> list[str]:
    """Return the command that runs the arm64 Python of a root. Append the arguments of Python.

    The process must not start other programs, because they would not be emulated.
    """
    return ["qemu-aarch64-static", "-L", str(root), str(root / "usr/bin/python3.13")]


def python313() -> Path:
    """Return a Python 3.13: PYTHON313, the machine's, pyenv's, or Debian's from :func:`python_root`.

    Raises:
        BuildError: there is none, and Debian's could not be installed.
    """
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    named: list[str | Path | None] = [
        os.environ.get("PYTHON313"),
        shutil.which("python3.13"),
        *sorted(pyenv.glob("versions/3.13*/bin/python")),
    ]
    for candidate in (name for name in named if name):
        check = [candidate, "-c", "import sys; sys.exit(sys.version_info[:2] != (3, 13))"]
        if subprocess.run(check, capture_output=True, check=False).returncode == 0:
            return Path(candidate)
    return python_root() / "usr/bin/python3.13"


def _root(architecture: str, make: Callable[[Path, str], None]) -> Path:
    target = cache() / "debian" / f"{RELEASE}-{architecture}"
    with locked(target):
        if not target.exists():
            install("debootstrap")
            say(f"preparing Debian's Python 3.13 for {architecture} (about a minute the first time) ...")
            unfinished = target.with_name(f".{target.name}.{os.getpid()}")
            shutil.rmtree(unfinished, ignore_errors=True)
            make(unfinished, architecture)
            unfinished.rename(target)
    return target


def _bootstrap(target: Path, architecture: str) -> None:
    """Create the root. Its Python uses the loader and libraries of the root, so it needs no chroot."""
    install("patchelf")
    _debootstrap(target, architecture, ())
    final = cache() / "debian" / f"{RELEASE}-{architecture}"
    libraries = ":".join(
        str(final / folder) for folder in ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu")
    )
    loader = final / "lib64/ld-linux-x86-64.so.2"
    # An RPATH instead of a RUNPATH, because it also applies to the libraries of extension modules.
    tie = ["patchelf", "--set-interpreter", loader, "--force-rpath", "--set-rpath", libraries]
    _run([*map(str, tie), target / "usr/bin/python3.13"])


def _unpack(target: Path, architecture: str) -> None:
    _debootstrap(target, architecture, ("--foreign",))
    archives = target / "var/cache/apt/archives"
    wanted = sorted({package for pattern in ARM64_PACKAGES for package in archives.glob(f"{pattern}_*.deb")})
    for package in wanted:
        _run(["dpkg", "-x", package, target])
    shutil.rmtree(archives, ignore_errors=True)


def _debootstrap(target: Path, architecture: str, options: Sequence[str]) -> None:
    _run(
        [
            "debootstrap",
            f"--arch={architecture}",
            "--variant=minbase",
            "--include=python3,ca-certificates",
            *options,
            RELEASE,
            target,
            mirror(),
        ]
    )


def _apt_path(option: str) -> Path:
    done = subprocess.run(
        ["apt-config", "shell", "FOUND", f"{option}/f"], capture_output=True, text=True, check=False
    )
    found = re.search(r"'(.*)'", done.stdout)
    return Path(found[1]) if found else Path()


def _run(command: Sequence[str | Path], *, environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise BuildError(f"{command[0]} failed; it printed:\n{(done.stdout + done.stderr).strip()[-1500:]}")
