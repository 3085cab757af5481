"""Verifies a new credential before it is written."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from regcred.credential import Credential, Verified
from regcred.errors import RefusedError, RegcredError, UnverifiedError
from regcred.registry.definition import BaseDefinition
from regcred.registry.interface import IssuedCredential, MintContext, Provider, Verdict, Verification
from regcred.rotate.context import RotationContext
from regcred.rotate.decide import Judgement, judge, needs_proof

log = logging.getLogger(__name__)

RETRY_PAUSES = (1.0, 2.0, 4.0, 8.0)
"""Seconds between attempts while a registry refuses a newly minted credential."""

VERIFY_GRACE = timedelta(seconds=8)
"""How long verification may be retried after the deadline for starting registries."""


def verify_new_credential(
    context: RotationContext,
    definition: BaseDefinition,
    provider: Provider[Any],
    credential: Credential,
    mint_context: MintContext,
) -> Judgement:
    """Verify a new credential, and judge the result by :func:`judge`.

    If the credential must not be written, it is revoked at the vendor.

    Raises:
        RefusedError: the registry refuses it, or it has more rights than requested.
        UnverifiedError: the check was inconclusive, and this definition requires proof.
    """
    try:
        judgement = judge(_verified(context, definition, credential), static=credential.is_static)
        if (
            judgement.verified is Verified.UNKNOWN
            and not definition.allow_unverified
            and needs_proof(context.seen, credential)
        ):
            raise UnverifiedError(
                f"the credential could not be verified, so it is not used: {judgement.unverified}; rotate "
                "will retry. If rotate can never verify it, set 'allow_unverified: true' in the definition"
            )
    except (RefusedError, UnverifiedError):
        slots = mint_context.slot_store.read().states if mint_context.slot_store else {}
        if credential.revocation_id and not slots:  # the next rotation of a slot replaces it
            _discard(definition, provider, credential, mint_context)
        raise
    return judgement


def _verified(context: RotationContext, definition: BaseDefinition, credential: Credential) -> Verification:
    """Try a credential at its registry, and retry if it is refused.

    A vendor may need seconds until all its servers know a new credential, so one refusal proves nothing. A
    static credential is tried once: it is not new, and some vendors lock an account after a few wrong
    passwords.
    """
    tools, seen = context.tools, context.seen
    verification = tools.verifier.verify(definition, credential)
    same = seen.stored and seen.stored.value.dockerconfigjson == credential.dockerconfigjson()
    for pause in () if same or credential.is_static else RETRY_PAUSES:
        late = context.until and tools.now() + timedelta(seconds=pause) > context.until + VERIFY_GRACE
        if verification.verdict is not Verdict.REFUSED or late:
            break
        tools.sleep(pause)
        verification = tools.verifier.verify(definition, credential)
    return verification


def _discard(
    definition: BaseDefinition, provider: Provider[Any], credential: Credential, mint_context: MintContext
) -> None:
    try:
        provider.revoke(definition, IssuedCredential.of(credential), mint_context)
    except RegcredError as error:
        log.warning("%s: the refused credential could not be revoked: %s", mint_context.reference, error)
