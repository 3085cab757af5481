"""An error about a kubeconfig is one line without a part of its content."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from pathlib import Path

import pytest
from kubernetes.aio import config
from kubernetes.aio.client import Configuration

from regcred.cluster.session import KubeSession
from regcred.errors import MalformedError
from regcred.wiring.cli.cluster import OwnCluster
from regcred.wiring.kubeconfig import usable


def kubeconfig(**cluster: str) -> bytes:
    return json.dumps(
        {
            "current-context": "a",
            "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
            "clusters": [{"name": "a", "cluster": {"server": "https://127.0.0.1:1", **cluster}}],
            "users": [{"name": "a", "user": {"token": "hunter2"}}],
        }
    ).encode()


async def open_by(file: Path, context: str | None) -> None:
    configuration = Configuration()
    with usable(context):
        await config.load_kube_config(str(file), context=context, client_configuration=configuration)
        session = KubeSession(configuration)
    await session.close()


@pytest.mark.parametrize(
    ("content", "context", "message"),
    [
        (b"", None, "it is not a kubeconfig"),
        (b"\xff\xfe\x00", None, "it is not a kubeconfig"),
        (b"a: [hunter2", None, "it is not a kubeconfig"),
        (b"- hunter2", None, "it is not a kubeconfig"),
        (b"{}", None, "current-context"),
        (kubeconfig(), "other", "the context 'other'"),
        (kubeconfig(**{"certificate-authority": "/nowhere/ca.pem"}), None, "/nowhere/ca.pem"),
        (kubeconfig(**{"certificate-authority-data": b64encode(b"hunter2").decode()}), None, "broken"),
    ],
)
def test_an_unusable_kubeconfig_is_reported_in_one_line(
    tmp_path: Path, content: bytes, context: str | None, message: str
) -> None:
    file = tmp_path / "config"
    file.write_bytes(content)
    with pytest.raises(MalformedError) as caught:
        asyncio.run(open_by(file, context))
    line = str(caught.value)
    assert message in line
    assert "set KUBECONFIG" in line
    assert "hunter2" not in line


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["/nowhere/get-token"], "/nowhere/get-token"),
        (["sh", "-c", "echo hunter2; echo hunter2 >&2; exit 3"], "process returned 3"),
        (["sh", "-c", "echo hunter2"], "failed to decode"),
        (["sh", "-c", "echo '{}'"], "missing key"),
    ],
)
def test_a_failing_exec_plugin_is_reported_in_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], command: list[str], message: str
) -> None:
    content = json.loads(kubeconfig())
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": command[0], "args": command[1:]}
    content["users"][0]["user"] = {"exec": plugin}
    file = tmp_path / "config"
    file.write_text(json.dumps(content))
    with pytest.raises(MalformedError) as caught:
        asyncio.run(open_by(file, None))
    line = str(caught.value)
    assert message in line
    assert "run it by hand" in line
    assert "hunter2" not in line
    assert capfd.readouterr() == ("", "")


def test_a_valid_kubeconfig_opens_a_session(tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_bytes(kubeconfig())
    asyncio.run(open_by(file, None))


def test_kubeconfig_is_read_from_the_environment_when_the_cluster_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library itself reads KUBECONFIG at import."""
    for name in ("first", "second"):
        content = json.loads(kubeconfig())
        content["contexts"][0]["context"]["namespace"] = name
        (tmp_path / name).write_text(json.dumps(content))
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / name))
        with OwnCluster(None) as cluster:
            assert cluster.namespace == name


def test_a_missing_file_among_several_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "there").write_bytes(kubeconfig())
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/missing:{tmp_path}/there")
    with OwnCluster("a") as cluster:
        assert cluster.namespace == "default"
