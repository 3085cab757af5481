"""``regcred migrate``: writes the files and annotations that replace the pull secrets of a cluster."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import click

from regcred.cli.failures import BadInputError
from regcred.cli.output import output_option, print_json, say, write
from regcred.cli.parameters import CLUSTER, NAMESPACE, PROJECT
from regcred.cli.session import CliSession, UserCluster, pass_session
from regcred.cluster.model import POD, SERVICE_ACCOUNT, WORKLOADS, Kind
from regcred.declare import export as exporting
from regcred.declare.migration import ClusterPulls, Migration, annotations_of, migrate
from regcred.declare.migration_progress import (
    Progress,
    Replaced,
    Stage,
    check,
    read_record,
    record,
    seen_pods,
)
from regcred.declare.pull_secrets import (
    TYPES,
    Fingerprints,
    Maker,
    ObjectName,
    Puller,
    PullSecret,
    maker,
    names_in,
    object_name_of,
    pull_secret,
    puller,
)
from regcred.errors import MalformedError, MissingError, RefusedError, TransientError
from regcred.wording import plural

PAGE = 500
"""The number of objects per page."""

SECRETS_PAGE = 20
"""The number of Secrets per page. A Secret can have a megabyte."""

OBJECTS_MAX = 100_000
"""The maximum number of objects of a kind that are read."""

RECORD = ".migration.json"
"""The file that a later '--check' reads. 'apply' ignores files whose names begin with a dot."""

LINES_MAX = 1000
"""The maximum number of lines of one part of the report."""

RECORD_MAX = 10_000_000
"""The maximum size of the record in bytes."""

SCRIPT = "annotate.sh"

_ANY = "application/json"
_METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"

_MAKERS = (
    Kind("external-secrets.io", "v1", "externalsecrets", "ExternalSecret"),
    Kind("external-secrets.io", "v1beta1", "externalsecrets", "ExternalSecret"),
    Kind("secrets.hashicorp.com", "v1beta1", "vaultstaticsecrets", "VaultStaticSecret"),
    Kind("secrets.hashicorp.com", "v1beta1", "vaultdynamicsecrets", "VaultDynamicSecret"),
)


HELP = """Write the files and annotations that replace the pull secrets of a cluster.

A report lists what can't be replaced. The command reads Secrets, ServiceAccounts, workloads, and the
objects of External Secrets and the Vault Secrets Operator, with your kubeconfig. It changes nothing in the
cluster or in Vault, and it neither prints nor writes a secret.

With --check, the command lists the old Secrets that you can delete: those that no Pod and no ServiceAccount
names any more, and whose replacement has pulled an image for a Pod.

\b
Examples:
  regcred migrate --dir fleet --project payments --cluster edge-1
  regcred migrate --dir fleet --check
"""


@click.command(
    name="migrate",
    short_help="Replace a cluster's pull secrets, step by step.",
    help=HELP,
)
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR",
    help="A folder for the files.",
)
@click.option("--project", type=PROJECT, metavar="P", help="The project of the new registries.")
@click.option("--cluster", "-c", type=CLUSTER, metavar="C", help="The cluster's name in Regcred.")
@click.option("--context", metavar="NAME", help="The kubeconfig's context. Default: the current one.")
@click.option(
    "--namespace",
    "-n",
    "namespaces",
    type=NAMESPACE,
    multiple=True,
    metavar="NS",
    help="Only this namespace. You can repeat this option.",
)
@click.option("--check", "is_check", is_flag=True, help="Show which old Secrets can be deleted.")
@output_option
@pass_session
def migrate_command(
    session: CliSession,
    directory: Path,
    project: str | None,
    cluster: str | None,
    context: str | None,
    namespaces: Sequence[str],
    is_check: bool,
    as_json: bool,
) -> None:
    """Run ``regcred migrate``."""
    with session.open_cluster(context) as api:
        if is_check:
            _check(api, directory, as_json=as_json)
            return
        if not (project and cluster):
            raise BadInputError("name the project and the cluster: --project P --cluster C")
        made = migrate(_read(api, namespaces), project=project, cluster=cluster)
    _write(made, directory)
    _report(made, directory, as_json=as_json)


def _read(api: UserCluster, namespaces: Sequence[str]) -> ClusterPulls:
    notes: list[str] = []
    fingerprints = Fingerprints(os.urandom(32))
    kind = Kind("", "v1", "secrets", "Secret")
    secrets: list[PullSecret] = []
    for type_ in TYPES:
        query = {"fieldSelector": f"type={type_}", "limit": str(SECRETS_PAGE)}
        found = (pull_secret(obj, fingerprints) for obj in _objects(api, kind, namespaces, notes, query))
        secrets += [one for one in found if one]
    accounts: dict[ObjectName, frozenset[str]] = {}
    for obj in _objects(api, SERVICE_ACCOUNT, namespaces, notes):
        object_name, names = object_name_of(obj), names_in(obj)
        if object_name and names:
            accounts[object_name] = names
    pullers: list[Puller] = [
        one
        for kind in WORKLOADS
        for obj in _objects(api, kind, namespaces, notes)
        if (one := puller(kind, obj))
    ]
    makers: dict[str, Maker] = {}
    for kind in _MAKERS:
        for obj in _objects(api, kind, namespaces, notes):
            if made := maker(obj, kind.name):
                makers.setdefault(made.what, made)
    return ClusterPulls(secrets, accounts, pullers, list(makers.values()), tuple(notes))


def _objects(
    api: UserCluster,
    kind: Kind,
    namespaces: Sequence[str],
    notes: list[str],
    query: Mapping[str, str] | None = None,
    accept: str = _ANY,
) -> Iterator[Mapping[str, Any]]:
    """The objects of a kind, page by page; none if the cluster does not serve the kind."""
    count = 0
    for namespace in namespaces or ("",):
        parameters = {"limit": str(PAGE), **(query or {})}
        while True:
            try:
                page = api.get(kind.path(namespace), urlencode(parameters), accept=accept)
            except MissingError:
                return
            except RefusedError:
                where = f" in {namespace}" if namespace else ""
                notes.append(f"your account may not list {kind.plural}{where}; they are left out")
                break
            for obj in page.get("items") or ():
                if isinstance(obj, Mapping):
                    count += 1
                    yield obj
            if count >= OBJECTS_MAX:
                notes.append(f"there are more than {OBJECTS_MAX} {kind.plural}; the others are left out")
                return
            token = (page.get("metadata") or {}).get("continue")
            if not token:
                break
            parameters["continue"] = str(token)


def _write(made: Migration, directory: Path) -> None:
    documents = {
        directory / name: comment + exporting.text(content, secret=False)
        for name, content, comment in made.documents()
    }
    _check_replaces_nothing(documents)
    for path, text in documents.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    directory.mkdir(parents=True, exist_ok=True)
    (directory / RECORD).write_text(json.dumps(record(made), indent=2) + "\n", "utf-8")
    lines = [
        "#!/bin/sh",
        "# Adds the annotations that request the new pull secrets. You can run it again.",
        "set -eu",
    ]
    for new in made.annotations:
        one = new.puller
        words = [f"{name}={value}" for name, value in annotations_of(new).items()]
        command = [
            "kubectl",
            "-n",
            one.object_name.namespace,
            "annotate",
            "--overwrite",
            one.plural,
            one.object_name.name,
            *words,
        ]
        lines.append(shlex.join(command))
    (directory / SCRIPT).write_text("\n".join(lines) + "\n", "utf-8")


def _check_replaces_nothing(documents: Mapping[Path, str]) -> None:
    """Refuse to replace a file with another content. Somebody may have edited it."""
    other = [path for path, text in documents.items() if path.exists() and path.read_bytes() != text.encode()]
    if other:
        more = f" and {len(other) - 1} more" if other[1:] else ""
        raise BadInputError(
            f"nothing was written, because it would replace {other[0]}{more}, whose content differs; delete "
            "or move these files, or name another folder"
        )


def _report(made: Migration, directory: Path, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "registries": [
                    {
                        "registry": str(new.reference),
                        "provider": new.spec["provider"],
                        "hosts": list(new.hosts),
                        "secrets": [str(object_name) for object_name in new.sources],
                        "hint": new.hint,
                    }
                    for new in made.registries
                ],
                "annotations": [
                    {
                        "kind": new.puller.kind,
                        "namespace": new.puller.object_name.namespace,
                        "name": new.puller.object_name.name,
                        "annotations": annotations_of(new),
                    }
                    for new in made.annotations
                ],
                "in_the_clear": made.clear,
                "not_possible": made.not_possible,
                "notes": made.notes,
            }
        )
        return
    for title, lines in (
        ("stored in plain text today", made.clear),
        ("can't be replaced", made.not_possible),
        ("notes", made.notes),
    ):
        if lines:
            write(f"{title}:")
            unique = list(dict.fromkeys(lines))
            for line in unique[:LINES_MAX]:
                write(f"  {line}")
            if len(unique) > LINES_MAX:
                write(f"  ... and {len(unique) - LINES_MAX} more; -o json lists all")
    if not (made.registries or made.annotations):
        say("nothing to migrate: no pull secret of this cluster has a login that Regcred can replace")
        return
    say(
        f"{plural(len(made.registries), 'registry')} and "
        f"{plural(len(made.annotations), 'annotated workload')} written to {directory}; next: regcred diff "
        f"-f {directory}, regcred apply -f {directory}, then sh {directory / SCRIPT}"
    )


def _check(api: UserCluster, directory: Path, *, as_json: bool) -> None:
    found = _progress(api, _record(directory / RECORD))
    if as_json:
        print_json(
            {
                "secrets": [
                    {"secret": str(one.replaced.old), "stage": one.stage, "detail": one.detail}
                    for one in found
                ]
            }
        )
    else:
        for one in found:
            write(f"{one.replaced.old}: {one.stage}{f': {one.detail}' if one.detail else ''}")
    left = [one for one in found if one.stage not in {Stage.READY, Stage.GONE}]
    if left:
        raise TransientError(f"{plural(len(left), 'Secret')} of {len(found)} can't be deleted yet")
    say("all old Secrets can be deleted, or are deleted already")


def _record(path: Path) -> list[Replaced]:
    try:
        if path.stat().st_size > RECORD_MAX:
            raise BadInputError(f"{path}: is larger than {RECORD_MAX} bytes")
        return read_record(json.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        raise BadInputError(f"{path}: is missing; run 'regcred migrate' with this folder first") from None
    except (MalformedError, ValueError, RecursionError) as error:
        text = str(error) if isinstance(error, MalformedError) else "is not JSON"
        raise BadInputError(f"{path}: {text}") from None


def _progress(api: UserCluster, replaced: Sequence[Replaced]) -> list[Progress]:
    found: list[Progress] = []
    for namespace in sorted({one.old.namespace for one in replaced}):
        notes: list[str] = []
        pods = seen_pods(
            list(_objects(api, POD, [namespace], notes)),
            _objects(
                api, Kind("", "v1", "events", "Event"), [namespace], notes, {"fieldSelector": "reason=Pulled"}
            ),
        )
        accounts = {
            object_name.name: names_in(obj)
            for obj in _objects(api, SERVICE_ACCOUNT, [namespace], notes)
            if (object_name := object_name_of(obj))
        }
        if notes:
            raise RefusedError(f"namespace {namespace}: {'; '.join(notes)}; so the check is not possible")
        for one in replaced:
            if one.old.namespace == namespace:
                news = {reference: _exists(api, namespace, reference.secret_name) for reference in one.hosts}
                found.append(
                    check(
                        one,
                        old_exists=_exists(api, namespace, one.old.name),
                        new_secrets=news,
                        accounts=accounts,
                        pods=pods,
                    )
                )
    return found


def _exists(api: UserCluster, namespace: str, name: str) -> bool:
    """Whether a Secret exists. Only its metadata is read."""
    try:
        api.get(f"/api/v1/namespaces/{namespace}/secrets/{name}", accept=_METADATA)
    except MissingError:
        return False
    return True
