"""The command line against a Vault and an API server that hang: it soon reports what it waits for."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.real


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_a_server_that_hangs_is_reported_within_a_few_seconds(silent: str, tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        f"""{{"apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{{"name": "c", "cluster": {{"server": "http://{silent}"}}}}],
        "users": [{{"name": "u", "user": {{}}}}],
        "contexts": [{{"name": "c", "context": {{"cluster": "c", "user": "u"}}}}]}}"""
    )
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "VAULT_ADDR": f"http://{silent}",
        "VAULT_TOKEN": "x",
        "KUBECONFIG": str(kubeconfig),
    }
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "regcred.cli", *line.split()],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for line in ("status", "doctor", "platform plan", "explain pod x")
    ]
    watchdog = threading.Timer(60, lambda: [process.kill() for process in processes])
    watchdog.start()
    try:
        for process in processes:
            assert process.stderr
            first = process.stderr.readline()
            assert re.match(rf"still waiting for .*http://{silent} after 3 s", first), first
    finally:
        watchdog.cancel()
        for process in processes:
            process.kill()
            process.communicate()
