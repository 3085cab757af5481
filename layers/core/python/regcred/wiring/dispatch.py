"""Dispatch with its real classes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache

from regcred.adapters.sqs_sender import SqsQueue
from regcred.dispatch import Dispatch, Limits
from regcred.settings import DispatchSettings
from regcred.wiring import aws


@dataclass(frozen=True, slots=True)
class Wired:
    """Dispatch and its settings, for the handler."""

    verb: Dispatch
    settings: DispatchSettings


@cache
def dispatch() -> Wired:
    """Create dispatch from the environment, once.

    Warm invocations share it, with its connections and its Vault token.

    Raises:
        MalformedError: a setting is missing or wrong.
    """
    settings = DispatchSettings.load(os.environ)
    verb = Dispatch(
        store=aws.store(settings),
        queue=SqsQueue(settings.queue_url),
        limits=Limits(settings.chunk, settings.messages),
        workers=settings.workers,
    )
    return Wired(verb, settings)
