"""The common part of two lists of namespaces and patterns, and what a new list no longer allows."""

from __future__ import annotations

from fnmatch import fnmatchcase

from hypothesis import given, settings
from hypothesis import strategies as st

from regcred.declare.namespace_sets import common, lost

LISTS = st.lists(st.sampled_from(["a", "b", "ab", "a-b", "*", "a*", "*b", "a*b", "a-*"]), max_size=4)
NAMESPACES = ["a", "b", "ab", "a-b", "a-x", "axb", "x"]


def allows(names: list[str], namespace: str) -> bool:
    return any(fnmatchcase(namespace, name) for name in names)


@settings(max_examples=150)
@given(LISTS, LISTS)
def test_the_common_part_never_allows_more_than_either_list(old: list[str], new: list[str]) -> None:
    both = common(old, new)
    for namespace in NAMESPACES:
        if allows(both, namespace):
            assert allows(old, namespace)
            assert allows(new, namespace)


@settings(max_examples=150)
@given(LISTS, LISTS)
def test_if_nothing_is_lost_each_allowed_namespace_stays_allowed(old: list[str], new: list[str]) -> None:
    if not lost(old, new):
        assert all(allows(new, namespace) for namespace in NAMESPACES if allows(old, namespace))
        assert {*old} <= {*common(old, new)}


def test_replacing_a_pattern_by_names_or_names_by_a_pattern_leaves_no_gap() -> None:
    assert common(["team-*"], ["team-a", "other"]) == ["team-a"]
    assert common(["team-a", "other"], ["team-*"]) == ["team-a"]
    assert lost(["team-a"], ["team-*"]) == []
    assert lost(["team-*"], ["team-a"]) == ["team-*"]
