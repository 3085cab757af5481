"""The status of a project in a cluster, from its sync: what is in place, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from pydantic import AwareDatetime, ValidationError

from regcred.errors import MalformedError
from regcred.vault.records import ledger
from regcred.vault.records.document import DOCUMENT, Record, malformed


class Placement(Record):
    """The ledger of one reference in one cluster: what sync has put where."""

    placed: dict[int, dict[str, str]] = {}
    """By credential version (0: about to be written), the namespaces and the first 8 digits of each one's uid."""
    unused_since: dict[str, AwareDatetime] = {}
    """By namespace, since when no annotated workload has needed it (the grace starts here)."""
    refused: dict[str, str] = {}
    """By namespace, why the reference is not projected there (``not-granted``, ``no-such-registry``, ``clash``, …)."""
    details: dict[str, str] = {}
    """By namespace, what the cluster's API server said when it denied the last write or removal: a quota, a webhook, a
    policy. Where ``refused`` is ``not-written``, it is the reason. One printable line of foreign text, 400 characters at most.
    Show it as it is, with the advice to fix the cause. Sync retries every half minute."""
    held: dict[str, str] = {}
    """By namespace, why the Secret would be removed (``unneeded``, ``removed``). The brake holds these removals
    until somebody runs ``regcred sync --cluster C --once --confirm-removals``."""


class Status(Record):
    """``status/C/P``: written by the sync of C on change and as a heartbeat.

    In memory it names each namespace wherever it occurs; what is written names each once, see :mod:`regcred.vault.records.ledger`.
    """

    written_at: AwareDatetime
    sync_version: str = ""
    """The version of the sync that wrote it."""
    mode: str = ""
    """How sync hands the Secrets to Pods: ``admission``, ``serviceaccount`` or ``none``."""
    registries: dict[str, Placement] = {}

    @classmethod
    def parse(cls, fields: Mapping[str, str], *, path: str) -> Self:
        """Read a status, see :meth:`Record.parse`."""
        text = fields.get(DOCUMENT)
        if text is None:
            raise MalformedError(
                f"{path}: the field {DOCUMENT!r} with a JSON text is missing", field=DOCUMENT
            )
        try:
            return cls.model_validate_json(ledger.unpack(text))
        except ValidationError as error:
            raise malformed(error, where=path) from None
        except ValueError as error:
            raise MalformedError(
                f"{path}: {error}; sync rewrites it at its next change", field=DOCUMENT
            ) from None

    def fields(self) -> dict[str, str]:
        """The document to write, in compact form. 10,000 namespaces times several registries stay far below Vault's 1 MiB.

        It always contains what is in place. If there is not enough room, refusals are left out first, and then the times since
        when Secrets are unneeded. The next pass finds both again.

        Raises:
            MalformedError: What is in place is too large on its own.
        """
        for left_out in _LEFT_OUT:
            try:
                text = self.model_dump_json(
                    exclude_defaults=True, exclude={"registries": {"__all__": left_out}}
                )
                return {DOCUMENT: ledger.pack(text)}
            except ValueError:
                continue
        raise MalformedError(
            f"a status with {len(self.registries)} registries is too large for Vault: use them in fewer namespaces",
            field=DOCUMENT,
        )


_LEFT_OUT: tuple[set[str], ...] = (
    set(),
    {"refused", "details"},
    {"refused", "details", "held", "unused_since"},
)
