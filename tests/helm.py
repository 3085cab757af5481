"""The Helm chart, rendered by the real helm."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import yaml

from realparts.build import binary

CHART = Path(__file__).resolve().parents[1] / "infra" / "kubernetes" / "chart" / "regcred"
REQUIRED = {
    "cluster": "test",
    "vault.address": "https://vault.example.com:8200",
    "image.repository": "registry.example.com/regcred-sync",
}
"""The chart's values that have no default."""

Object = dict[str, Any]


def helm(
    *args: str | Path, kubeconfig: Path | None = None, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run helm. Without a kubeconfig, it can't reach a cluster."""
    env = {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "KUBECONFIG": str(kubeconfig or "/nonexistent"),
    }
    return subprocess.run([binary("helm"), *args], capture_output=True, text=True, check=check, env=env)


def settings(values: dict[str, Any]) -> list[str]:
    """Return helm's flags for these values and the required ones."""
    flags = []
    for key, value in {**REQUIRED, **values}.items():
        flags += (
            ["--set-string", f"{key}={value}"]
            if isinstance(value, str)
            else ["--set-json", f"{key}={json.dumps(value)}"]
        )
    return flags


def render(
    values: dict[str, Any] | None = None, *, chart: Path = CHART, namespace: str = "regcred-system"
) -> list[Object]:
    """Render the chart and return its objects."""
    rendered = helm("template", "regcred", chart, "--namespace", namespace, *settings(values or {}))
    return [document for document in yaml.safe_load_all(rendered.stdout) if document]


def of_group(objects: list[Object], *groups: str) -> list[Object]:
    """Return the objects of these API groups."""
    return [item for item in objects if item["apiVersion"].rpartition("/")[0] in groups]
