"""Mints a credential, verifies it, and puts it in use."""

from __future__ import annotations

import logging
import secrets
from dataclasses import replace

from regcred.credential import Credential, Verified
from regcred.errors import (
    ConflictError,
    MalformedError,
    TooSoonError,
    TransientError,
)
from regcred.registry.binding import destination
from regcred.registry.definition import BaseDefinition
from regcred.rotate import entries
from regcred.rotate.decide import Judgement, Seen
from regcred.rotate.outcome import Announced, Done, OutOfTimeError, Result
from regcred.rotate.trial import tried
from regcred.rotate.turn import Turn
from regcred.vault.records.credential import CredentialRecord

log = logging.getLogger(__name__)


def mint(turn: Turn) -> Result:
    """Renew a registry's credential. A vendor's failure is an outcome; Vault's failure is raised."""
    answered = turn.seen.asked
    try:
        definition, provider = turn.provider()
        context = turn.context(definition)
        needed = definition.needs_credential()
    except TransientError:
        raise  # Vault's trouble, not the vendor's
    except Exception as error:  # noqa: BLE001 - one definition's bug must not stop the others' registries
        return turn.failed(turn.typed(error), answered=answered)
    if not needed:
        return _public(turn, definition)
    try:
        with turn.tools.bounds.at(definition):
            if turn.until and turn.tools.now() >= turn.until:
                raise OutOfTimeError("others at this vendor took all the time")
            credential = provider.mint(definition, context)
        judgement = tried(turn, definition, provider, credential, context)
    except (ConflictError, OutOfTimeError):  # another run has the claim now, or the next sweep takes it
        return turn.result(Done.BUSY)
    except TooSoonError as error:
        return turn.too_soon(error)
    except Exception as error:  # noqa: BLE001 - one provider's bug must not stop the others' registries
        return turn.failed(turn.typed(error), answered=answered)
    return _put_in_force(turn, definition, credential, judgement)


def _public(turn: Turn, definition: BaseDefinition) -> Result:
    """A registry that anybody can pull from: in order, with nothing to hand out.

    What was minted before it was defined as public is taken out of force: nobody would end it or renew it, and a
    public registry refuses a dead login.
    """
    seen = turn.seen
    if seen.version:
        turn.tools.store.destroy_credential(seen.reference, seen.version)
    entry = entries.public(seen, definition.provider, now=turn.now())
    event = Announced.REVOKED if seen.stored else None
    return turn.result(Done.UNCHANGED, entry, event=event, answered=seen.asked)


def _put_in_force(
    turn: Turn, definition: BaseDefinition, credential: Credential, judgement: Judgement
) -> Result:
    seen = turn.seen
    try:
        record, version = _write(turn, credential, destination(definition))
    except ConflictError:
        return turn.result(Done.BUSY)
    except MalformedError as error:  # Vault can't take it, now or later
        return turn.failed(error, answered=seen.asked)
    entry = entries.in_force(
        record,
        version=version,
        definition_version=seen.definition_version,
        judgement=judgement if version != seen.version else _still(seen, judgement),
        now=turn.now(),
    )
    if version == seen.version:
        return turn.result(Done.UNCHANGED, entry, answered=seen.asked)
    return turn.result(Done.ROTATED, entry, event=Announced.ROTATED, answered=seen.asked)


def _still(seen: Seen, judgement: Judgement) -> Judgement:
    """The verification of a credential that was proven before. An inconclusive check does not undo it."""
    proven = seen.entry and seen.entry.version == seen.version and seen.entry.verified
    if proven and judgement.verified is Verified.UNKNOWN and proven is not Verified.UNKNOWN:
        return replace(judgement, verified=proven, unverified="")
    return judgement


def _write(turn: Turn, credential: Credential, minted_for: str) -> tuple[CredentialRecord, int]:
    """Put a credential in force unless it is the one that is; its record and version either way."""
    seen, tools = turn.seen, turn.tools
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
    record = entries.refresh_ahead(record, now=tools.now())
    if stored and same and stored.expires_at == record.expires_at:
        return stored.model_copy(update={"refresh_at": record.refresh_at}), seen.version
    version = tools.store.write_credential(seen.reference, record, cas=seen.version, above=seen.told)
    return record, version
