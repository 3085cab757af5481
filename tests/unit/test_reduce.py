from __future__ import annotations

import pytest

from regcred.cluster.model import custom_kind
from regcred.cluster.reduce import Reducer
from regcred.reference import Reference

KIND = custom_kind("example.com/v1/things/Thing")
METADATA = {"name": "a", "uid": "u", "annotations": {"registry.regcred.dev/x": "payments/ecr-prod"}}


def test_an_object_of_the_whole_cluster_asks_for_nothing() -> None:
    reducer = Reducer([KIND])
    assert reducer.item(KIND, {"metadata": METADATA}) is None
    assert reducer.item(KIND, {"metadata": METADATA | {"namespace": "shop"}}) is not None


@pytest.mark.parametrize(
    "template",
    [
        "text",
        {"metadata": "text"},
        {"metadata": {"annotations": ["registry.regcred.dev/x"]}},
        {"metadata": {"annotations": {"registry.regcred.dev/x": 5, "registry.regcred.dev/y": ["p/r"]}}},
        {"metadata": {"annotations": {"registry.regcred.dev/x": "p/r"}}, "spec": "text"},
    ],
)
def test_a_custom_object_of_any_shape_is_read_without_a_failure(template: object) -> None:
    """What a CustomResourceDefinition without a schema lets its users write must not end the sync of the whole cluster."""
    obj = {"metadata": METADATA | {"namespace": "shop"}, "spec": {"template": template}}
    item = Reducer([KIND]).item(KIND, obj)
    assert item is not None
    assert Reference("payments", "ecr-prod") in item.references


def test_an_annotation_of_a_custom_template_that_is_no_text_is_told() -> None:
    template = {"metadata": {"annotations": {"registry.regcred.dev/x": 5}}}
    obj = {"metadata": {"name": "a", "uid": "u", "namespace": "shop"}, "spec": {"template": template}}
    [line] = Reducer([KIND]).item(KIND, obj).malformed
    assert line.startswith("annotation registry.regcred.dev/x: reference '5' is not of the form")
