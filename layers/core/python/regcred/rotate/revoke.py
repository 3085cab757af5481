"""Ends a credential, because a person requested it or because its registry was removed."""

from __future__ import annotations

from regcred.errors import RegcredError, TransientError
from regcred.registry.definition import BaseDefinition
from regcred.registry.interface import IssuedCredential, Revoked
from regcred.registry.secret_destination import destination_hash
from regcred.rotate import index_entries
from regcred.rotate.context import RotationContext
from regcred.rotate.decide import NO_REQUEST
from regcred.rotate.outcome import Announced, Result, RotationResult
from regcred.vault.records.index import State


def revoke(context: RotationContext) -> Result:
    """Take a credential out of use now, and revoke it at the vendor if the vendor supports that.

    Clusters remove it as soon as the index shows it. If the vendor can't be reached, the request and the
    record stay, because the vendor needs the record's ID. The vendor is called again later.
    """
    seen = context.seen
    note, again = _revoke_upstream(context)
    entry = index_entries.revoked(seen, note, again, now=context.now())
    if not again and seen.version:
        context.tools.store.destroy_credential(seen.reference, seen.version)
    first = seen.entry is None or seen.entry.state is not State.REVOKED
    return context.result(
        RotationResult.REVOKED,
        entry,
        event=Announced.REVOKED if first else None,
        answered=NO_REQUEST if again else seen.answerable,
        error=again,
    )


def _revoke_upstream(context: RotationContext) -> tuple[str, TransientError | None]:
    """Revoke the credential at the vendor. Return a note for people, and an error if a retry makes sense."""
    if context.seen.stored is None:
        return "", None
    record = context.seen.stored.value
    try:
        definition, provider = context.provider()
        # Another vendor does not know the ID, or it is the ID of another credential there.
        if record.provider != definition.provider:
            raise RegcredError(
                f"provider {record.provider} created it, but the definition no longer names that provider; "
                "revoke it there"
            )
        same = record.destination == destination_hash(definition)
        issued = IssuedCredential(record.revocation_id, record.password if same else None)
        revoked = provider.revoke(definition, issued, context.mint_context(definition))
    except TransientError as error:
        return f"removed in Regcred; the vendor could not be reached to revoke it: {error}", error
    except Exception as error:  # noqa: BLE001 - one provider's bug must not stop the others' registries
        return f"removed in Regcred; the vendor did not revoke it: {context.typed(error)}", None
    if revoked is Revoked.YES:
        return _pull_tokens(context, definition), None
    until = record.expires_at and record.expires_at.isoformat(timespec="minutes")
    left = f"it works until {until}" if until else "change it there"
    return f"removed in Regcred; the vendor can't revoke it early: {left}", None


def _pull_tokens(context: RotationContext, definition: BaseDefinition) -> str:
    if not (life := definition.pull_tokens_outlive()):
        return ""
    until = (context.now() + life).isoformat(timespec="minutes")
    return f"revoked at the vendor; pull tokens that were issued before work until {until}"


def remove(context: RotationContext) -> Result:
    """Remove the credential of a registry whose definition was removed. Its version numbers continue."""
    seen = context.seen
    if seen.version:
        context.tools.store.destroy_credential(seen.reference, seen.version)
    entry = index_entries.removed(seen, now=context.now())
    result = context.result(RotationResult.REMOVED, entry, event=Announced.REVOKED, answered=seen.answerable)
    result.forget = True
    return result
