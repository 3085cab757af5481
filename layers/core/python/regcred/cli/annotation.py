"""``regcred annotation``: what to paste into a workload."""

from __future__ import annotations

from collections.abc import Sequence

import click

from regcred.cli.output import print_json
from regcred.cli.parameters import REFERENCE
from regcred.reference import LABEL_MAX, Reference

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
        name: any # the target above decides
        annotations:
{lines}
""",
}
"""By format, the text around the annotations."""

_INDENT = {"yaml": 4, "helm": 2, "kustomize": 10}


@click.command()
@click.argument("references", metavar="P/R...", type=REFERENCE, nargs=-1, required=True)
@click.option(
    "-f",
    "--format",
    "form",
    type=click.Choice([*FORMATS, "json"]),
    default="yaml",
    show_default=True,
    help="For a manifest, Helm values, a Kustomize patch, or a program.",
)
def annotation(references: Sequence[Reference], form: str) -> None:
    """Print the annotation to paste into a workload.

    A workload that needs several registries (several containers, say) carries one key for each: name them all. The part of
    a key after '/' is free to choose; it only keeps the keys apart, also when overlays are merged.

    \b
    Examples:
      regcred annotation payments/ecr-prod
      regcred annotation payments/ecr-prod shared/nexus --format helm
    """
    annotations = keys(references)
    if form == "json":
        print_json(annotations)
        return
    indent = " " * _INDENT[form]
    lines = "\n".join(f"{indent}{key}: {reference}" for key, reference in annotations.items())
    click.echo(FORMATS[form].format(lines=lines), nl=False)


def keys(references: Sequence[Reference]) -> dict[str, str]:
    """One annotation per reference: the registry's name is the key, with the project's where two have the same name.

    Where that is too long for a key (63 characters, as for any Kubernetes name), a number tells them apart.
    """
    found: dict[str, str] = {}
    for reference in dict.fromkeys(references):
        names = [reference.registry, f"{reference.registry}.{reference.project}"]
        names += [f"{reference.registry[:50]}-{number}" for number in range(2, len(references) + 2)]
        key = next(name for name in names if len(name) <= LABEL_MAX and PREFIX + name not in found)
        found[PREFIX + key] = str(reference)
    return found
