"""The verb *dispatch*: finds what is due, and sends it to rotate in messages.

It changes nothing and mints nothing.

A sweep reads O(projects): two lists and the index of each project. Two things are not in any list: an edited
definition, and a static credential that has changed upstream. So each registry has a slot, derived from its
reference. In its slot, a sweep reads its definition (within an hour) or has its static credential checked
(within half a day). Dispatch keeps no state for this.

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
