"""The memory that sync uses for objects is limited, even if tenants make them as large as they can."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from regcred.cluster import pages as paging
from regcred.cluster.annotations import KEYS_MAX
from regcred.cluster.interface import TooLargeError
from regcred.cluster.limits import SURPLUS, WEIGHT, Collected, weight
from regcred.cluster.model import (
    POD,
    SERVICE_ACCOUNT,
    WORKLOADS,
    PullSecretList,
    ServiceAccount,
    Surplus,
    Workload,
    custom_kind,
)
from regcred.cluster.object_parser import ObjectParser
from regcred.cluster.pages import METADATA_LIST, PAGE, pages
from regcred.cluster.pruning import LISTED_MAX, NAMES_MAX, prune
from regcred.errors import TransientError
from regcred.registry_reference import Reference

KEY = "registry.regcred.dev/"
DEPLOYMENT = WORKLOADS[0]
THING = custom_kind("example.com/v1/things/Thing")
METADATA = {"name": "a", "namespace": "shop", "uid": "u", "resourceVersion": "1"}


def test_only_a_limited_number_of_our_names_is_kept_of_a_huge_list_of_pull_secrets() -> None:
    entries = [{"name": f"other-{n}"} for n in range(20_000)]
    entries += [{"name": f"regcred.p.r{n}"} for n in range(5_000)]
    found = prune(POD, json.dumps({"metadata": METADATA, "spec": {"imagePullSecrets": entries}}).encode())
    names = [entry["name"] for entry in found["spec"]["imagePullSecrets"]]
    assert names == [f"regcred.p.r{n}" for n in range(NAMES_MAX)]


def account(entries: list[dict[str, Any]]) -> ServiceAccount:
    raw = json.dumps({"metadata": METADATA, "imagePullSecrets": entries}).encode()
    return ObjectParser([]).item(SERVICE_ACCOUNT, prune(SERVICE_ACCOUNT, raw))


def test_a_serviceaccounts_list_is_known_only_if_it_is_short_and_can_be_written_back() -> None:
    short = [{"name": "zulu"}, {"name": "regcred.p.r"}]
    assert account(short) == ServiceAccount("shop", "a", ("regcred.p.r",))
    assert account(short).known == PullSecretList(("zulu", "regcred.p.r"), "1")
    assert account([]).known == PullSecretList((), "1")
    too_many = [{"name": f"other-{number}"} for number in range(LISTED_MAX + 1)]
    for odd in (too_many, [{}], [{"name": ""}], [{"name": "x" * 300}]):
        found = account([*short, *odd])
        assert (found.ours, found.known) == (("regcred.p.r",), None)
    assert account("text").known is None


def test_a_custom_object_keeps_a_limited_number_of_keys_and_no_other_fields() -> None:
    keys = {f"{KEY}k{n:05}": f"p/r{n}" for n in range(9_000)}
    spec = {"template": {"metadata": {"annotations": keys}, "spec": {"containers": ["x" * 100_000]}}}
    found = prune(THING, json.dumps({"metadata": METADATA, "spec": spec, "status": "x" * 100_000}).encode())
    assert set(found) == {"metadata", "spec"}
    item = ObjectParser([THING]).item(THING, found)
    assert isinstance(item, Workload)
    assert len(item.references) == KEYS_MAX
    assert weight(item) < 2 * KEYS_MAX


def test_the_surplus_of_a_namespace_is_limited_and_affects_no_other_namespace() -> None:
    collected = Collected(DEPLOYMENT)
    for number in range(3_000):
        collected.add(workload("hostile", f"w{number}", f"p/r{number}"))
    collected.add(workload("shop", "web", "payments/ecr-prod"))
    items = collected.items()
    [surplus] = [item for item in items if isinstance(item, Surplus)]
    assert (surplus.namespace, len(surplus.references)) == ("hostile", SURPLUS)
    kept = [item for item in items if not isinstance(item, Surplus)]
    assert sum(weight(item) for item in kept if item.namespace == "hostile") <= WEIGHT
    assert [item.name for item in kept if item.namespace == "shop"] == ["web"]


def workload(namespace: str, name: str, reference: str) -> Workload:
    return Workload(DEPLOYMENT, namespace, name, "u", (Reference.parse(reference),), (), admitted=True)


class Server:
    """Serves a list of objects of the given sizes, and keeps the limit of each request and whether it asks
    for metadata only."""

    def __init__(self, sizes: list[int]) -> None:
        self.sizes = sizes
        self.calls: list[tuple[int, bool]] = []

    async def fetch(self, path: str, *, query: str, accept: str, most: int) -> bytes:
        parts = dict(part.split("=") for part in query.split("&"))
        limit, start = int(parts["limit"]), int(parts.get("continue", 0))
        metadata = accept == METADATA_LIST
        self.calls.append((limit, metadata))
        sizes = self.sizes[start : start + limit]
        rest = start + limit < len(self.sizes)
        answer: Mapping[str, Any] = {
            "metadata": {"resourceVersion": "7", "continue": str(start + limit) if rest else ""},
            "items": [{"n": start + n, "x": "" if metadata else "x" * size} for n, size in enumerate(sizes)],
        }
        content = json.dumps(answer).encode()
        if len(content) > most:
            raise TooLargeError(f"{path}: too large")
        return content


async def read(server: Server) -> list[int]:
    found = pages(server, "/things", accept="application/json")
    return [json.loads(bytes(raw))["n"] for page in [page async for page in found] for raw in page.objects]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "PAGE_BYTES", 20_000)
    monkeypatch.setattr(paging, "OBJECT_BYTES", 40_000)


async def test_pages_get_smaller_while_objects_are_large_and_larger_afterwards(small: None) -> None:
    server = Server([5_000] * 30 + [10] * 100)
    assert await read(server) == list(range(130))
    limits = [limit for limit, _ in server.calls]
    assert limits[:4] == [PAGE, PAGE // 8, PAGE // 64, 1]
    assert limits[-1] > 7


async def test_only_the_metadata_of_an_object_that_is_too_large_is_read(small: None) -> None:
    server = Server([10, 90_000, 10])
    assert await read(server) == [0, 1, 2]
    assert (1, True) in server.calls


async def test_metadata_that_is_too_large_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "PAGE_BYTES", 10)
    monkeypatch.setattr(paging, "OBJECT_BYTES", 10)
    with pytest.raises(TransientError):
        await read(Server([10]))
