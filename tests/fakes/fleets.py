"""Hypothesis strategies for projects' policies and registries."""

from __future__ import annotations

from hypothesis import strategies as st

from regcred.vault.records.declared import ProjectPolicy

HOSTS = ["a.example.com", "b.example.com", "*.example.com", "c.example.org:5000"]
PATHS = ["team", "team/", "team/app", "other"]
POLICIES = st.builds(
    ProjectPolicy,
    hosts=st.lists(st.sampled_from(HOSTS), unique=True),
    paths=st.dictionaries(st.sampled_from(HOSTS), st.lists(st.sampled_from(PATHS), unique=True)),
    accounts=st.lists(st.sampled_from(["111122223333", "444455556666"]), unique=True),
    clusters=st.lists(st.sampled_from(["c1", "c2", "c3"]), unique=True),
    max_registries=st.integers(0, 20),
)
REGISTRIES = st.one_of(
    st.fixed_dictionaries(
        {"provider": st.just("basic"), "hosts": st.just(["registry.example.com"])},
        optional={"description": st.text(max_size=20), "repositories": st.just(["team/app", "team/"])},
    ),
    st.fixed_dictionaries(
        {"provider": st.just("public"), "hosts": st.sampled_from([["a.example.com"], ["b.example.com"]])}
    ),
    st.fixed_dictionaries(
        {
            "provider": st.just("ecr"),
            "account": st.just("012345678901"),
            "regions": st.just(["eu-central-1"]),
        },
        optional={
            "description": st.sampled_from(["yes", "1e3", "2026-01-01", "~", "0x1f", "null", "'", "a: b #c"])
        },
    ),
)
_ENDS = "abcdefghijklmnopqrstuvwxyz0123456789"
NAMES = st.builds(
    lambda first, rest: first + rest.rstrip("-"), st.sampled_from(_ENDS), st.text(f"{_ENDS}-", max_size=9)
)
