"""Objects with unexpected shapes: deep nesting, wrong types and long names."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regcred.cluster.json_depth import DEPTH, flattened
from regcred.cluster.model import NAMESPACE, POD, SERVICE_ACCOUNT, WORKLOADS, Kind, Workload, custom_kind
from regcred.cluster.object_parser import ObjectParser, live_pod
from regcred.cluster.pruning import NAME_MAX, missing_secret_event, page, prune, status, watch_event

DEPLOYMENT = WORKLOADS[0]
THING = custom_kind("example.com/v1/things/Thing")
ANNOTATIONS = {"registry.regcred.dev/main": "payments/ecr-prod"}
METADATA = {"name": "web", "namespace": "shop", "uid": "u", "resourceVersion": "7"}
LEVELS = 9_900
"""Levels of nesting; the API server accepts 10,000."""


def nested(metadata: dict[str, Any], *, opening: str = '{"a":', closing: str = "}") -> str:
    """An object with deep nesting in managedFields and spec, both of which a tenant can write."""
    deep = f"{opening * LEVELS}1{closing * LEVELS}"
    fields = json.dumps({**metadata, "annotations": ANNOTATIONS})[:-1]
    return f'{{"metadata":{fields},"managedFields":[{{"fieldsV1":{deep}}}]}},"spec":{{"more":{deep}}}}}'


@pytest.mark.parametrize(("opening", "closing"), [('{"a":', "}"), ("[", "]"), ('[{"}":', "}]")])
@pytest.mark.parametrize("kind", [DEPLOYMENT, THING])
def test_a_deeply_nested_object_is_read_in_a_list_and_in_a_watch(
    kind: Kind, opening: str, closing: str
) -> None:
    hostile = nested(METADATA, opening=opening, closing=closing)
    other = json.dumps({"metadata": {**METADATA, "name": "other", "annotations": ANNOTATIONS}})
    content = f'{{"metadata":{{"resourceVersion":"9","continue":"t"}},"items":[{hostile},{other}]}}'
    version, token, objects = page(content.encode())
    assert (version, token) == ("9", "t")
    _, watched = watch_event(f'{{"type":"MODIFIED","object":{hostile}}}'.encode())
    items = [ObjectParser([kind]).item(kind, prune(kind, raw)) for raw in (*objects, watched)]
    assert [item.name for item in items if isinstance(item, Workload)] == ["web", "other", "web"]


def test_only_values_below_the_maximum_depth_are_cut() -> None:
    inside: Any = 'quote " and \\ and ] in a text'
    for _ in range(DEPTH - 1):
        inside = [inside]
    for levels in (1, 5):
        deep = inside
        for _ in range(levels):
            deep = {"é": [deep, 1]}
        text = json.dumps(deep, ensure_ascii=False).encode()
        assert json.loads(flattened(text)) != deep
    assert json.loads(flattened(json.dumps(inside).encode())) == inside
    assert flattened(b'{"a":"') == b'{"a":"'
    assert flattened(b"]]}") == b"]]}"


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ("annotations", "labels", "ownerReferences", "creationTimestamp", "deletionTimestamp")
PLACES = (
    ("spec",),
    ("spec", "template"),
    ("spec", "template", "metadata"),
    ("spec", "template", "spec"),
    ("spec", "workloadRef"),
    ("spec", "jobTemplate"),
    ("spec", "serviceAccountName"),
    ("spec", "imagePullSecrets"),
    ("imagePullSecrets",),
    ("status",),
    ("status", "containerStatuses"),
)


def put(obj: dict[str, Any], place: tuple[str, ...], value: Any) -> None:
    for part in place[:-1]:
        obj = obj.setdefault(part, {})
        if not isinstance(obj, dict):
            return
    obj[place[-1]] = value


@given(
    st.sampled_from([DEPLOYMENT, THING, POD, SERVICE_ACCOUNT, NAMESPACE]),
    st.dictionaries(st.sampled_from(FIELDS), json_values, max_size=3),
    st.dictionaries(st.sampled_from(PLACES), json_values, max_size=4),
    st.booleans(),
)
def test_an_object_of_any_shape_causes_no_error(
    kind: Kind, metadata: dict[str, Any], values: dict[tuple[str, ...], Any], annotated: object
) -> None:
    obj: dict[str, Any] = {"metadata": {**METADATA, **metadata}}
    if annotated:
        obj["metadata"]["annotations"] = {**ANNOTATIONS, "registry.regcred.dev/odd": metadata}
    for place, value in sorted(values.items()):
        put(obj, place, value)
    raw = json.dumps(obj).encode()
    found = prune(kind, raw)
    ObjectParser([DEPLOYMENT, THING], stuck_pods=True).item(kind, found)
    if kind is POD:
        live_pod(found)


@given(json_values)
def test_a_watch_event_of_any_shape_causes_a_value_error_at_most(value: Any) -> None:
    raw = json.dumps(value).encode()
    status(raw)
    missing_secret_event(raw)
    for read in (watch_event, page):
        try:
            read(raw)
        except ValueError:
            continue


@pytest.mark.parametrize("field", ["serviceAccountName", "serviceAccount"])
def test_a_long_name_in_a_custom_object_is_not_kept(field: str) -> None:
    spec = {"template": {"metadata": {"annotations": ANNOTATIONS}, "spec": {field: "a" * 1_000_000}}}
    item = ObjectParser([THING]).item(
        THING, prune(THING, json.dumps({"metadata": METADATA, "spec": spec}).encode())
    )
    assert isinstance(item, Workload)
    assert len(item.service_account) <= NAME_MAX
