"""Prints plans and their results, for people and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from regcred.cli.failures import BadInputError, Failed
from regcred.cli.output import print_json, say, write
from regcred.declare.apply import AppliedPlan
from regcred.declare.kinds import DeclaredKind
from regcred.declare.live_objects import Live
from regcred.declare.steps import DeclarationPlan, Step, StepKind
from regcred.errors import ConflictError, RefusedError, RegcredError, TransientError
from regcred.wording import plural


def show(found: DeclarationPlan, *, as_json: bool) -> None:
    """Print a plan."""
    for note in found.notes:
        say(f"note: {note}")
    if as_json:
        print_json(
            {
                "steps": [_step_json(step) for step in found.steps],
                "problems": [str(problem) for problem in found.problems],
                "removals": found.removals,
            }
        )
        return
    for step in found.steps:
        write(str(step))


def check(found: DeclarationPlan) -> None:
    """Raise an error if the plan has problems, and print all of them."""
    if not found.problems:
        return
    for problem in found.problems[:-1]:
        say(str(problem))
    raise BadInputError(
        f"{found.problems[-1]} ({plural(len(found.problems), 'problem')}; nothing was written)"
    )


def report(done: AppliedPlan, *, as_json: bool) -> None:
    """Print the results, and raise an error if a step failed."""
    for step, error in done.failed[:-1]:
        say(f"{step.key}: {error}")
    if done.failed:
        step, error = done.failed[-1]
        left = f"; {plural(done.not_begun, 'step')} not begun" if done.not_begun else ""
        text = (
            f"{step.key}: {error} ({len(done.failed)} failed, {len(done.steps)} done{left}; run the command "
            "again to continue)"
        )
        raise _kind(error)(text)
    if done.steps:
        say(f"{summary(done.steps)} made")
        if any(
            step.key.kind is DeclaredKind.REGISTRY and step.verb is not StepKind.REMOVE for step in done.steps
        ):
            say("credentials are fetched within minutes: 'regcred status' shows them")
    elif not as_json:
        say("nothing to do: Vault matches the files")


def _kind(error: RegcredError) -> type[RegcredError | Failed]:
    for kind in (RefusedError, ConflictError, TransientError):
        if isinstance(error, kind):
            return kind
    return Failed


def summary(steps: Sequence[Step]) -> str:
    """The number of steps by kind."""
    counts = Counter(step.verb for step in steps)
    verbs = ", ".join(f"{count} {verb}" for verb, count in sorted(counts.items()))
    return f"{plural(len(steps), 'change')} ({verbs})"


def _step_json(step: Step) -> dict[str, Any]:
    scope = {DeclaredKind.REGISTRY: "project", DeclaredKind.GRANT: "cluster"}.get(step.key.kind)
    return {
        "verb": step.verb,
        "kind": step.key.kind,
        "name": step.key.name,
        **({scope: step.key.scope} if scope else {}),
        "changes": list(step.changes),
        "removals": step.removals,
    }


def done_json(done: AppliedPlan, found: DeclarationPlan, live: Live) -> dict[str, Any]:
    """The results as JSON."""
    return {
        "done": [_step_json(step) for step in done.steps],
        "failed": [{**_step_json(step), "error": str(error)} for step, error in done.failed],
        "not_begun": done.not_begun,
        "notes": [*live.notes, *found.notes],
    }
