"""Generates the pages docs/vendors and docs/reference from the code.

``make reference`` runs it, and a test checks that the pages are up to date.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import mdformat
import yaml
from mdformat.plugins import PARSER_EXTENSIONS

from regcred.cli import definitions
from regcred.cluster import annotations
from regcred.declare.kinds import DeclaredKind
from regcred.declare.schema import schema
from regcred.registry import catalog
from regcred.registry.definition import BaseDefinition
from regcred.registry.parsing import parse
from regcred.registry.trust import ProjectRole
from regcred.registry_reference import Reference
from regcred.sync import messages
from regcred.sync.messages import REASON_OF, Reason, Why
from regcred.wiring.sync import metrics

DOCS = Path(__file__).parents[2] / "docs"
WRITTEN = "<!-- make reference writes this page: change the code or infra/docs/reference.py instead -->"
PROJECT_ROLE = ProjectRole(
    "payments",
    "arn:aws:iam::123456789012:role/regcred/regcred-payments",
    "https://0f1e2d3c.tokens.sts.global.api.aws",
)
MAIN = Reference("payments", "ecr-prod")
NOW = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)
NOTHING = frozenset({"\N{EN DASH}", ""})
OVERVIEW = ("Keyless", "Lifetime", "Pull-only", "Revocable", "A/B turns", "How it was proven", "Not proven")

NAMES: Mapping[str, tuple[str, str]] = {
    "REQUEST_PREFIX": (
        "annotation of a workload, its pod template, a Namespace or a Pod",
        "asks for a registry; any key after the `/`, the value is `<project>/<registry>`",
    ),
    "REFERENCES": ("annotation of a workload, set at admission", "all its references, sorted"),
    "INHERITED": (
        "annotation of a pod template, set at admission",
        "what the workload's own annotations ask for",
    ),
    "ANNOTATED": ("label of a workload, set at admission", '`"true"` if it asks for a registry'),
    "MODE": (
        "label of a Namespace",
        "a mode other than the cluster's: `admission`, `serviceaccount` or `none`",
    ),
    "SECRET_REFERENCE": ("annotation of a Secret", "the reference that it is for"),
    "SECRET_VERSION": ("annotation of a Secret", "the version of the credential in Vault"),
    "SECRET_EXPIRES": ("annotation of a Secret", "when the credential expires"),
    "REPORTER": ("`reportingController` of Events", "sync wrote the Event"),
}
"""By constant of regcred.cluster.annotations: the place of the name, and its meaning."""


def pages() -> dict[str, str]:
    """The text of each page by its path below docs."""
    found = {f"vendors/{name}.md": vendor(name) for name in catalog.names()}
    found |= {
        "reference/kinds.md": kinds(),
        "reference/metrics.md": metric_names(),
        "reference/events.md": events(),
        "reference/annotations.md": names_in_a_cluster(),
    }
    options = {"wrap": 110, "number": True, "plugin": {"tables": {"compact_tables": True}}}
    return {
        path: mdformat.text(f"{WRITTEN}\n\n{text}", options=options, extensions=set(PARSER_EXTENSIONS))
        for path, text in found.items()
    }


def vendor(name: str) -> str:
    """The page of a provider: its overview, examples, fields, and the settings at the vendor."""
    document = (DOCS / "providers.md").read_text("utf-8")
    examples = [
        (text, parse(content, where="docs/providers.md"))
        for text in re.findall(r"```yaml\n(.*?)```", document, flags=re.DOTALL)
        if (content := yaml.safe_load(text))["provider"] == name
    ]
    rows = (row.strip("| ").split(" | ") for row in re.findall(r"^\| `.*$", document, flags=re.MULTILINE))
    row = next(cells for cells in rows if f"`{name}`" in cells[0] and len(cells) == len(OVERVIEW) + 1)
    overview = [(head, cell) for head, cell in zip(OVERVIEW, row[1:], strict=True) if cell not in NOTHING]
    parts = [f"# {name}", f"{definitions.summary(name)}.", table(("", ""), overview)]
    parts += ["## Definition", *(f"```yaml\n{text}```" for text, _ in examples)]
    rows = [
        (f"`{item['name']}`", "yes" if item["required"] else "", default(item), cell(item["description"]))
        for item in definitions.fields_to_fill(name)
    ]
    parts += [table(("Field", "Required", "Default", "Meaning"), rows)]
    parts += list(other_side([definition for _, definition in examples]))
    parts += ["## See also", SEE_ALSO]
    return "\n\n".join(parts)


SEE_ALSO = """\
- [All providers](../providers.md): the terms of the first table, how A/B slots work, and notes on each vendor
- [Try a definition at the vendor](../providers.md#try-a-definition-at-the-vendor)
"""


def other_side(examples: list[BaseDefinition]) -> Iterator[str]:
    """The settings at the vendor: the trust of a keyless definition, and the upstream secret."""
    keyless = next((item for item in examples if item.trust(PROJECT_ROLE)), None)
    if keyless:
        yield "## At the vendor"
        yield "`regcred registry trust P/R` prints this for your project. For the first example above:"
        yield "<!-- not run: needs an account at the vendor -->"
        yield f"```text\n{keyless.trust(PROJECT_ROLE).strip()}\n```"
    secret = next((item for item in examples if item.upstream_fields()), None)
    if secret:
        yield "## Upstream secret"
        where = "" if not keyless else " of the form that is not keyless"
        yield f"The fields{where}, which `regcred registry add` asks for:"
        rows = [(f"`{name}`", cell(text)) for name, text in secret.upstream_fields().items()]
        yield table(("Field", "Meaning"), rows)


def default(item: Mapping[str, Any]) -> str:
    """The default of a field in JSON; empty if there is none."""
    if item["required"] or item["default"] in ("", [], None):
        return ""
    return f"`{json.dumps(item['default'])}`"


def kinds() -> str:
    """The page about the files of ``regcred apply``."""
    parts = [
        "# Kinds of files",
        (
            "These are the fields of the files that `regcred apply` reads ([Files in Git](../fleet.md)). "
            "`regcred schema KIND` prints the JSON schema for an editor."
        ),
    ]
    for kind in DeclaredKind:
        described = schema(kind)
        required = described["required"]
        parts += [f"## {kind}", f"Required: {', '.join(f'`{name}`' for name in required)}."]
        spec = described["properties"]["spec"]
        if "oneOf" in spec:
            parts.append(
                "`spec` is a definition. Its fields depend on `provider`: see the pages of the vendors, as "
                "[ecr](../vendors/ecr.md)."
            )
            continue
        rows = list(fields(spec, described.get("$defs", {})))
        parts.append(table(("Field of `spec`", "Type", "Required", "Meaning"), rows))
    return "\n\n".join(parts)


def fields(
    described: Mapping[str, Any], defined: Mapping[str, Any], before: str = ""
) -> Iterator[tuple[str, ...]]:
    """The fields of a schema, including those of nested objects."""
    for name, field in described.get("properties", {}).items():
        path = f"{before}{name}"
        kind, inner, more = shape(field, defined)
        required = "yes" if name in described.get("required", ()) else ""
        yield f"`{path}`", kind, required, cell(field.get("description", ""))
        if inner:
            yield from fields(inner, defined, f"{path}{more}.")


def shape(field: Mapping[str, Any], defined: Mapping[str, Any]) -> tuple[str, Mapping[str, Any] | None, str]:
    """A field's type for people, its nested object if any, and the path to that object's fields."""
    for choice in ("anyOf", "oneOf", "allOf"):
        if choice in field:
            first = next(item for item in field[choice] if item.get("type") != "null")
            return shape(first, defined)
    if "$ref" in field:
        return "object", defined[field["$ref"].rpartition("/")[2]], ""
    if field.get("type") == "array":
        kind, inner, more = shape(field.get("items", {}), defined)
        return f"list of {kind}" if kind.endswith("s") else f"list of {kind}s", inner, f"[]{more}"
    if field.get("type") == "object" and isinstance(field.get("additionalProperties"), dict):
        kind, inner, more = shape(field["additionalProperties"], defined)
        return f"map of {kind}s".replace("list of", "lists of").replace("ss", "s"), inner, f".NAME{more}"
    if field.get("properties"):
        return "object", field, ""
    return str(field.get("type", "const" if "const" in field else "string")), None, ""


def metric_names() -> str:
    """The page about the metrics of sync."""
    kinds = (("gauge", metrics.GAUGES), ("counter", metrics.COUNTERS), ("histogram", metrics.HISTOGRAMS))
    rows = [
        (f"`{metrics.PREFIX}{name}`", kind, ", ".join(f"`{label}`" for label in labels), text)
        for kind, described in kinds
        for name, (text, labels) in sorted(described.items())
    ]
    return "\n\n".join(
        [
            "# Metrics",
            (
                "Sync serves these at `/metrics`. The functions write theirs to CloudWatch in the namespace "
                "`Regcred`. The chart's alerts and dashboard use them: see [Alarms](../alarms.md)."
            ),
            table(("Metric", "Type", "Labels", "Meaning"), rows),
        ]
    )


def events() -> str:
    """The page about the Events of sync, with an example of each text."""
    rows = [
        (f"`{reason}`", "Normal" if reason in messages.NORMAL_REASONS else "Warning", cell(text))
        for reason, text in sorted(event_texts())
    ]
    return "\n\n".join(
        [
            "# Events",
            (
                "Sync writes these on workloads, and `RemovalHeld` on Namespaces. `kubectl describe` shows "
                "them. [Operating](../operating.md#events) says what to do about each."
            ),
            table(("Reason", "Type", "Example"), rows),
        ]
    )


def event_texts() -> Iterator[tuple[Reason, str]]:
    """Each reason with an example of its text."""
    texts = dict.fromkeys(Reason, "")
    for why, reason in REASON_OF.items():
        if why is not Why.RESTART and not texts[reason]:
            texts[reason] = messages.refusal(why, MAIN, "shop", cluster="c1", detail="...")
    texts[Reason.EXPIRING] = messages.expiring(MAIN, NOW + timedelta(hours=2), NOW, "no such role")
    texts[Reason.RESTART_NEEDED] = messages.restart_needed("Deployment", "shop", "shop")
    texts[Reason.PLACED] = messages.placed(MAIN, "shop")
    texts[Reason.REMOVAL_HELD] = messages.removal_held(MAIN, "shop", Why.UNNEEDED, count=40, cluster="c1")
    texts[Reason.MALFORMED] = "Says which annotation is not a reference, and why."
    texts[Reason.NO_POD_TEMPLATE] = messages.no_pod_template(
        "Rollout", "shop", where="spec.template", source=("Deployment", "shop")
    )
    texts[Reason.MODE_NOT_ALLOWED] = (
        "Says which mode the Namespace's label asks for, and which ones are set up."
    )
    assert all(texts.values()), [reason for reason, text in texts.items() if not text]
    yield from texts.items()


def names_in_a_cluster() -> str:
    """The page about the annotations and labels of Regcred."""
    constants = {
        name: value
        for name, value in vars(annotations).items()
        if name.isupper() and isinstance(value, str) and "regcred.dev" in value
    }
    rows = [(f"`{value}`", *NAMES[name]) for name, value in constants.items()]
    return "\n\n".join(
        [
            "# Annotations and labels",
            table(("Name", "Where", "Meaning"), rows),
            (
                f"At most {annotations.KEYS_MAX} annotations of one object and {annotations.KEYS_MAX} "
                f"references count. The Secret of a reference is named `{MAIN.secret_name}` for `{MAIN}`, "
                f"and has the label `{annotations.MANAGED_BY}: {annotations.MANAGER}`."
            ),
        ]
    )


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [head, tuple("--" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cell(text: str) -> str:
    """A text in one line for a table's cell, with Markdown and HTML escaped."""
    return re.sub(r"([<*_|\[])", r"\\\1", " ".join(text.split()))


def main() -> None:
    """Write all pages, and delete those of providers that no longer exist."""
    found = pages()
    for folder in ("vendors", "reference"):
        (DOCS / folder).mkdir(exist_ok=True)
        for old in (DOCS / folder).glob("*.md"):
            if f"{folder}/{old.name}" not in found:
                old.unlink()
    for path, text in found.items():
        (DOCS / path).write_text(text, "utf-8")


if __name__ == "__main__":
    main()
