"""The annotation of a workload for one or several registries."""

from __future__ import annotations

from itertools import islice

from starlette.responses import Response

from regcred.console.console import Visit
from regcred.errors import MalformedError
from regcred.registry_reference import Reference
from regcred.views.annotation import FORMATS, text

MOST = 50
"""The maximum number of registries for one workload."""

OFFERED = 200
"""The maximum number of registries in the list to add one from."""

LABELS = {"yaml": "YAML", "helm": "Helm values", "kustomize": "Kustomize"}


def annotation(visit: Visit) -> Response:
    """Show the annotation for the registries in the address."""
    references = []
    for value in visit.request.query_params.getlist("ref")[:MOST]:
        try:
            references.append(Reference.parse(value))
        except MalformedError:
            continue
    form = visit.parameter("format", "yaml")
    form = form if form in FORMATS else "yaml"
    known = visit.fleet().by_reference
    references = sorted({reference for reference in references if reference in known})
    return visit.page(
        "annotation.html",
        references=references,
        texts=[(name, LABELS[name], text(references, name)) for name in FORMATS] if references else [],
        chosen=form,
        others=list(islice((reference for reference in known if reference not in references), OFFERED)),
    )
