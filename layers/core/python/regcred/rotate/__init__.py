"""The verb *rotate*: mint, verify, write, index, announce; one message (registries of one project) at a time.

The order makes it safe to run twice and to crash at any point:

1. The claims are read, *then* the index, then all the rest. A claim is taken by check-and-set on the version
   read, so the claim fails if another run acted in between.
2. The credential is written before the index. A crash between leaves a credential newer than its entry; the
   next run finds it and only repairs the index.
3. Requests are answered and claims released after the index is written.

**Keep last good**: no failure overwrites or removes a credential; only a revoke or a removed definition does.

The path of a message: :mod:`~regcred.rotate.rotate_project` reads the claims and the index.
:mod:`~regcred.rotate.registry_batch` handles each registry. :mod:`~regcred.rotate.decide` decides what it
needs, and :mod:`~regcred.rotate.mint`, :mod:`~regcred.rotate.revoke` or
:mod:`~regcred.rotate.verify_existing` does it.
"""

from regcred.rotate.backoff import next_attempt
from regcred.rotate.context import Identities
from regcred.rotate.outcome import (
    Announced,
    Announcer,
    Event,
    Outcome,
    OutOfTimeError,
    RotationReport,
    RotationResult,
)
from regcred.rotate.registry_batch import RESERVE
from regcred.rotate.rotate_project import Rotate

__all__ = [
    "RESERVE",
    "Announced",
    "Announcer",
    "Event",
    "Identities",
    "OutOfTimeError",
    "Outcome",
    "Rotate",
    "RotationReport",
    "RotationResult",
    "next_attempt",
]
