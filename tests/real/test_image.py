"""The image of sync: it contains nothing superfluous and runs on arm64. test_sync_pod.py runs it as a Pod
of the chart."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from runpy import run_path
from typing import Any

import pytest
from helm import CHART
from real.controlplane import Cluster, workload
from real.syncing import SyncProcess, allow_project, mount_of

from realparts.debian import arm64_root, emulated, python313
from realparts.stack import Stack
from regcred import __version__
from regcred.registry_reference import Reference

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

IMAGE = CHART.parents[1] / "image"
FOREIGN = re.compile(
    r"(^|/)(boto3|botocore|google/(auth|oauth2)|azure|hypothesis|pytest|_pytest|pip|uv|\.git|\.env|"
    r"\.pytest_cache|[^/]*\.pem|id_rsa[^/]*)(/|$)"
)
"""Files that sync does not need: SDKs of clouds, tools and keys. The only exception is certifi's list of
authorities. Protocol Buffers, which traces need, are in the folder `google` too."""

TOOLS = re.compile(r"^\./(usr/)?(local/)?s?bin/(gcc|cc|make|git|curl|wget|pip3?|ssh|sudo)$")
"""Programs that help only an intruder."""


@pytest.fixture(scope="module")
def assemble() -> dict[str, Any]:
    return run_path(str(IMAGE / "assemble.py"))


@pytest.fixture(scope="module")
def arm64(assemble: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the Dockerfile adds to an arm64 image with Python 3.13."""
    root = tmp_path_factory.mktemp("image") / "root"
    put: Callable[..., None] = assemble["app_folder"]
    put(root, "sync", python="3.13", machine="aarch64-manylinux2014", compiler=str(python313()))
    return root


def unwanted(root: Path) -> list[str]:
    """Files that do not belong in the image, without its base."""
    found = []
    for path in root.rglob("*"):
        name = str(path.relative_to(root))
        foreign = FOREIGN.search(name) and not name.endswith("certifi/cacert.pem")
        if foreign or path.is_symlink() or path.stat().st_mode & 0o6000:
            found.append(name)
    return found


def test_the_image_contains_the_locked_packages_our_code_and_nothing_else(
    arm64: Path, assemble: dict[str, Any]
) -> None:
    assert unwanted(arm64) == []
    packages = arm64 / assemble["PACKAGES"]
    assert sorted(path.name for path in (arm64 / "app").iterdir()) == ["app.py"]
    lock = (IMAGE / "requirements.txt").read_text()
    locked = set(re.findall(r"^([a-z0-9-]+)==", lock, re.MULTILINE))
    installed = {
        path.name.partition("-")[0].replace("_", "-").replace(".", "-").lower()
        for path in packages.glob("*.dist-info")
    }
    assert installed
    assert installed <= locked
    (packages / "boto3").mkdir()
    (arm64 / "app" / "key.pem").touch()
    assert sorted(unwanted(arm64)) == ["app/key.pem", "opt/regcred/boto3"]
    (packages / "boto3").rmdir()
    (arm64 / "app" / "key.pem").unlink()


def test_two_builds_give_the_same_bytes(assemble: dict[str, Any], tmp_path: Path) -> None:
    """This is about our layers. The base is from Debian."""
    layer: Callable[[Path, str], Path] = assemble["_app_layer"]
    folders = [tmp_path / "first", tmp_path / "another-one"]
    for folder in folders:
        folder.mkdir()
    first, second = (layer(folder, "sync").read_bytes() for folder in folders)
    assert first == second
    for place in (tmp_path, sys.executable):  # nothing names the machine that built it
        assert str(place).encode() not in first


def test_the_base_has_no_tools_no_caches_and_no_privileged_files_of_ours(assemble: dict[str, Any]) -> None:
    with tarfile.open(assemble["base_layer"]()) as base:
        names = base.getnames()
    assert any(name.startswith("./usr/bin/python3") for name in names)
    assert [name for name in names if TOOLS.match(name)] == []
    assert [
        name for name in names if name.startswith(("./var/cache/apt/", "./var/lib/apt/lists/", "./dev/"))
    ] == []


class EmulatedSync(SyncProcess):
    """Sync from the arm64 image, as one process under emulation."""

    root: Path

    def command(self, *arguments: str) -> list[str]:
        app = str(self.root / "app/app.py")
        return [*emulated(arm64_root()), "-S", app, *arguments]


def test_the_image_prints_its_version_on_arm64(arm64: Path, assemble: dict[str, Any]) -> None:
    environment = {
        **assemble["ENVIRONMENT"],
        "PYTHONPATH": str(arm64 / assemble["PACKAGES"]),
        "PATH": "/usr/bin",
    }
    command = [*emulated(arm64_root()), "-S", str(arm64 / "app/app.py"), "--version"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, f"regcred-sync {__version__}"), done.stderr


def test_a_dry_run_on_arm64_plans_a_secret_and_writes_none(
    arm64: Path, assemble: dict[str, Any], stack: Stack, cluster: Cluster, tmp_path: Path
) -> None:
    stack.up(["vault", "kubernetes"])
    mount = mount_of(stack)
    reference = Reference("arm", "images")
    allow_project(stack, mount, reference.project)
    space = cluster.namespace()
    mount.mint(str(reference), stack.remember_secret("s3cret-of-arm64"))
    mount.grant({reference.project: [space]})
    cluster.create(workload("Deployment", space, own={"registry.regcred.dev/a": str(reference)}))
    packages = str(arm64 / assemble["PACKAGES"])
    settings = {**assemble["ENVIRONMENT"], "PYTHONPATH": packages}
    sync = EmulatedSync(stack, cluster, tmp_path, **settings)
    sync.root = arm64
    code, output = sync.once("--dry-run", seconds=600)
    assert code == 0, output
    assert f"{space}" in output
    assert reference.secret_name in output
    assert "s3cret-of-arm64" not in output
    names = [item["metadata"]["name"] for item in cluster.items("Secret", space)]
    assert reference.secret_name not in names
