"""The last outcomes of a registry, for people and for programs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from regcred.cli.output import time_text
from regcred.vault.records.history import Attempt
from regcred.wording import duration


def in_words(attempt: Attempt) -> str:
    """One outcome in words: its result, its version, and the reason of a failure."""
    version = f", version {attempt.version}" if attempt.version else ""
    why = f" ({attempt.error_kind})" if attempt.error_kind else ""
    return f"{attempt.outcome}{why}{version}"


def last_outcome(attempt: Attempt, now: datetime) -> str:
    """The last outcome as a note."""
    return f"last outcome {duration(now - attempt.at)} ago: {in_words(attempt)}"


def attempt_json(attempt: Attempt) -> dict[str, Any]:
    """One outcome for programs."""
    return {
        "at": time_text(attempt.at),
        "outcome": attempt.outcome,
        "version": attempt.version,
        "milliseconds": attempt.milliseconds,
        "error_kind": attempt.error_kind,
    }
