"""What two lists of names and patterns have in common: a namespace that both allow stays allowed."""

from __future__ import annotations

from fnmatch import fnmatchcase

from hypothesis import given, settings
from hypothesis import strategies as st

from regcred.declare.namespace_sets import common, lost

LISTS = st.lists(st.sampled_from(["a", "b", "ab", "a-b", "*", "a*", "*b", "a*b", "a-*"]), max_size=4)
NAMESPACES = ["a", "b", "ab", "a-b", "a-x", "axb", "x"]


def allows(names: list[str], namespace: str) -> bool:
    return any(fnmatchcase(namespace, name) for name in names)


@settings(max_examples=300, deadline=None)
@given(LISTS, LISTS)
def test_the_common_part_never_allows_more_than_either_list(old: list[str], new: list[str]) -> None:
    for namespace in NAMESPACES:
        if allows(common(old, new), namespace):
            assert allows(old, namespace)
            assert allows(new, namespace)


@settings(max_examples=300, deadline=None)
@given(LISTS, LISTS)
def test_if_nothing_is_lost_all_that_was_allowed_still_is(old: list[str], new: list[str]) -> None:
    if not lost(old, new):
        assert all(allows(new, namespace) for namespace in NAMESPACES if allows(old, namespace))
        assert {*old} <= {*common(old, new)}


def test_a_pattern_that_becomes_names_and_the_other_way_round_leaves_no_gap() -> None:
    assert common(["team-*"], ["team-a", "other"]) == ["team-a"]
    assert common(["team-a", "other"], ["team-*"]) == ["team-a"]
    assert lost(["team-a"], ["team-*"]) == []
    assert lost(["team-*"], ["team-a"]) == ["team-*"]
