"""Which documents the token server caches, and which it reads from Vault each time."""

from __future__ import annotations

from collections import Counter

from regcred.token.document_cache import KEEP_SECONDS, CachedRecords


class Records:
    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    def __getattr__(self, name: str):
        def read(*_args):
            self.calls[name] += 1
            return f"{name} {self.calls[name]}"

        return read


def test_settings_and_keys_are_cached_for_seconds_and_ended_logins_never():
    records, clock = Records(), [0.0]
    cached = CachedRecords(records, clock=lambda: clock[0])
    for _ in range(3):
        cached.config(), cached.keys(), cached.ended("payments"), cached.project("payments")
    assert records.calls == {"config": 1, "keys": 1, "ended": 3, "project": 3}
    clock[0] = KEEP_SECONDS
    assert (cached.config(), cached.keys()) == ("config 2", "keys 2")
