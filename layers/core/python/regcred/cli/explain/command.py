"""``regcred explain``: the command and its output."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import click

from regcred.cli.explain.cluster_facts import look, with_vault
from regcred.cli.failures import BadInputError
from regcred.cli.output import Styled, output_option, print_json, time_text, write
from regcred.cli.parameters import CLUSTER, WORKLOAD_KIND
from regcred.cli.session import CliSession, pass_session
from regcred.cluster.model import WORKLOADS, Kind
from regcred.views import explanation
from regcred.views.explanation import ImageExplanation, Subject, World

SHORT = {
    "po": "Pod",
    "deploy": "Deployment",
    "sts": "StatefulSet",
    "ds": "DaemonSet",
    "rs": "ReplicaSet",
    "cj": "CronJob",
}
"""The short names of kubectl."""

NOTHING = "nothing to do"


@click.command(
    help="""Explain why a Pod or workload can or can't pull its images.

    For each image, the command shows its registry, the annotation and the grant, the Secret, when the
    credential expires, the last message of the kubelet, and what to do. It reads the cluster with your
    kubeconfig and, if VAULT_ADDR is set, Vault with your token. The command names what you may not read, and
    shows the rest.

    \b
    Examples:
      regcred explain pod shop/web-7d9f
      regcred explain deploy/web -n shop
      regcred explain rollout/web --workload-kind argoproj.io/v1alpha1/rollouts/Rollout
    """
)
@click.argument("what", nargs=-1, required=True, metavar="KIND [NS/]NAME")
@click.option(
    "-n", "--namespace", metavar="NS", help="The namespace. Default: the one in the kubeconfig's context."
)
@click.option("--context", metavar="NAME", help="The kubeconfig's context. Default: the current one.")
@click.option(
    "--cluster",
    type=CLUSTER,
    metavar="C",
    envvar="REGCRED_CLUSTER",
    help="The cluster's name in Regcred, if Regcred can't find it.",
)
@click.option(
    "--workload-kind",
    "custom",
    type=WORKLOAD_KIND,
    multiple=True,
    envvar="REGCRED_WORKLOAD_KINDS",
    help="A custom kind that has Pods, such as argoproj.io/v1alpha1/rollouts/Rollout. You can repeat this "
    "option.",
)
@output_option
@pass_session
def explain(
    session: CliSession,
    what: Sequence[str],
    namespace: str | None,
    context: str | None,
    cluster: str | None,
    custom: Sequence[Kind],
    as_json: bool,
) -> None:
    """Run ``regcred explain``."""
    kinds = (*WORKLOADS, *custom)
    kind, named_namespace, name = target(what, kinds)
    with session.open_cluster(context) as api:
        namespace = named_namespace or namespace or api.namespace
        seen = look(api, kind, namespace, name, kinds)
        subject, world = with_vault(session, api, seen, cluster)
    answers = explanation.explain(subject, world, session.now())
    if as_json:
        print_json(_json(subject, world, answers))
        return
    _print(subject, world, answers, session.now())


def target(what: Sequence[str], kinds: Sequence[Kind] = WORKLOADS) -> tuple[Kind, str, str]:
    """Parse ``pod NS/NAME``, ``deploy/NAME`` or ``pod NAME``.

    Args:
        what: The arguments of the command.
        kinds: All kinds that have Pods.

    Returns:
        The kind, the namespace (empty if it is not given), and the name.

    Raises:
        BadInputError: The form is wrong, or the kind has no Pods.
    """
    parts = [part for text in what for part in text.split("/")]
    match parts:
        case [word, name] if all(parts):
            namespace = ""
        case [word, namespace, name] if all(parts):
            pass
        case _:
            raise BadInputError("name one Pod or workload: 'pod NS/NAME', or 'deploy/NAME -n NS'")
    full = SHORT.get(word.lower(), word).lower()
    kind = next((kind for kind in kinds if full in (kind.name.lower(), kind.plural)), None)
    if kind is None:
        raise BadInputError(
            f"{word}: is not a kind that has Pods; use one of {', '.join(sorted({k.name for k in kinds}))}, "
            "or name another with --workload-kind"
        )
    return kind, namespace, name


def _print(subject: Subject, world: World, answers: Sequence[ImageExplanation], now: datetime) -> None:
    write(explanation.headline(subject, world))
    for line in world.malformed:
        _line("✗", "annotation", f"{line.removeprefix('annotation ')}", "red")
    for answer in answers:
        write("")
        write(f"container {answer.image.container}: {answer.image.name}")
        for item in answer.lines:
            mark, colour = {True: ("✓", "green"), False: ("✗", "red"), None: ("·", "")}[item.good]
            _line(mark, item.name, item.value, colour)
        if answer.todo:
            write("  → ", Styled(answer.todo, bold=True))
        elif not any(item.good is False for item in answer.lines):
            waits = subject.is_pod and not answer.image.pulled
            write(f"  → {'no problem found; the kubelet has not pulled the image yet' if waits else NOTHING}")
    if subject.events:
        write("")
        write("Events of sync:")
        for event in subject.events:
            write(f"  {explanation.event_line(event, now)}")


def _line(mark: str, name: str, value: str, colour: str) -> None:
    write("  ", Styled(mark, colour), f" {name:<9} {value}")


def _json(subject: Subject, world: World, answers: Sequence[ImageExplanation]) -> dict[str, Any]:
    return {
        "kind": subject.kind,
        "namespace": subject.namespace,
        "name": subject.name,
        "cluster": world.cluster or None,
        "malformed_annotations": list(world.malformed),
        "images": [
            {
                "container": answer.image.container,
                "image": answer.image.name,
                "registry": str(answer.reference) if answer.reference else None,
                "candidates": list(map(str, answer.candidates)),
                "checks": [{"name": line.name, "ok": line.good, "text": line.value} for line in answer.lines],
                "todo": answer.todo,
            }
            for answer in answers
        ],
        "events": [
            {
                "reason": event.reason,
                "message": event.message,
                "last_seen": time_text(event.at),
                "count": event.count,
            }
            for event in subject.events
        ],
    }
