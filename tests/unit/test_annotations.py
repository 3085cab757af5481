"""How references are read from annotations."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from regcred.cluster.annotations import NOTHING, REFERENCES, reference_of, requested
from regcred.errors import MalformedError
from regcred.registry_reference import Reference

CALM = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
KEY = "registry.regcred.dev/"
A, B = Reference("a", "x"), Reference("b", "y")
ENDS = "abcdefghijklmnopqrstuvwxyz0123456789"
LABELS = st.builds(
    lambda first, rest: first + rest.rstrip("-"), st.sampled_from(ENDS), st.text(f"{ENDS}-", max_size=62)
)


def test_several_keys_give_sorted_references_without_duplicates() -> None:
    own = {f"{KEY}main": "b/y", f"{KEY}sidecar": "a/x", f"{KEY}again": "b/y", "other/annotation": "a/z"}
    assert requested(own).references == (A, B)


def test_a_template_and_its_workload_are_merged() -> None:
    assert requested({f"{KEY}m": "a/x"}, {f"{KEY}m": "b/y"}).references == (A, B)


def test_the_annotation_that_admission_sets_counts_too() -> None:
    assert requested({REFERENCES: "a/x,b/y"}).references == (A, B)


@pytest.mark.parametrize(
    "annotations", [None, {}, {"registry.regcred.dev": "a/x"}, {"regcred.dev/other": "a/x"}]
)
def test_other_annotations_request_nothing(annotations: dict[str, str] | None) -> None:
    assert requested(annotations) is NOTHING


@pytest.mark.parametrize("value", ["a", "a/b/c", "A/b", "a/b ", "/b", "a/", "", "a.b/c", "a/" + "x" * 64])
def test_a_malformed_value_is_reported_with_its_key_and_affects_no_other(value: str) -> None:
    found = requested({f"{KEY}bad": value, f"{KEY}good": "a/x"})
    assert found.references == (A,)
    [line] = found.malformed
    assert line.startswith(f"annotation {KEY}bad: ")
    assert "payments/ecr-prod" in line


@CALM
@given(LABELS, LABELS)
def test_the_name_of_a_secret_gives_its_reference(project: str, registry: str) -> None:
    reference = Reference(project, registry)
    assert reference_of(reference.secret_name) == reference


@CALM
@given(st.tuples(LABELS, LABELS), st.tuples(LABELS, LABELS))
def test_no_two_references_share_a_secret_name(one: tuple[str, str], other: tuple[str, str]) -> None:
    same = Reference(*one).secret_name == Reference(*other).secret_name
    assert same == (one == other)


@pytest.mark.parametrize(
    "name", ["regcred.a", "regcred.a.b.c", "other.a.b", "regcred..b", "regcred.A.b", "zulu"]
)
def test_other_secret_names_give_no_reference(name: str) -> None:
    assert reference_of(name) is None


@CALM
@given(st.dictionaries(st.text(max_size=80), st.text(max_size=300), max_size=8))
def test_arbitrary_annotations_cause_no_error(annotations: dict[str, str]) -> None:
    keyed = {f"{KEY}{key}": value for key, value in annotations.items()}
    found = requested(annotations, keyed)
    assert len(found.references) + len(found.malformed) <= 2 * len(annotations) + sum(
        value.count(",") for value in annotations.values()
    )
    for line in found.malformed:
        assert "\n" not in line


def test_parsing_a_malformed_reference_raises_an_error() -> None:
    with pytest.raises(MalformedError):
        Reference.parse("a/b/c")


def test_only_the_first_64_annotations_by_key_count_and_the_rest_is_reported() -> None:
    many = {f"{KEY}k{number:03}": f"team/r{number:03}" for number in range(100)}
    found = requested(many)
    assert [reference.registry for reference in found.references] == [f"r{number:03}" for number in range(64)]
    assert found.malformed == (
        f"it has 100 annotations {KEY}...; only the first 64 of them, sorted by key, count",
    )


def test_only_the_first_64_references_of_a_workload_and_its_template_count() -> None:
    own = {f"{KEY}k{number:03}": f"team/b{number:03}" for number in range(40)}
    template = {f"{KEY}k{number:03}": f"team/a{number:03}" for number in range(40)}
    found = requested(own, template)
    assert [str(reference) for reference in found.references] == sorted([*own.values(), *template.values()])[
        :64
    ]
    assert found.malformed == ("it requests 80 references; only the first 64 of them, sorted by name, count",)


def test_the_metadata_of_a_workload_gives_the_same_references_as_the_whole_object() -> None:
    own = {f"{KEY}k{number:03}": f"team/b{number:03}" for number in range(90)}
    template = {f"{KEY}k{number:03}": f"team/a{number:03}" for number in range(40)}
    whole = requested(own, template)
    gathered = {REFERENCES: ",".join(map(str, whole.references))}
    assert requested({**own, **gathered}).references == whole.references


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("p\u0430yments/ecr", "U+0430 CYRILLIC SMALL LETTER A"),
        ("payments/ecr\n", "U+000A LINE FEED"),
        ("payments\u2215ecr", "U+2215 DIVISION SLASH"),
        ("payments/e\u200bcr", "U+200B ZERO WIDTH SPACE"),
        ("payments/ecr\t", "U+0009 TAB"),
    ],
)
def test_a_confusable_or_invisible_character_is_named(value: str, named: str) -> None:
    assert named in requested({f"{KEY}x": value}).malformed[0]
