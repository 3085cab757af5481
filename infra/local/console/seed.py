"""The demo's data, as rotate and sync write it: two projects, two clusters, registries in all states."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import SecretStr

from realparts.vault import Vault
from regcred.credential import Verified
from regcred.registry_reference import Reference
from regcred.vault.http import Server
from regcred.vault.kv2 import connect, signed_in
from regcred.vault.login import TokenLogin
from regcred.vault.platform import Platform, apply_platform, default_directory, ensure_project, load
from regcred.vault.records.declared import ClusterGrants, Definition, ProjectPolicy
from regcred.vault.records.history import Attempt
from regcred.vault.records.index import IndexEntry, State
from regcred.vault.records.status import Placement, Status
from regcred.vault.store import Store

PASSWORD = "regcred"
"""The password of the demo's people: alice (admin of payments), bob (admin of search), petra (platform
admin)."""

PEOPLE = {
    "alice": ["regcred-admins-payments"],
    "bob": ["regcred-admins-search"],
    "petra": ["regcred-platform-admin"],
    "nobody": [],
}

ROLE = "arn:aws:iam::123456789012:role/regcred/payments"
_ACCOUNT = "123456789012"


@dataclass
class Seeded:
    """A Vault with the platform's declaration applied."""

    vault: Vault
    store: Store
    platform: Platform


def set_up(vault: Vault) -> Seeded:
    """Apply the platform's declaration to a running Vault."""
    server = Server(vault.addr)
    login = TokenLogin(lambda: SecretStr(vault.root_token))
    platform = load(default_directory())
    apply_platform(signed_in(server, login), platform)
    return Seeded(vault, Store(connect(server, login)), platform)


def prepare(vault: Vault, *, now: datetime | None = None) -> Seeded:
    """Apply the platform's declaration to a running Vault, and write the people and the fleet."""
    seeded = set_up(vault)
    _people(vault)
    _fleet(seeded.store, now or datetime.now(UTC))
    client = signed_in(Server(vault.addr), TokenLogin(lambda: SecretStr(vault.root_token)))
    for project in ("payments", "search"):
        ensure_project(client, seeded.platform, project)
    _groups(vault)
    return seeded


def _people(vault: Vault) -> None:
    if "userpass/" not in vault.call("GET", "sys/auth")["data"]:
        vault.call("POST", "sys/auth/userpass", {"type": "userpass"})
    for name in PEOPLE:
        policies = ["regcred-platform-admin"] if name == "petra" else []
        vault.call(
            "POST",
            f"auth/userpass/users/{name}",
            {"password": PASSWORD, "token_policies": policies, "token_ttl": "1h"},
        )


def _groups(vault: Vault) -> None:
    accessors = {path: found["accessor"] for path, found in vault.call("GET", "sys/auth")["data"].items()}
    for name, policies in PEOPLE.items():
        vault.call("POST", f"identity/entity/name/{name}", {})
        entity = vault.call("GET", f"identity/entity/name/{name}")["data"]["id"]
        alias = {"name": name, "canonical_id": entity, "mount_accessor": accessors["userpass/"]}
        vault.call("POST", "identity/entity-alias", alias)
        for policy in policies:
            if policy.startswith("regcred-admins-"):
                vault.call("POST", f"identity/group/name/{policy}", {"member_entity_ids": [entity]})


def _fleet(store: Store, now: datetime) -> None:
    policy = ProjectPolicy(
        hosts=["registry.example.com", "nexus.example.com:8443", "*.jfrog.io"],
        paths={"registry.example.com": ["payments/"]},
        accounts=[_ACCOUNT],
        clusters=["edge-1", "edge-2"],
        role_arn=ROLE,
    )
    store.change_project("payments", lambda _: policy)
    store.change_project(
        "search", lambda _: ProjectPolicy(hosts=["harbor.example.com"], clusters=["edge-1"], role_arn="")
    )
    store.change_cluster(
        "edge-1",
        lambda _: ClusterGrants(
            grants={"payments": ["payments-prod", "payments-staging", "shop"], "search": ["search-prod"]}
        ),
    )
    store.change_cluster("edge-2", lambda _: ClusterGrants(grants={"payments": ["payments-eu"]}))
    for reference, content in _definitions().items():
        if store.definition(reference) is None:
            store.write_definition(
                reference, Definition.model_validate(content), cas=store.definition_version(reference)
            )
    for project, entries in _indexes(now).items():
        store.merge_index(project, entries)
        if store.history(project):
            continue
        for registry, attempt in _attempts(project, now):
            store.add_history(project, {registry: attempt})
    for (cluster, project), status in _statuses(now).items():
        store.write_status(cluster, project, status, cas=store.status_version(cluster, project))


def _definitions() -> dict[Reference, dict[str, Any]]:
    return {
        Reference("payments", "ecr-prod"): {
            "provider": "ecr",
            "regions": ["eu-central-1", "eu-west-1"],
            "account": _ACCOUNT,
            "description": "images of production",
        },
        Reference("payments", "nexus"): {"provider": "basic", "hosts": ["nexus.example.com:8443"]},
        Reference("payments", "tools"): {
            "provider": "basic",
            "hosts": ["registry.example.com"],
            "repositories": ["payments/"],
        },
        Reference("payments", "ghcr"): {"provider": "ghcr"},
        Reference("payments", "old-hub"): {
            "provider": "dockerhub",
            "organisation": "example",
            "repositories": ["example/"],
        },
        Reference("search", "harbor"): {
            "provider": "harbor",
            "host": "harbor.example.com",
            "harbor_project": "search",
        },
    }


def _entry(now: datetime, **given: Any) -> IndexEntry:
    base: dict[str, Any] = {
        "state": State.OK,
        "version": 7,
        "fingerprint": "f",
        "verified": Verified.YES,
        "definition_version": 1,
        "changed_at": now - timedelta(hours=2),
    }
    return IndexEntry(**{**base, **given})


def _indexes(now: datetime) -> dict[str, dict[str, IndexEntry]]:
    def hours(number: float) -> datetime:
        return now + timedelta(hours=number)

    return {
        "payments": {
            "ecr-prod": _entry(
                now,
                provider="ecr",
                version=212,
                hosts=[
                    f"{_ACCOUNT}.dkr.ecr.{region}.amazonaws.com" for region in ("eu-central-1", "eu-west-1")
                ],
                expires_at=hours(9.2),
                refresh_at=hours(3.4),
            ),
            "nexus": _entry(
                now,
                provider="basic",
                version=3,
                hosts=["nexus.example.com:8443"],
                warning="this login can push; a pull-only one is safer",
                changed_at=now - timedelta(days=40),
            ),
            "tools": _entry(
                now,
                provider="basic",
                state=State.FAILING,
                version=18,
                hosts=["registry.example.com/payments/"],
                expires_at=hours(1.1),
                refresh_at=hours(-10),
                error="registry.example.com refused the login (401): the password was changed there; write "
                "the new one",
                error_kind="refused",
                failing_since=now - timedelta(hours=5),
                next_attempt_at=now + timedelta(minutes=26),
                attempts=9,
                changed_at=now - timedelta(hours=5),
            ),
            "old-hub": _entry(
                now, provider="dockerhub", state=State.REVOKED, version=44, hosts=["docker.io/example/"]
            ),
        },
        "search": {
            "harbor": _entry(
                now,
                provider="harbor",
                version=5,
                hosts=["harbor.example.com/search/"],
                expires_at=hours(24 * 9),
                refresh_at=hours(24 * 2),
            )
        },
    }


def _attempts(project: str, now: datetime) -> list[tuple[str, Attempt]]:
    if project != "payments":
        return []
    good = [
        (
            "ecr-prod",
            Attempt(
                now - timedelta(hours=2 + 6 * back),
                "rotated",
                212 - back,
                640 + int(400 * abs(math.sin(back))),
            ),
        )
        for back in range(40, -1, -1)
    ]
    bad = [
        (
            "tools",
            Attempt(now - timedelta(minutes=300 - 30 * back), "failing", 18, 350 + 40 * back, "refused"),
        )
        for back in range(9)
    ]
    return [("tools", Attempt(now - timedelta(hours=17), "rotated", 18, 820)), *good, *bad]


def _statuses(now: datetime) -> dict[tuple[str, str], Status]:
    return {
        ("edge-1", "payments"): Status(
            written_at=now - timedelta(minutes=4),
            sync_version="0.1.0",
            mode="admission",
            registries={
                "ecr-prod": Placement(
                    placed={
                        212: {"payments-prod": "0123abcd", "payments-staging": "1123abcd"},
                        211: {"shop": "2123abcd"},
                    },
                    refused={"playground": "not-granted"},
                ),
                "tools": Placement(placed={18: {"payments-prod": "0123abcd"}}),
                "nexus": Placement(placed={3: {"payments-prod": "0123abcd"}}, refused={"shop": "clash"}),
            },
        ),
        ("edge-2", "payments"): Status(
            written_at=now - timedelta(hours=3),
            sync_version="0.1.0",
            mode="serviceaccount",
            registries={
                "ecr-prod": Placement(placed={210: {"payments-eu": "3123abcd"}}),
                "tools": Placement(
                    placed={18: {f"preview-{number}": "5123abcd" for number in range(1, 8)}},
                    held={f"preview-{number}": "unneeded" for number in range(1, 8)},
                ),
            },
        ),
        ("edge-1", "search"): Status(
            written_at=now - timedelta(minutes=2),
            sync_version="0.1.0",
            mode="admission",
            registries={"harbor": Placement(placed={5: {"search-prod": "4123abcd"}})},
        ),
    }
