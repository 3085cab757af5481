from __future__ import annotations

from regcred.cluster.model import custom_kind
from regcred.cluster.reduce import Reducer

KIND = custom_kind("example.com/v1/things/Thing")
METADATA = {"name": "a", "uid": "u", "annotations": {"registry.regcred.dev/x": "payments/ecr-prod"}}


def test_an_object_of_the_whole_cluster_asks_for_nothing() -> None:
    reducer = Reducer([KIND])
    assert reducer.item(KIND, {"metadata": METADATA}) is None
    assert reducer.item(KIND, {"metadata": METADATA | {"namespace": "shop"}}) is not None
