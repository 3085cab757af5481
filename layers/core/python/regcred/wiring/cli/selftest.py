"""Connects the selftest to the vendor and to AWS, with the user's AWS session. It uses no Vault."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from regcred.registry_reference import Reference
    from regcred.selftest import SelftestParts


def parts(provider: str, reference: Reference, role_arn: str, say: Callable[[str], None]) -> SelftestParts:
    """Create the parts of a selftest.

    Args:
        provider: The name of the provider.
        reference: Its project becomes the external ID and the session tag of the assumed role.
        role_arn: The project's IAM role, which the user's AWS session assumes; empty if none is needed.
        say: Prints one line of progress.

    Raises:
        MalformedError: there is no such provider.
    """
    from regcred.adapters.sts import ProjectIdentities
    from regcred.clock import utc_now
    from regcred.registry.catalog import provider_for
    from regcred.registry.token_slots import MemorySlotStore
    from regcred.registry.verify import RegistryVerifier
    from regcred.selftest import SelftestParts
    from regcred.vault.records.declared import ProjectPolicy

    return SelftestParts(
        provider=provider_for(provider),
        identity=ProjectIdentities().of(reference.project, ProjectPolicy(role_arn=role_arn)),
        verifier=RegistryVerifier(),
        slot_store=MemorySlotStore(),
        now=utc_now,
        sleep=time.sleep,
        say=say,
    )
