"""How sync reads references and stuck Pods from objects."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from regcred.cluster.model import POD, StuckPod, custom_kind
from regcred.cluster.object_parser import ObjectParser
from regcred.cluster.pruning import prune
from regcred.registry_reference import Reference

KIND = custom_kind("example.com/v1/things/Thing")
METADATA = {"name": "a", "uid": "u", "annotations": {"registry.regcred.dev/x": "payments/ecr-prod"}}


def test_an_object_without_a_namespace_requests_nothing() -> None:
    parser = ObjectParser([KIND])
    assert parser.item(KIND, {"metadata": METADATA}) is None
    assert parser.item(KIND, {"metadata": METADATA | {"namespace": "shop"}}) is not None


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
def test_a_custom_object_of_any_shape_causes_no_error(template: object) -> None:
    """A CustomResourceDefinition without a schema accepts any object, which must not stop sync."""
    obj = {"metadata": METADATA | {"namespace": "shop"}, "spec": {"template": template}}
    item = ObjectParser([KIND]).item(KIND, obj)
    assert item is not None
    assert Reference("payments", "ecr-prod") in item.references


def test_an_annotation_that_is_not_a_string_is_reported() -> None:
    template = {"metadata": {"annotations": {"registry.regcred.dev/x": 5}}}
    obj = {"metadata": {"name": "a", "uid": "u", "namespace": "shop"}, "spec": {"template": template}}
    [line] = ObjectParser([KIND]).item(KIND, obj).malformed
    assert line.startswith("annotation registry.regcred.dev/x: reference '5' is not of the form")


WAITING = {"state": {"waiting": {"reason": "ImagePullBackOff"}}}


def stuck(*statuses: dict[str, Any], init: Sequence[dict[str, Any]] = ()) -> StuckPod | None:
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "1", "controller": True}
    obj = {
        "metadata": {"name": "web-1", "namespace": "shop", "uid": "u", "ownerReferences": [owner]},
        "spec": {},
        "status": {"containerStatuses": list(statuses), "initContainerStatuses": list(init)},
    }
    pruned = prune(POD, json.dumps(obj).encode())
    item = ObjectParser([POD], stuck_pods=True).item(POD, pruned)
    assert item == ObjectParser([POD], stuck_pods=True).item(POD, obj)
    return item if isinstance(item, StuckPod) else None


def test_a_pod_that_waits_for_its_image_is_stuck() -> None:
    assert stuck(WAITING)
    assert stuck(WAITING, {"state": {"waiting": {"reason": "ContainerCreating"}}})
    assert stuck({"state": {"waiting": {"reason": "PodInitializing"}}}, init=[WAITING])


@pytest.mark.parametrize(
    ("statuses", "init"),
    [
        ([WAITING, {"state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}], []),
        ([WAITING, {"state": {"terminated": {"exitCode": 0}}}], []),
        ([WAITING | {"lastState": {"terminated": {"exitCode": 1}}}], []),
        ([WAITING], [{"state": {"terminated": {"exitCode": 0}}}]),
    ],
)
def test_a_pod_with_a_container_that_has_run_is_not_stuck(
    statuses: list[dict[str, Any]], init: list[dict[str, Any]]
) -> None:
    """Sync never evicts it, because its container may have data, or may have done work that must not be
    repeated."""
    assert stuck(*statuses, init=init) is None
