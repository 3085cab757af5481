"""The annotation to paste into a workload, as YAML, Helm values or a Kustomize patch."""

from __future__ import annotations

from collections.abc import Sequence

from regcred.registry_reference import LABEL_MAX, Reference

PREFIX = "registry.regcred.dev/"

FORMATS = {
    "yaml": """\
# On the workload itself (Deployment, StatefulSet, DaemonSet, Job, CronJob, Pod), on its pod template,
# or on a Namespace for every Pod in it.
metadata:
  annotations:
{lines}
""",
    "helm": """\
# values.yaml of a chart that offers podAnnotations, as most do.
podAnnotations:
{lines}
""",
    "kustomize": """\
# kustomization.yaml
patches:
  - target:
      kind: Deployment
    patch: |-
      apiVersion: apps/v1
      kind: Deployment
      metadata:
        name: any # ignored: the target above selects the objects
        annotations:
{lines}
""",
}
"""By format: the template of the text."""

_INDENT = {"yaml": 4, "helm": 2, "kustomize": 10}


def text(references: Sequence[Reference], form: str) -> str:
    """The text to paste.

    Args:
        references: The registries. Each one gets a key.
        form: One of :data:`FORMATS`.
    """
    indent = " " * _INDENT[form]
    lines = "\n".join(f"{indent}{key}: {reference}" for key, reference in keys(references).items())
    return FORMATS[form].format(lines=lines)


def keys(references: Sequence[Reference]) -> dict[str, str]:
    """One annotation per reference. Its key ends in the registry's name.

    If two registries have the same name, the project's name is added. If the key would then be too long (63
    characters, as for any Kubernetes name), a number is added instead.
    """
    found: dict[str, str] = {}
    for reference in dict.fromkeys(references):
        names = [reference.registry, f"{reference.registry}.{reference.project}"]
        names += [f"{reference.registry[:50]}-{number}" for number in range(2, len(references) + 2)]
        key = next(name for name in names if len(name) <= LABEL_MAX and PREFIX + name not in found)
        found[PREFIX + key] = str(reference)
    return found
