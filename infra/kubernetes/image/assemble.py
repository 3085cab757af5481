"""Builds the image of the Dockerfile without Docker, with debootstrap, uv and crane.

It needs root, and installs Debian's debootstrap if it is missing. The cache of the real parts keeps the base.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

from realparts.build import binary, cache, say

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
SUITE = "bookworm"
PYTHON = "3.11"
"""The Python of that suite. The packages come from the same lock as in the Dockerfile."""
INCLUDE = ("ca-certificates", "python3")

REQUIREMENTS = {
    "sync": "requirements.txt",
    "token": "requirements-token.txt",
    "console": "requirements-console.txt",
}
PACKAGES = "opt/regcred"
APP = "app/app.py"
USER = "65532:65532"
WORKDIR = "/app"
ENTRYPOINT = ("python3", f"/{APP}")
ENVIRONMENT = {"PYTHONPATH": f"/{PACKAGES}", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}


def assemble(reference: str, *, docker_config: Path, function: str = "sync") -> None:
    """Build the image and push it.

    Args:
        reference: `<registry>/<repository>:<tag>`.
        docker_config: a folder with the `config.json` of a user who may push.
        function: `sync`, `token` or `console`.

    Raises:
        subprocess.CalledProcessError: a step failed. `stderr` contains the reason.
    """
    base = base_layer()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(docker_config),
        "DOCKER_CONFIG": str(docker_config),
    }
    with tempfile.TemporaryDirectory() as folder:
        app = _app_layer(Path(folder), function)
        say(f"building the image of {function} as {reference} ...")
        _run(
            [binary("crane"), "append", "--oci-empty-base", "-f", base, "-f", app, "-t", reference],
            env=environment,
        )
        settings = [f"--env={name}={value}" for name, value in ENVIRONMENT.items()]
        architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
        _run(
            [
                binary("crane"),
                "mutate",
                reference,
                f"--tag={reference}",
                f"--entrypoint={','.join(ENTRYPOINT)}",
                f"--user={USER}",
                f"--workdir={WORKDIR}",
                f"--set-platform=linux/{architecture}",
                *settings,
            ],
            env=environment,
        )


def base_layer() -> Path:
    """Return the base as a tar archive. Create it at first use, which takes about a minute."""
    named = hashlib.sha256(repr((SUITE, INCLUDE, platform.machine())).encode()).hexdigest()[:12]
    target = cache() / "images" / f"{SUITE}-{named}.tar.gz"
    if target.exists():
        return target
    _install_debootstrap()
    say(f"building the base of the image from Debian {SUITE} (about a minute the first time) ...")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        root = Path(folder) / "root"
        _run(["debootstrap", "--variant=minbase", f"--include={','.join(INCLUDE)}", SUITE, root])
        for path in (
            "var/cache/apt",
            "var/lib/apt/lists",
            "var/log",
            "usr/share/doc",
            "usr/share/man",
            "usr/share/locale",
        ):
            shutil.rmtree(root / path, ignore_errors=True)
        unfinished = target.with_name(f".{target.name}.{os.getpid()}")
        _run(
            [
                "tar",
                "--create",
                "--gzip",
                f"--file={unfinished}",
                f"--directory={root}",
                "--exclude=./dev/*",
                ".",
            ]
        )
        unfinished.rename(target)
    return target


def app_folder(
    root: Path, function: str, *, python: str = PYTHON, machine: str = "", compiler: str = sys.executable
) -> None:
    """Install the packages and the function into a folder, with the paths of the image.

    Args:
        root: the folder for the image's root.
        function: `sync`, `token` or `console`.
        python: the version of the image's Python.
        machine: a platform in uv's form, as in `aarch64-manylinux2014`; this machine's if empty.
        compiler: the Python that compiles the bytecode.

    Raises:
        subprocess.CalledProcessError: a step failed. `stderr` contains the reason.
    """
    packages = root / PACKAGES
    packages.mkdir(parents=True)
    platforms = [f"--python-platform={machine}"] if machine else []
    _run(
        [
            sys.executable, "-m", "uv", "pip", "install",
            "--quiet", "--no-deps", "--require-hashes", "--only-binary=:all:",
            f"--python-version={python}", *platforms,
            f"--target={packages}", f"--requirement={HERE / REQUIREMENTS[function]}",
        ]
    )  # fmt: skip
    _drop_scripts(packages)
    shutil.copytree(
        ROOT / "layers/core/python/regcred",
        packages / "regcred",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    app = root / APP
    app.parent.mkdir()
    shutil.copy(ROOT / "functions" / function / "app.py", app)
    # -E ignores PYTHONPYCACHEPREFIX, so the bytecode is in the image. -s and -p set the paths in tracebacks.
    places = ["-s", root, "-p", "/"]
    _run([compiler, "-E", "-m", "compileall", "-q", *places, "--invalidation-mode=unchecked-hash", packages])


def _drop_scripts(packages: Path) -> None:
    """Remove the scripts of packages, which nothing runs. They contain the path of another Python."""
    shutil.rmtree(packages / "bin", ignore_errors=True)
    for record in packages.glob("*.dist-info/RECORD"):
        kept = [line for line in record.read_text().splitlines() if not line.startswith("bin/")]
        record.write_text("\n".join(kept) + "\n")


def _app_layer(folder: Path, function: str) -> Path:
    """Create the layer as a tar archive. The same sources and locks give the same bytes."""
    app_folder(folder / "root", function)
    archive = folder / "app.tar"
    with tarfile.open(archive, "w") as tar:
        for path in sorted((folder / "root").iterdir()):
            tar.add(path, path.name, filter=_of_root)
    return archive


def _of_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Set the owner to root, the mode to readable by all, and the time to SOURCE_DATE_EPOCH."""
    entry.mtime = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
    return entry


def _install_debootstrap() -> None:
    if shutil.which("debootstrap"):
        return
    say("installing Debian's debootstrap (apt-get install debootstrap) ...")
    for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", "debootstrap"]):
        _run(command, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})


def _run(command: Sequence[str | Path], *, env: dict[str, str] | None = None) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, env=env)
