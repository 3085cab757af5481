"""A credential that Vault refuses to store."""

from __future__ import annotations

from fakes.rotate_world import World

from regcred.errors import MalformedError
from regcred.registry_reference import Reference
from regcred.rotate import RotationResult
from regcred.rotation_message import RotationReason
from regcred.vault.records.index import State


def test_it_fails_once_and_backs_off_while_others_are_rotated() -> None:
    world = World()
    world.define(Reference("payments", "large"))
    world.kv.faults["write", "credentials/payments/large"] = MalformedError("the document is too large")

    def done() -> list[RotationResult]:
        return [outcome.done for outcome in world.run(RotationReason.NEW, "large", "prod")]

    assert done() == [RotationResult.FAILING, RotationResult.ROTATED]
    assert world.entry("large").state is State.FAILING
    assert "too large" in world.entry("large").error
    assert done() == [RotationResult.DROPPED, RotationResult.DROPPED]
