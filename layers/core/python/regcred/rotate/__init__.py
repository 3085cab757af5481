"""The verb *rotate*: it creates, verifies and writes credentials, updates the index and sends events.

A run handles one message: registries of one project. This order makes it safe to run it twice, and to crash
at any point:

1. Rotate reads the claims, *then* the index, then everything else. It takes a claim by check-and-set on the
   version that it has read, so this fails if another run acted in between.
2. It writes the credential before the index. After a crash in between, the credential is newer than its
   entry. The next run finds it and only repairs the index.
3. It answers requests and releases claims after it has written the index.

**Keep last good**: no failure overwrites or removes a credential. Only a revocation or the removal of the
definition does.

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
