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

FAILURES_SHOWN = 50
"""The maximum number of failures that the text lists."""


def show(found: DeclarationPlan, *, as_json: bool) -> None:
    """Print a plan."""
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
    if found.problems:
        raise problems_error([str(problem) for problem in found.problems])


def problems_error(problems: Sequence[str]) -> BadInputError:
    """Print all problems except the last one, and return an error with that one."""
    for problem in problems[:-1][:FAILURES_SHOWN]:
        say(problem)
    if len(problems) > FAILURES_SHOWN + 1:
        say(f"... and {len(problems) - FAILURES_SHOWN - 1} more")
    return BadInputError(f"{problems[-1]} ({plural(len(problems), 'problem')}; nothing was written)")


def report(done: AppliedPlan, *, as_json: bool) -> None:
    """Print the results, and raise an error if a step failed."""
    # The last error sets the exit code. So errors that a second run can't resolve come last.
    failed = sorted(done.failed, key=lambda one: (-_KINDS.index(_kind(one[1])), one[0].key))
    for step, error in failed[:-1][:FAILURES_SHOWN]:
        say(f"{step.key}: {error}")
    if len(failed) > FAILURES_SHOWN + 1:
        say(f"... and {len(failed) - FAILURES_SHOWN - 1} more; 'regcred diff' shows what is left")
    if failed:
        step, error = failed[-1]
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


_KINDS: tuple[type[RegcredError | Failed], ...] = (Failed, RefusedError, ConflictError, TransientError)
"""The kinds of failures. A second run may resolve the last two without a change by somebody."""


def _kind(error: RegcredError) -> type[RegcredError | Failed]:
    return next((kind for kind in _KINDS if isinstance(error, kind)), Failed)


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
