"""Which images the system registry deletes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as some

from regcred.token.retention import Tagged, expired

NOW = datetime(2026, 11, 28, tzinfo=UTC)


def image(name: str, days: int | None, digest: str = "") -> Tagged:
    return Tagged(name, digest or f"sha256:{name}", None if days is None else NOW - timedelta(days=days))


def deleted(*tags: Tagged, keep: int = 1, days: int = 30) -> list[str]:
    return [tag.name for tag in expired(tags, keep=keep, age=timedelta(days=days), now=NOW)]


def test_an_image_is_deleted_if_it_is_old_and_not_among_the_newest():
    assert deleted(image("a", 90), image("b", 60), image("c", 1)) == ["a", "b"]
    assert deleted(image("a", 90), image("b", 60), keep=2) == []
    assert deleted(image("a", 20), image("b", 10), keep=0) == []


def test_an_image_without_a_date_is_kept():
    assert deleted(image("a", None), image("b", 90), keep=0) == ["b"]


def test_the_tags_of_one_image_are_deleted_together_and_count_once():
    assert deleted(image("1", 90, "sha256:x"), image("1.0", 90, "sha256:x"), image("2", 40), keep=1) == [
        "1",
        "1.0",
    ]


def test_signatures_are_deleted_with_their_image_and_do_not_count():
    digest = "ab" * 32
    signature = image(f"sha256-{digest}.sig", 90)
    assert deleted(image("1", 90, f"sha256:{digest}"), signature, image("2", 40)) == ["1", signature.name]
    assert deleted(image("1", 1, f"sha256:{digest}"), signature, keep=0) == []


@given(some.lists(some.integers(0, 100), max_size=20), some.integers(0, 10), some.integers(0, 100))
def test_at_least_the_newest_images_are_kept(ages: list[int], keep: int, days: int):
    tags = [image(str(number), age) for number, age in enumerate(ages)]
    left = len(tags) - len(deleted(*tags, keep=keep, days=days))
    assert left >= min(keep, len(tags))
