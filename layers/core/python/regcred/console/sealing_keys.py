"""The keys that seal cookies, for consoles with several instances. They are stored in Vault.

Only the console's own role may read their path. When the newest key is old, a new one is created. Earlier
keys stay until no session can use them any more, so a rotation signs nobody out.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from cryptography.fernet import Fernet
from pydantic import AwareDatetime, SecretStr, field_serializer

from regcred.errors import ConflictError, RegcredError
from regcred.vault.interface import KeyValue
from regcred.vault.records.document import Record

PATH = "console/sealing"

LIFE = timedelta(days=30)
"""The maximum age of the newest key."""

LOOKED = timedelta(minutes=5)
"""How long a read is valid before newer keys are read."""

SOONEST = timedelta(seconds=5)
"""The minimum time between reads of Vault for a cookie that no key opens. Any client can send such a
cookie."""

_ATTEMPTS = 5


class SealingKey(Record):
    """One key."""

    key: SecretStr
    made_at: AwareDatetime

    @field_serializer("key", when_used="json")
    def _unwrap(self, key: SecretStr) -> str:
        return key.get_secret_value()


class Sealing(Record):
    """``console/sealing``: the keys, newest first."""

    keys: tuple[SealingKey, ...] = ()


def renewed(old: Sealing, now: datetime, *, longest: timedelta) -> Sealing:
    """The keys after a rotation; the same object if no change is needed.

    Args:
        old: The current keys.
        now: The current time.
        longest: The maximum time of a session. A key stays for that time after the next one was created.
    """
    keys = old.keys
    if not keys or now - keys[0].made_at >= LIFE:
        new = SealingKey(key=SecretStr(Fernet.generate_key().decode()), made_at=now)
        keys = (new, *keys)
    kept = keys[:1] + tuple(key for newer, key in pairwise(keys) if now - newer.made_at < longest)
    return old if kept == old.keys else Sealing(keys=kept)


class VaultKeys:
    """:class:`regcred.console.interface.SealingKeys` in Vault, read by the console's own role."""

    def __init__(self, kv: KeyValue, now: Callable[[], datetime], *, longest: timedelta) -> None:
        self._kv = kv
        self._now = now
        self._longest = longest
        self._lock = threading.Lock()
        self._held: Sequence[bytes] = ()
        self._read_at: datetime | None = None

    def all(self) -> Sequence[bytes]:
        """See :class:`SealingKeys`. While Vault can't be reached, the last keys are used.

        Raises:
            RegcredError: No keys have been read yet.
        """
        if self._read_at is None or self._now() - self._read_at >= LOOKED:
            self._look()
        return self._held

    def reload(self) -> bool:
        """See :class:`SealingKeys`."""
        if self._read_at is not None and self._now() - self._read_at < SOONEST:
            return False
        before = self._held
        self._look()
        return self._held != before

    def _look(self) -> None:
        with self._lock:
            try:
                self._held = [key.key.get_secret_value().encode() for key in self._current().keys]
            except RegcredError:
                if not self._held:
                    raise
            self._read_at = self._now()

    def _current(self) -> Sealing:
        for _ in range(_ATTEMPTS):
            document = self._kv.read(PATH)
            old = Sealing.parse(document.fields, path=PATH) if document else Sealing()
            new = renewed(old, self._now(), longest=self._longest)
            if new is old:
                return old
            try:
                self._kv.write(
                    PATH, new.fields(), cas=document.version if document else self._kv.version(PATH)
                )
            except ConflictError:
                continue  # another instance was faster, so read its keys
            return new
        raise ConflictError(f"{PATH}: other instances kept changing it; try again")
