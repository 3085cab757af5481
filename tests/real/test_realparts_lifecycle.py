"""`down` removes all that `up` has started, even after a crash, and nothing of other folders."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from nodes import need_node

from realparts.procs import STACK_MARK
from realparts.stack import Stack

pytestmark = pytest.mark.real

LOCAL = Path(__file__).resolve().parents[2] / "infra/local"


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="regcred-") as name:
        yield Path(name).resolve()
        Stack(name).down()


def left_of(directory: Path) -> list[str]:
    """Everything on this machine that belongs to a stack folder: processes, mounts, cgroups, sockets."""
    stack = Stack(directory)
    processes = []
    for process in psutil.process_iter():
        try:
            ours = process.environ().get(STACK_MARK) == str(directory)
            if ours and process.status() != psutil.STATUS_ZOMBIE:
                processes.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    mountinfo = Path("/proc/self/mountinfo")
    mounts = mountinfo.read_text().splitlines() if mountinfo.exists() else []
    run = stack.node.run_directory
    return [
        *processes,
        *(line for line in mounts if str(directory) in line or str(run) in line),
        *(str(path) for path in Path("/sys/fs/cgroup").glob(f"**/{stack.node.name}")),
        *(str(path) for path in (run, directory / "state.json", directory / "env.sh") if path.exists()),
    ]


def cli(directory: Path, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "realparts", f"--dir={directory}", *args],
        env={**os.environ, "PYTHONPATH": str(LOCAL)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def test_a_second_up_reports_that_it_is_up_and_down_leaves_nothing(directory: Path) -> None:
    first, _ = cli(directory, "up", "--parts", "vault").communicate(timeout=120)
    again, _ = cli(directory, "up", "--parts", "vault").communicate(timeout=60)
    assert "Up: vault." in first
    assert "Already up" in again
    assert f"export VAULT_ADDR={Stack.attach(directory).vault.addr}" in (directory / "env.sh").read_text()
    cli(directory, "down").communicate(timeout=60)
    assert left_of(directory) == []


def test_the_parts_of_two_folders_run_side_by_side(directory: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="regcred-") as other_name:
        one, other = Stack(directory), Stack(other_name)
        try:
            one.up(["vault"])
            other.up(["vault"])
            one.down()
            assert left_of(directory) == []
            assert other.parts_up() == ["vault"]
        finally:
            other.down()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["killed", "interrupted"])
def test_down_removes_what_an_interrupted_up_has_left(directory: Path, number: signal.Signals) -> None:
    up = cli(directory, "up", "--parts", "kubernetes")
    deadline = time.monotonic() + 60
    while not (directory / "pids/kube-apiserver").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(up.pid, number)
    up.communicate(timeout=60)
    assert left_of(directory) != []
    output, _ = cli(directory, "down").communicate(timeout=60)
    assert "Down." in output
    assert left_of(directory) == []


@pytest.mark.node
def test_a_node_leaves_nothing_even_when_its_runtime_was_killed(directory: Path) -> None:
    stack = Stack(directory)
    need_node(stack)
    stack.up(["node"])
    container = {"name": "app", "image": f"{stack.registry.host}/local/pause:1"}
    stack.kubernetes.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "app", "namespace": "default"},
            "spec": {"hostNetwork": True, "containers": [container]},
        }
    )
    stack.kubernetes.kubectl("wait", "--for=condition=Ready", "pod/app", "--timeout=60s")
    for name in ("containerd", "kubelet", "kube-apiserver"):
        pid = stack.processes.pid(name)
        assert pid
        os.kill(pid, signal.SIGKILL)
    stack.down()
    assert left_of(directory) == []
