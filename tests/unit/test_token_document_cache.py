"""What the token server keeps, and what it asks Vault for each time."""

from __future__ import annotations

from collections import Counter

from regcred.token.document_cache import KEEP_SECONDS, CachedRecords


class Records:
    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()

    def __getattr__(self, name: str):
        def read(*_args):
            self.asked[name] += 1
            return f"{name} {self.asked[name]}"

        return read


def test_settings_and_keys_are_cached_for_seconds_and_ended_logins_never():
    records, clock = Records(), [0.0]
    recent = CachedRecords(records, clock=lambda: clock[0])  # type: ignore[arg-type]
    for _ in range(3):
        recent.config(), recent.keys(), recent.ended("payments"), recent.project("payments")
    assert records.asked == {"config": 1, "keys": 1, "ended": 3, "project": 3}
    clock[0] = KEEP_SECONDS
    assert (recent.config(), recent.keys()) == ("config 2", "keys 2")
