"""Rotate with its real classes."""

from __future__ import annotations

import os
from functools import cache

from regcred.registry.catalog import provider_for
from regcred.registry.verify import RegistryVerifier
from regcred.rotate import Rotate
from regcred.settings import RotateSettings
from regcred.wiring import aws


@cache
def rotate() -> Rotate:
    """Build it from the environment, once; warm invocations share it, with its connections and its Vault token.

    Raises:
        MalformedError: a setting is missing or wrong.
    """
    settings = RotateSettings.load(os.environ)
    return Rotate(
        store=aws.store(settings),
        provider_for=provider_for,
        identities=aws.ProjectIdentities(),
        verifier=RegistryVerifier(),
        announcer=aws.EventBus(settings.event_bus),
        now=aws.utc_now,
        workers=settings.workers,
        per_vendor=settings.per_vendor,
        lease=settings.lease,
    )
