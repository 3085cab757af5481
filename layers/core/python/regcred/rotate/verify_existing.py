"""Handlers that create no credential: verify the one in use, or add it to the index after a crash."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping

from pydantic import SecretStr

from regcred.credential import Credential, Login, Verified
from regcred.registry.interface import Verdict, Verification
from regcred.registry.secret_destination import destination_hash
from regcred.rotate import index_entries
from regcred.rotate.context import RotationContext
from regcred.rotate.decide import judge
from regcred.rotate.outcome import Announced, Result, RotationResult
from regcred.vault.records.credential import CredentialRecord

MOVED = Verification(
    Verdict.INCONCLUSIVE,
    "the definition now names another destination than the one it was created for; the next rotation "
    "creates a new one",
)
"""The result for a credential whose definition has changed. It must not be sent to a new destination."""


def verify(context: RotationContext) -> Result:
    """Verify the credential in use. If the registry refuses it, the next attempt creates another one."""
    seen, answered = context.seen, context.seen.answerable
    if seen.entry is None or seen.stored is None:
        return context.result(RotationResult.DROPPED, answered=answered)
    try:
        definition, _ = context.provider()
        credential = as_minted(seen.stored.value)
        if seen.stored.value.destination == destination_hash(definition):
            verification = context.tools.verifier.verify(definition, credential)
        else:
            verification = MOVED
        judgement = judge(verification, static=credential.is_static)
    except Exception as error:  # noqa: BLE001 - one provider's bug must not stop the others' registries
        return context.failed(context.typed(error), answered=answered)
    if judgement.verified is Verified.UNKNOWN and seen.entry.verified is not Verified.UNKNOWN:
        # An inconclusive check does not undo an earlier result.
        answer = f"the credential could not be verified: {judgement.unverified}"
        entry = seen.entry.model_copy(
            update={"answer": answer[: index_entries.ERROR_MAX], "changed_at": context.now()}
        )
        return context.result(RotationResult.UNVERIFIED, entry, answered=answered)
    done = RotationResult.UNVERIFIED if judgement.verified is Verified.UNKNOWN else RotationResult.VERIFIED
    return context.result(
        done, index_entries.judged(seen.entry, judgement, now=context.now()), answered=answered
    )


def repair(context: RotationContext) -> Result:
    """Add the credential to the index, because a crash had left it out."""
    seen = context.seen
    assert seen.stored  # noqa: S101 - decide() repairs only what is stored
    record = seen.stored.value
    entry = index_entries.in_force(
        record, version=seen.version, definition_version=record.definition_version, now=context.now()
    )
    return context.result(RotationResult.REPAIRED, entry, event=Announced.ROTATED)


def as_minted(record: CredentialRecord) -> Credential:
    """The credential as it was when it was minted.

    The hosts of a minted login are aliases of one registry, so they stay one login. A static login is split
    by host, so that each host is verified.
    """
    auths: Mapping[str, Mapping[str, str]] = json.loads(record.dockerconfigjson.get_secret_value())["auths"]
    hosts: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for host, login in auths.items():
        alone = () if record.expires_at else (host,)
        hosts[login["username"], login["password"], *alone].append(host.removeprefix("https://"))
    return Credential(
        provider=record.provider,
        logins=tuple(Login(key[0], SecretStr(key[1]), tuple(names)) for key, names in hosts.items()),
        issued_at=record.issued_at,
        expires_at=record.expires_at,
        revocation_id=record.revocation_id,
    )
