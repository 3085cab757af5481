"""Formats the last outcomes of a registry, for people and for programs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from regcred.cli.output import time_text
from regcred.vault.records.history import Attempt
from regcred.wording import duration


def outcome_text(attempt: Attempt) -> str:
    """One outcome as text: the result, the kind of a failure, and the version."""
    version = f", version {attempt.version}" if attempt.version else ""
    why = f" ({attempt.error_kind})" if attempt.error_kind else ""
    return f"{attempt.outcome}{why}{version}"


def last_outcome(attempt: Attempt, now: datetime) -> str:
    """The last outcome and its age as text."""
    return f"last outcome {duration(now - attempt.at)} ago: {outcome_text(attempt)}"


def attempt_json(attempt: Attempt) -> dict[str, Any]:
    """One outcome for programs."""
    return {
        "at": time_text(attempt.at),
        "outcome": attempt.outcome,
        "version": attempt.version,
        "milliseconds": attempt.milliseconds,
        "error_kind": attempt.error_kind,
    }
