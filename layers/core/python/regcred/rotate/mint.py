"""Mints a credential, verifies it, and puts it in use."""

from __future__ import annotations

import logging
import secrets
from dataclasses import replace

from regcred import tracing
from regcred.credential import Credential, Verified
from regcred.errors import (
    ConflictError,
    MalformedError,
    TooSoonError,
    TransientError,
)
from regcred.registry.definition import BaseDefinition
from regcred.registry.secret_destination import destination_hash
from regcred.rotate import index_entries
from regcred.rotate.context import RotationContext
from regcred.rotate.decide import Judgement, RegistryDocuments
from regcred.rotate.outcome import Announced, OutOfTimeError, Result, RotationResult
from regcred.rotate.verify_new import verify_new_credential
from regcred.vault.records.credential import CredentialRecord

log = logging.getLogger(__name__)


def mint(context: RotationContext) -> Result:
    """Renew a registry's credential. A vendor's failure is an outcome; Vault's failure is raised."""
    answered = context.seen.answerable
    try:
        definition, provider = context.provider()
        mint_context = context.mint_context(definition)
        needed = definition.needs_credential()
    except TransientError:
        raise  # a failure of Vault, not of the vendor
    except Exception as error:  # noqa: BLE001 - one definition's bug must not stop the others' registries
        return context.failed(context.typed(error), answered=answered)
    if not needed:
        return _public(context, definition)
    try:
        with context.tools.bounds.at(definition):
            if context.until and context.tools.now() >= context.until:
                raise OutOfTimeError("the other registries of this vendor took all the time")
            with tracing.span("call vendor", provider=definition.provider):
                credential = provider.mint(definition, mint_context)
        with tracing.span("verify", provider=definition.provider):
            judgement = verify_new_credential(context, definition, provider, credential, mint_context)
    except (ConflictError, OutOfTimeError):  # another run has the claim now, or the next sweep takes it
        return context.result(RotationResult.BUSY)
    except TooSoonError as error:
        return context.too_soon(error)
    except Exception as error:  # noqa: BLE001 - one provider's bug must not stop the others' registries
        return context.failed(context.typed(error), answered=answered)
    return _put_in_force(context, definition, credential, judgement)


def _public(context: RotationContext, definition: BaseDefinition) -> Result:
    """Handle a public registry, which needs no credential.

    An earlier credential is removed. Otherwise it would expire, and a public registry refuses an expired
    login.
    """
    seen = context.seen
    if seen.version:
        context.tools.store.destroy_credential(seen.reference, seen.version)
    entry = index_entries.public(seen, definition.provider, now=context.now())
    event = Announced.REVOKED if seen.stored else None
    return context.result(RotationResult.UNCHANGED, entry, event=event, answered=seen.answerable)


def _put_in_force(
    context: RotationContext, definition: BaseDefinition, credential: Credential, judgement: Judgement
) -> Result:
    seen = context.seen
    try:
        record, version = _write(context, credential, destination_hash(definition))
    except ConflictError:
        return context.result(RotationResult.BUSY)
    except MalformedError as error:  # Vault did not accept it
        return context.failed(error, answered=seen.answerable)
    entry = index_entries.in_force(
        record,
        version=version,
        definition_version=seen.definition_version,
        judgement=judgement if version != seen.version else _keep_verification(seen, judgement),
        now=context.now(),
    )
    if version == seen.version:
        return context.result(RotationResult.UNCHANGED, entry, answered=seen.answerable)
    return context.result(RotationResult.ROTATED, entry, event=Announced.ROTATED, answered=seen.answerable)


def _keep_verification(seen: RegistryDocuments, judgement: Judgement) -> Judgement:
    """Keep the earlier verification of this credential if the new check is inconclusive."""
    proven = seen.entry and seen.entry.version == seen.version and seen.entry.verified
    if proven and judgement.verified is Verified.UNKNOWN and proven is not Verified.UNKNOWN:
        return replace(judgement, verified=proven, unverified="")
    return judgement


def _write(context: RotationContext, credential: Credential, minted_for: str) -> tuple[CredentialRecord, int]:
    """Write a credential, unless it is already in use. Return its record and version in both cases."""
    seen, tools = context.seen, context.tools
    stored = seen.stored.value if seen.stored else None
    same = (
        stored is not None
        and stored.dockerconfigjson == credential.dockerconfigjson()
        and stored.destination == minted_for
    )
    record = CredentialRecord.of(
        credential,
        reference=seen.reference,
        fingerprint=stored.fingerprint if stored and same else secrets.token_hex(8),
        definition_version=seen.definition_version,
        destination=minted_for,
    )
    record = index_entries.refresh_ahead(record, now=tools.now())
    if stored and same and stored.expires_at == record.expires_at:
        return stored.model_copy(update={"refresh_at": record.refresh_at}), seen.version
    with tracing.span("write credential"):
        version = tools.store.write_credential(
            seen.reference, record, cas=seen.version, above=seen.newest_version
        )
    return record, version
