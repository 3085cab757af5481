"""The verb *dispatch*: decide what is due, and hand it to rotate in messages.

It changes nothing and mints nothing.

It reads O(projects) per sweep: two lists and the index of each. What no list shows (an edited definition, a
static credential that has drifted) is looked at in slices: each registry has a slot derived from its
reference, so all are met within the hour (edits) or the half day (static ones), without any state of
dispatch's own.

:mod:`~regcred.dispatch.planning` decides, :mod:`~regcred.dispatch.sweep` reads and sends.
"""

from regcred.dispatch.planning import Health, Limits, Observed, QueuedMessage, Sweep, health, plan
from regcred.dispatch.sweep import Dispatch, Queue, QueueError, SweepReport

__all__ = [
    "Dispatch",
    "Health",
    "Limits",
    "Observed",
    "Queue",
    "QueueError",
    "QueuedMessage",
    "Sweep",
    "SweepReport",
    "health",
    "plan",
]
