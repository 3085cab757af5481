"""``regcred migrate`` against a real API server: what it reads and writes, and that it changes nothing."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from real.controlplane import Cluster

from realparts.stack import Stack
from regcred.cli.app import run
from regcred.cli.session import CliSession
from regcred.declare import files

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

PASSWORD = "hunter2-of-the-old-secret"
OLD = "old-pull"


class Person:
    """A user with an administrator's kubeconfig. The command line runs in this process."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self._capture = capture

    def __call__(self, line: str, code: int = 0) -> Any:
        found = run(line.split(), CliSession())
        shown = self._capture.readouterr()
        assert found == code, shown.err
        assert PASSWORD not in shown.out + shown.err
        return json.loads(shown.out)


@pytest.fixture
def regcred(
    kubernetes_stack: Stack, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Person:
    monkeypatch.setenv("KUBECONFIG", str(kubernetes_stack.kubernetes.kubeconfig))
    return Person(capsys)


@pytest.fixture
def space(kubernetes_stack: Stack, cluster: Cluster) -> str:
    """A namespace before a migration: a pull Secret, a ServiceAccount that names it, and a Deployment."""
    space = cluster.namespace()
    auth = base64.b64encode(f"robot:{PASSWORD}".encode()).decode()
    content = json.dumps({"auths": {"registry.example.com": {"auth": auth}}})
    cluster.create(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": OLD, "namespace": space},
            "type": "kubernetes.io/dockerconfigjson",
            "stringData": {".dockerconfigjson": content},
        }
    )
    cluster.patch("ServiceAccount", space, "default", {"imagePullSecrets": [{"name": OLD}]})
    pod = {"containers": [{"name": "app", "image": "registry.example.com/team/app:1"}]}
    cluster.create(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "app", "namespace": space},
            "spec": {
                "replicas": 0,
                "selector": {"matchLabels": {"app": "app"}},
                "template": {"metadata": {"labels": {"app": "app"}}, "spec": pod},
            },
        }
    )
    return space


def written(stack: Stack, space: str) -> dict[str, object]:
    """For each object, what changes when a user writes it.

    The status is left out, because controllers write it at any time.
    """
    found: dict[str, object] = {}
    for path in (
        "/api/v1/namespaces/{}/secrets",
        "/api/v1/namespaces/{}/serviceaccounts",
        "/apis/apps/v1/namespaces/{}/deployments",
    ):
        for item in stack.kubernetes.request("GET", path.format(space))["items"]:
            metadata = item["metadata"]
            writers = {(one["manager"], one["time"]) for one in metadata.get("managedFields", ())}
            people = sorted(writer for writer in writers if writer[0] != "kube-controller-manager")
            found[f"{path}/{metadata['name']}"] = people or metadata.get(
                "generation", metadata["resourceVersion"]
            )
    return found


def test_the_pull_secrets_of_a_cluster_become_files_that_apply_accepts(
    kubernetes_stack: Stack, cluster: Cluster, space: str, regcred: Person, tmp_path: Path
) -> None:
    kubernetes = kubernetes_stack.kubernetes
    before = written(kubernetes_stack, space)
    folder = tmp_path / "fleet"
    line = f"migrate --dir {folder} -n {space} --project shop --cluster local -o json"
    found = regcred(line)
    assert [one["registry"] for one in found["registries"]] == ["shop/registry-example-com"]
    assert len(found["in_the_clear"]) == 1
    assert written(kubernetes_stack, space) == before
    texts = [(str(path), path.read_text("utf-8")) for path in files.paths(folder)]
    assert [str(key) for key in files.items(texts)] == [
        "Grant local/shop",
        "Project shop",
        "Registry shop/registry-example-com",
    ]
    assert PASSWORD not in "".join(text for _, text in texts)

    script = (folder / "annotate.sh").read_text().splitlines()
    (command,) = [line for line in script if line.startswith("kubectl")]
    kubernetes.kubectl(*command.split()[1:])
    annotations = cluster.get("Deployment", space, "app")["metadata"]["annotations"]
    assert annotations["registry.regcred.dev/registry-example-com"] == "shop/registry-example-com"

    (one,) = regcred(f"migrate --dir {folder} --check -o json", code=5)["secrets"]
    assert one["stage"] == "no new Secret"


def test_a_cut_over_is_followed_until_the_old_secret_can_go(
    kubernetes_stack: Stack, cluster: Cluster, space: str, regcred: Person, tmp_path: Path
) -> None:
    line = f"migrate --dir {tmp_path} -n {space} --project shop --cluster local -o json"
    regcred(line)

    def stage(code: int = 5) -> str:
        (one,) = regcred(f"migrate --dir {tmp_path} --check -o json", code)["secrets"]
        return str(one["stage"])

    new = "regcred.shop.registry-example-com"
    cluster.create(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": new,
                "namespace": space,
                "labels": {"app.kubernetes.io/managed-by": "regcred"},
            },
            "type": "kubernetes.io/dockerconfigjson",
            "stringData": {".dockerconfigjson": '{"auths": {}}'},
        }
    )
    assert stage() == "still named"
    cluster.patch("ServiceAccount", space, "default", {"imagePullSecrets": None})
    assert stage() == "not pulled yet"
    made = cluster.create(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "app-1", "namespace": space},
            "spec": {
                "containers": [{"name": "app", "image": "registry.example.com/team/app:1"}],
                "imagePullSecrets": [{"name": new}],
            },
        }
    )
    # The Event that the kubelet writes (k8s.io/kubernetes pkg/kubelet/images/image_manager.go).
    kubernetes_stack.kubernetes.request(
        "POST",
        f"/api/v1/namespaces/{space}/events",
        {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": "app-1.1", "namespace": space},
            "involvedObject": {
                "apiVersion": "v1",
                "kind": "Pod",
                "name": "app-1",
                "namespace": space,
                "uid": made["metadata"]["uid"],
            },
            "type": "Normal",
            "reason": "Pulled",
            "message": (
                'Successfully pulled image "registry.example.com/team/app:1" in 812ms '
                "(812ms including waiting). Image size: 3623807 bytes."
            ),
        },
    )
    assert stage(code=0) == "ready"
    kubernetes_stack.kubernetes.request("DELETE", f"/api/v1/namespaces/{space}/secrets/{OLD}")
    assert stage(code=0) == "deleted"
