"""The parts of the demo, and the actions of their users."""

import json
from dataclasses import dataclass, field
from typing import Any

from realparts.aws import ACCOUNT, REGION
from realparts.product import Product
from realparts.stack import Stack

PROJECT = "e2e"
ECR_HOST = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
BASIC_HOST = "registry.example.com"


@dataclass
class World:
    """Regcred between the real parts, and the actions of users."""

    product: Product
    stack: Stack
    namespaces: list[str] = field(default_factory=list)

    def kubectl(self, *args: str, stdin: str | None = None, check: bool = True) -> str:
        done = self.stack.kubernetes.kubectl(*args, stdin=stdin, check=check)
        return done.stdout + done.stderr

    def namespace(self, name: str, *, granted: bool = True) -> str:
        self.kubectl("create", "namespace", name)
        self.namespaces.append(name)
        if granted:
            self.product.regcred("grant", "add", "--cluster", "local", PROJECT, name)
        return name

    def register_ecr(self, name: str, *, seconds: float = 43200) -> str:
        self.stack.aws.set_ecr_token_lifetime(seconds)
        definition = {"provider": "ecr", "account": ACCOUNT, "regions": [REGION], "probe": "e2e/web:1"}
        reference = f"{PROJECT}/{name}"
        self.product.regcred("registry", "add", reference, "-f", "-", stdin=json.dumps(definition))
        return reference

    def register_basic(self, name: str, tmp_path: Any) -> str:
        password = self.stack.registry.add_user(f"robot-{name}", pull=["e2e/*"], hosts=[BASIC_HOST])
        secret = tmp_path / "secret.json"
        secret.write_text(json.dumps({"username": f"robot-{name}", "password": password}))
        definition = {"provider": "basic", "hosts": [BASIC_HOST], "probe": "e2e/tools:1"}
        reference = f"{PROJECT}/{name}"
        self.product.regcred(
            "registry",
            "add",
            reference,
            "-f",
            "-",
            "--secret-file",
            str(secret),
            stdin=json.dumps(definition),
        )
        return reference

    def deploy(self, namespace: str, name: str, images: list[str], references: list[str]) -> None:
        annotations = {f"registry.regcred.dev/r{n}": reference for n, reference in enumerate(references)}
        containers = [
            {"name": f"c{n}", "image": image, "imagePullPolicy": "Always"} for n, image in enumerate(images)
        ]
        self.stack.kubernetes.apply(
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": name, "namespace": namespace, "annotations": annotations},
                "spec": {
                    "selector": {"matchLabels": {"app": name}},
                    "strategy": {"type": "Recreate"},
                    "template": {
                        "metadata": {"labels": {"app": name}},
                        "spec": {
                            "hostNetwork": True,
                            "terminationGracePeriodSeconds": 0,
                            "containers": containers,
                        },
                    },
                },
            }
        )

    def secrets(self, namespace: str) -> dict[str, dict[str, Any]]:
        items = json.loads(self.kubectl("-n", namespace, "get", "secrets", "-o", "json"))["items"]
        return {item["metadata"]["name"]: item for item in items}

    def pods(self, namespace: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = json.loads(self.kubectl("-n", namespace, "get", "pods", "-o", "json"))[
            "items"
        ]
        return [item for item in items if "deletionTimestamp" not in item["metadata"]]

    def runs(self, namespace: str) -> bool:
        """Whether at least one container exists, and all containers of all Pods run."""
        found = [
            status.get("state", {})
            for pod in self.pods(namespace)
            for status in pod["status"].get("containerStatuses", [])
        ]
        return bool(found) and all("running" in state for state in found)

    def refusals(self, namespace: str) -> list[str]:
        """The messages of the kubelet for containers whose image it can't pull."""
        waiting = [
            status["state"].get("waiting", {})
            for pod in self.pods(namespace)
            for status in pod["status"].get("containerStatuses", [])
        ]
        return [
            state.get("message", "")
            for state in waiting
            if state.get("reason") in {"ErrImagePull", "ImagePullBackOff"}
        ]

    def new_pods(self, namespace: str) -> None:
        """Replace all Pods, so that the kubelet pulls their images again."""
        self.kubectl("-n", namespace, "delete", "pods", "--all", "--wait=true")

    def entry(self, reference: str) -> dict[str, Any]:
        (row,) = self.product.regcred_json("status", reference)["registries"]
        entry: dict[str, Any] = row
        return entry

    def password(self, reference: str) -> str:
        data = self.stack.vault.call("GET", f"regcred/data/credentials/{reference}")["data"]["data"]
        return str(data["password"])

    def events(self, namespace: str) -> str:
        return self.kubectl("-n", namespace, "get", "events", "-o", "wide")
