"""Rotate with its real classes."""

from __future__ import annotations

import os
from functools import cache

from regcred.adapters.eventbridge import EventBus
from regcred.adapters.sts import ProjectIdentities
from regcred.clock import utc_now
from regcred.registry.catalog import provider_for
from regcred.registry.verify import RegistryVerifier
from regcred.rotate import Rotate
from regcred.settings import RotateSettings
from regcred.wiring import aws


@cache
def rotate() -> Rotate:
    """Create rotate from the environment, once.

    Warm invocations share it, with its connections and its Vault token.

    Raises:
        MalformedError: a setting is missing or wrong.
    """
    settings = RotateSettings.load(os.environ)
    return Rotate(
        store=aws.store(settings),
        provider_for=provider_for,
        identities=ProjectIdentities(),
        verifier=RegistryVerifier(),
        announcer=EventBus(settings.event_bus),
        now=utc_now,
        workers=settings.workers,
        per_vendor=settings.per_vendor,
        lease=settings.lease,
    )
