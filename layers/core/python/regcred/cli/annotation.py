"""``regcred annotation``: what to paste into a workload."""

from __future__ import annotations

from collections.abc import Sequence

import click

from regcred.cli.output import print_json, write_document
from regcred.cli.parameters import REFERENCE
from regcred.reference import Reference
from regcred.views.annotation import FORMATS, keys, text


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
    if form == "json":
        print_json(keys(references))
        return
    write_document(text(references, form))
