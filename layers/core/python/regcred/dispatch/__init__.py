"""The verb *dispatch*: finds what is due, and sends it to rotate in messages.

It changes no document and creates no credential.

For each project, a sweep reads two lists and the index. Two kinds of changes are not in them: an edited
definition, and a static credential that was replaced upstream. To find these, each registry has a turn that
is derived from its reference: once an hour, a sweep reads its definition, and once in 12 hours, a sweep has
its static credential checked. Dispatch keeps no state for this.

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
