"""Renders the Helm chart into plain manifests for Kustomize.

`make kustomize` runs `python infra/kubernetes/kustomize/render.py HELM` with the path of the helm program.
A test checks that the manifests are up to date.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
CHART = HERE.parent / "chart" / "regcred"
NAMESPACE = "regcred-system"
POLICIES = "admissionregistration.k8s.io/v1"
VALUES = (
    "cluster=example",
    "vault.address=https://vault.example.com:8200",
    "image.repository=registry.example.com/regcred-sync",
)
"""Placeholders that an overlay must replace, as in kustomize/example."""
HEADER = "# Rendered from the Helm chart by `make kustomize`; change the chart, not this file.\n"
WIDTH = 96
HELM_LABELS = ("helm.sh/chart", "app.kubernetes.io/managed-by")


def rendered(helm: str | Path) -> dict[str, str]:
    """The content of each file, by its path below this folder."""
    command = [helm, "template", "regcred", CHART, "--namespace", NAMESPACE, "--skip-tests"]
    for value in VALUES:
        command += ["--set-string", value]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    objects = [_plain(item) for item in yaml.safe_load_all(answer.stdout) if item]
    return {
        "policies/policies.yaml": _text([item for item in objects if item["apiVersion"] == POLICIES]),
        "base/sync.yaml": _text([item for item in objects if item["apiVersion"] != POLICIES]),
    }


def _plain(item: dict[str, Any]) -> dict[str, Any]:
    """The object without Helm's labels."""
    template = item.get("spec", {}).get("template", {})
    for metadata in (item["metadata"], template.get("metadata", {})):
        for label in HELM_LABELS:
            metadata.get("labels", {}).pop(label, None)
    return item


def _text(objects: list[dict[str, Any]]) -> str:
    return HEADER + yaml.dump_all(objects, Dumper=_Dumper, sort_keys=False, width=WIDTH)


class _Dumper(yaml.SafeDumper):
    """Writes strings with several lines as blocks."""


def _block(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    """Write long expressions as blocks too, because PyYAML breaks a line only after its width."""
    is_block = "\n" in text or WIDTH - 20 < len(text) <= WIDTH
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if is_block else None)


_Dumper.add_representer(str, _block)


def main() -> int:
    """Write the files."""
    for path, text in rendered(sys.argv[1]).items():
        (HERE / path).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
