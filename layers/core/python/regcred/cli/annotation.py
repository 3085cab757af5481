"""``regcred annotation``: prints the annotation to paste into a workload."""

from __future__ import annotations

from collections.abc import Sequence

import click

from regcred.cli.output import print_json, write_document
from regcred.cli.parameters import REFERENCE
from regcred.registry_reference import Reference
from regcred.views.annotation import FORMATS, keys, text


@click.command(
    help="""Print the annotation to paste into a workload.

    If a workload needs several registries, name all of them. Each one gets a separate key. You can change
    the part of a key after '/': it only makes the keys unique, for example when overlays are merged.

    \b
    Examples:
      regcred annotation payments/ecr-prod
      regcred annotation payments/ecr-prod shared/nexus --format helm
    """
)
@click.argument("references", metavar="P/R...", type=REFERENCE, nargs=-1, required=True)
@click.option(
    "-f",
    "--format",
    "form",
    type=click.Choice([*FORMATS, "json"]),
    default="yaml",
    show_default=True,
    help="A manifest, Helm values, a Kustomize patch, or JSON for programs.",
)
def annotation(references: Sequence[Reference], form: str) -> None:
    """Run ``regcred annotation``."""
    if form == "json":
        print_json(keys(references))
        return
    write_document(text(references, form))
