"""Planning, applying and repairing the platform on real servers."""

from __future__ import annotations

from collections.abc import Iterator

import hvac
import pytest

from regcred.errors import ConflictError, RefusedError
from regcred.vault.kv2 import VaultKeyValue
from regcred.vault.platform import (
    ClusterTrust,
    Platform,
    apply_platform,
    ensure_cluster,
    ensure_project,
    plan_platform,
)
from regcred.vault.records.declared import ProjectPolicy
from regcred.vault.store import Store

from . import identities
from .conftest import Keys, Real, new_keys


@pytest.fixture
def root(real: Real) -> hvac.Client:
    return real.client()


@pytest.fixture
def platform(real: Real) -> Iterator[Platform]:
    """What is declared and applied; set up anew after the test."""
    yield real.platform
    real.reset()


@pytest.fixture
def store(root: hvac.Client) -> Iterator[Store]:
    store = Store(VaultKeyValue(root))
    yield store
    for project in store.project_policies():
        root.secrets.kv.v2.delete_metadata_and_all_versions(
            f"platform/projects/{project}", mount_point="regcred"
        )


def texts(actions: list[object]) -> list[str]:
    return [str(action) for action in actions]


def members(root: hvac.Client, group: str) -> list[str]:
    found = root.adapter.get(f"/v1/identity/group/name/{group}")["data"]["member_entity_ids"] or []
    return sorted(root.adapter.get(f"/v1/identity/entity/id/{member}")["data"]["name"] for member in found)


def test_a_second_run_changes_nothing(root: hvac.Client, platform: Platform, store: Store) -> None:
    store.change_project("payments", lambda _: ProjectPolicy(clusters=["c1", "c2"]))
    apply_platform(root, platform)
    assert apply_platform(root, platform) == []


def test_a_plan_changes_nothing_and_says_what_differs(
    root: hvac.Client, platform: Platform, store: Store
) -> None:
    store.change_project("orders", lambda _: ProjectPolicy(clusters=["c2"]))
    planned = texts(plan_platform(root, platform))
    assert {"create policy regcred-admins-orders", "create group regcred-readers-orders"} <= set(planned)
    assert texts(plan_platform(root, platform)) == planned
    apply_platform(root, platform)
    assert members(root, "regcred-readers-orders") == ["regcred-cluster-c2"]


@pytest.mark.parametrize(
    ("method", "path", "body", "found"),
    [
        (
            "PUT",
            "sys/policies/acl/regcred-dispatch",
            {"policy": 'path "regcred/*" { capabilities = ["read"] }'},
            "update policy regcred-dispatch (policy)",
        ),
        (
            "POST",
            "regcred/config",
            {"max_versions": 9},
            "update settings of the secrets engine regcred (max_versions)",
        ),
        (
            "POST",
            "regcred/config",
            {"cas_required": False},
            "update settings of the secrets engine regcred (cas_required)",
        ),
        (
            "DELETE",
            "auth/regcred-cluster-c1/role/sync",
            None,
            "create sign-in role regcred-cluster-c1/sync",
        ),
        (
            "POST",
            "auth/regcred-cluster-c1/role/sync",
            {
                "role_type": "jwt",
                "user_claim": "sub",
                "bound_subject": "system:serviceaccount:evil:evil",
                "token_ttl": 60,
            },
            "update sign-in role regcred-cluster-c1/sync (bound_subject, token_ttl)",
        ),
        (
            "POST",
            "identity/entity/name/regcred-cluster-c1",
            {"metadata": {"cluster": "c2"}},
            "update entity regcred-cluster-c1 (metadata)",
        ),
        (
            "POST",
            "identity/group/name/regcred-readers-payments",
            {"policies": ["regcred-rotate"]},
            "update group regcred-readers-payments (policies)",
        ),
        (
            "POST",
            "sys/quotas/rate-limit/regcred-requests",
            {"path": "regcred/", "rate": 1_000_000},
            "update quota regcred-requests (rate)",
        ),
        ("DELETE", "identity/entity/name/regcred-cluster-c1", None, "create entity regcred-cluster-c1"),
        ("DELETE", "sys/auth/regcred-cluster-c1", None, "create sign-in method regcred-cluster-c1"),
    ],
)
def test_what_somebody_changed_by_hand_is_found_and_repaired(
    real: Real,
    root: hvac.Client,
    platform: Platform,
    store: Store,
    keys: dict[str, Keys],
    method: str,
    path: str,
    body: dict[str, object] | None,
    found: str,
) -> None:
    store.change_project("payments", lambda _: ProjectPolicy(clusters=["c1"]))
    apply_platform(root, platform)
    real.vault.call(method, path, body)
    assert found in texts(plan_platform(root, platform))
    apply_platform(root, platform, prune=True)
    assert plan_platform(root, platform) == []
    token = identities.service_account_token(keys["c1"])
    assert (
        identities.opened(real, identities.cluster_login("c1", token)).version("credentials/payments/_index")
        == 0
    )


def test_members_that_are_no_clusters_stay(
    real: Real, root: hvac.Client, platform: Platform, store: Store
) -> None:
    store.change_project("payments", lambda _: ProjectPolicy(clusters=["c1", "c2"]))
    ensure_project(root, platform, "payments")
    person = real.vault.call("POST", "identity/entity/name/ci-runner", {"metadata": {}})["data"]["id"]
    held = real.vault.call("GET", "identity/group/name/regcred-readers-payments")["data"]["member_entity_ids"]
    real.vault.call(
        "POST", "identity/group/name/regcred-readers-payments", {"member_entity_ids": [*held, person]}
    )
    store.change_project("payments", lambda _: ProjectPolicy(clusters=["c2"]))
    ensure_project(root, platform, "payments")
    assert members(root, "regcred-readers-payments") == ["ci-runner", "regcred-cluster-c2"]


def test_admins_of_a_project_are_left_alone(
    real: Real, root: hvac.Client, platform: Platform, store: Store
) -> None:
    store.change_project("payments", lambda _: ProjectPolicy())
    ensure_project(root, platform, "payments")
    person = real.vault.call("POST", "identity/entity/name/alice", {"metadata": {}})["data"]["id"]
    real.vault.call("POST", "identity/group/name/regcred-admins-payments", {"member_entity_ids": [person]})
    apply_platform(root, platform)
    assert members(root, "regcred-admins-payments") == ["alice"]


def test_a_cluster_that_is_not_set_up_is_passed_over(
    root: hvac.Client, platform: Platform, store: Store
) -> None:
    store.change_project("payments", lambda _: ProjectPolicy(clusters=["c1", "not-yet"]))
    ensure_project(root, platform, "payments")
    assert members(root, "regcred-readers-payments") == ["regcred-cluster-c1"]


def test_what_is_no_longer_declared_goes_only_when_asked(
    root: hvac.Client, platform: Platform, keys: dict[str, Keys]
) -> None:
    ensure_cluster(root, platform, "c3", ClusterTrust(public_keys=[keys["c2"].public_pem]))
    planned = texts(plan_platform(root, platform))
    assert "delete sign-in method regcred-cluster-c3" in planned
    assert "delete entity regcred-cluster-c3" in planned
    assert apply_platform(root, platform) == []
    apply_platform(root, platform, prune=True)
    assert plan_platform(root, platform) == []


def test_keys_of_a_cluster_are_rotated_with_both_listed_meanwhile(
    real: Real, root: hvac.Client, platform: Platform, keys: dict[str, Keys]
) -> None:
    new = new_keys()

    def signs_in(signer: Keys) -> bool:
        token = identities.service_account_token(signer)
        try:
            identities.opened(real, identities.cluster_login("c1", token)).version("platform/clusters/c1")
        except RefusedError:
            return False
        return True

    assert (signs_in(keys["c1"]), signs_in(new)) == (True, False)
    ensure_cluster(root, platform, "c1", ClusterTrust(public_keys=[keys["c1"].public_pem, new.public_pem]))
    assert (signs_in(keys["c1"]), signs_in(new)) == (True, True)
    ensure_cluster(root, platform, "c1", ClusterTrust(public_keys=[new.public_pem]))
    assert (signs_in(keys["c1"]), signs_in(new)) == (False, True)


def test_a_cluster_that_signed_in_before_its_entity_was_made_gets_it(
    real: Real, root: hvac.Client, platform: Platform, store: Store, keys: dict[str, Keys]
) -> None:
    store.change_project("payments", lambda _: ProjectPolicy(clusters=["c1"]))
    real.vault.call("DELETE", "identity/entity/name/regcred-cluster-c1")
    login = identities.cluster_login("c1", identities.service_account_token(keys["c1"]))
    with pytest.raises(RefusedError, match="permission denied"):
        identities.opened(real, login).version("platform/clusters/c1")
    apply_platform(root, platform)
    assert identities.opened(real, login).version("credentials/payments/_index") == 0


def test_the_operators_policy_is_enough_to_apply_all(
    real: Real, root: hvac.Client, platform: Platform, store: Store, keys: dict[str, Keys]
) -> None:
    operator = real.client(identities.token_with(real, "regcred-platform-operator"))
    store.change_project("billing", lambda _: ProjectPolicy(clusters=["c1"]))
    real.vault.call("DELETE", "sys/auth/regcred-cluster-c1")
    real.vault.call("DELETE", "identity/group/name/regcred-readers-billing")
    ensure_cluster(operator, platform, "c3", ClusterTrust(public_keys=[keys["c2"].public_pem]))
    apply_platform(operator, platform, prune=True)
    assert plan_platform(operator, platform) == []


def test_a_platform_admin_grants_clusters_but_sets_no_policy(
    real: Real, root: hvac.Client, platform: Platform, store: Store
) -> None:
    store.change_project("payments", lambda _: ProjectPolicy())
    ensure_project(root, platform, "payments")
    admin = real.client(identities.token_with(real, "regcred-platform-admin"))
    Store(VaultKeyValue(admin)).change_project("payments", lambda _: ProjectPolicy(clusters=["c1"]))
    assert texts(ensure_project(admin, platform, "payments")) == [
        "update group regcred-readers-payments (members)"
    ]
    Store(VaultKeyValue(admin)).change_project("brand-new", lambda _: ProjectPolicy())
    with pytest.raises(RefusedError, match="permission denied"):
        ensure_project(admin, platform, "brand-new")


def test_a_secrets_engine_of_another_type_is_not_touched(
    real: Real, root: hvac.Client, platform: Platform
) -> None:
    real.vault.call("POST", "sys/mounts/taken", {"type": "transit"})
    other = platform.with_declaration(mount=platform.declaration.mount.model_copy(update={"path": "taken"}))
    try:
        with pytest.raises(ConflictError, match="secrets engine taken exists and is of another type"):
            apply_platform(root, other)
    finally:
        real.vault.call("DELETE", "sys/mounts/taken")
