"""Planning, applying and repairing the platform on real servers."""

from __future__ import annotations

from collections.abc import Iterator

import hvac
import pytest
import requests

from regcred.errors import ConflictError, MalformedError, RefusedError, TransientError
from regcred.vault.kv2 import VaultKeyValue
from regcred.vault.platform import (
    ClusterTrust,
    Platform,
    apply_platform,
    ensure_cluster,
    ensure_project,
    plan_platform,
)
from regcred.vault.platform.declaration import Quotas
from regcred.vault.platform.fleet import FleetPlatform
from regcred.vault.records.declared import ProjectPolicy
from regcred.vault.records.system import CLIENT_ID
from regcred.vault.store import Store

from . import identities
from .conftest import Keys, Real, SentRequests, new_keys

SYNC_ROLE = {
    "role_type": "jwt",
    "user_claim": "sub",
    "bound_audiences": ["vault"],
    "bound_subject": identities.SYNC,
    "token_type": "batch",
    "token_ttl": 1200,
    "token_max_ttl": 1200,
    "token_policies": ["regcred-sync"],
    "token_no_default_policy": True,
}
"""A cluster's role as it is declared."""


@pytest.fixture
def root(real: Real) -> hvac.Client:
    return real.client()


@pytest.fixture
def platform(real: Real) -> Iterator[Platform]:
    """The declaration that is applied. It is applied again after the test."""
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


def test_a_plan_lists_the_differences_and_changes_nothing(
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
        *[
            (
                "POST",
                "auth/regcred-cluster-c1/role/sync",
                {**SYNC_ROLE, name: value},
                f"update sign-in role regcred-cluster-c1/sync ({name})",
            )
            for name, value in (
                ("clock_skew_leeway", 3600),
                ("expiration_leeway", 3600),
                ("token_bound_cidrs", ["127.0.0.1"]),
                ("token_strictly_bind_ip", True),
                ("bound_claims", {"sub": "somebody"}),
                ("groups_claim", "groups"),
                ("claim_mappings", {"namespace": "cluster"}),
                ("user_claim_json_pointer", True),
            )
        ],
        (
            "POST",
            "auth/regcred-lambda/config",
            {"jwt_validation_pubkeys": [new_keys().public_pem], "bound_issuer": "", "default_role": "rotate"},
            (
                "update settings of the sign-in method regcred-lambda (bound_issuer, default_role, "
                "jwt_validation_pubkeys)"
            ),
        ),
        (
            "POST",
            "auth/regcred-cluster-c1/config",
            {"jwt_validation_pubkeys": [new_keys().public_pem], "jwt_supported_algs": ["RS512"]},
            (
                "update settings of the sign-in method regcred-cluster-c1 (jwt_supported_algs, "
                "jwt_validation_pubkeys)"
            ),
        ),
        (
            "POST",
            "sys/auth/regcred-cluster-c1/tune",
            {"audit_non_hmac_request_keys": ["jwt"]},
            "update sign-in method regcred-cluster-c1 (audit_non_hmac_request_keys)",
        ),
        (
            "POST",
            "sys/mounts/regcred/tune",
            {"audit_non_hmac_response_keys": ["password"]},
            "update secrets engine regcred (audit_non_hmac_response_keys)",
        ),
        (
            "POST",
            "sys/mounts/regcred/tune",
            {"options": {"version": "2", "lease": "1h"}},
            "update secrets engine regcred (options)",
        ),
        (
            "POST",
            "identity/entity/name/regcred-cluster-c1",
            {"policies": ["regcred-rotate"]},
            "update entity regcred-cluster-c1 (policies)",
        ),
        (
            "POST",
            "identity/entity/name/regcred-cluster-c1",
            {"disabled": True},
            "update entity regcred-cluster-c1 (disabled)",
        ),
        (
            "POST",
            "sys/quotas/rate-limit/regcred-requests",
            {"path": "regcred/", "rate": 2000, "interval": 3600},
            "update quota regcred-requests (interval)",
        ),
        ("DELETE", "identity/entity/name/regcred-cluster-c1", None, "create entity regcred-cluster-c1"),
        ("DELETE", "sys/auth/regcred-cluster-c1", None, "create sign-in method regcred-cluster-c1"),
    ],
)
def test_a_change_by_hand_is_found_and_repaired(
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
    if path.startswith("sys/quotas") and real.vault.namespace:
        pytest.skip("a platform in a namespace has no quotas by default")
    if real.vault.is_hashicorp and body and "token_strictly_bind_ip" in body:
        pytest.skip("HashiCorp Vault has no token_strictly_bind_ip and ignores it")
    store.change_project("payments", lambda _: ProjectPolicy(clusters=["c1"]))
    apply_platform(root, platform)
    real.vault.call(method, path, body)
    assert found in texts(plan_platform(root, platform))
    apply_platform(root, platform, prune=True)
    assert plan_platform(root, platform) == []
    token = identities.service_account_token(keys["c1"])
    assert (
        identities.open_as(real, identities.cluster_login("c1", token)).version("credentials/payments/_index")
        == 0
    )


@pytest.mark.parametrize("text", ["{", '{"clusters": 7}', "[" * 200_000], ids=["cut", "type", "nested"])
def test_a_project_that_cannot_be_read_keeps_its_readers_and_stops_no_other(
    real: Real, root: hvac.Client, platform: Platform, store: Store, text: str
) -> None:
    for project in ("broken", "payments"):
        store.change_project(project, lambda _: ProjectPolicy(clusters=["c1"]))
    apply_platform(root, platform)
    body = {"data": {"document": text}, "options": {"cas": 1}}
    real.vault.call("POST", "regcred/data/platform/projects/broken", body)
    store.change_project("payments", lambda _: ProjectPolicy(clusters=["c1", "c2"]))
    problems: list[str] = []
    planned = texts(plan_platform(root, platform, on_unreadable=problems.append))
    planned = [step for step in planned if not step.startswith("delete ")]  # of what the fixture has prepared
    assert planned == ["update group regcred-readers-payments (members)"]
    assert [problem.partition(":")[0] for problem in problems] == ["platform/projects/broken"]
    apply_platform(root, platform, prune=True)
    assert members(root, "regcred-readers-payments") == ["regcred-cluster-c1", "regcred-cluster-c2"]
    assert members(root, "regcred-readers-broken") == ["regcred-cluster-c1"]
    real.vault.call("DELETE", "identity/group/name/regcred-readers-broken")
    assert "create group regcred-readers-broken" in texts(plan_platform(root, platform))


def test_members_that_are_not_clusters_stay(
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


def test_a_cluster_that_is_not_set_up_is_skipped(root: hvac.Client, platform: Platform, store: Store) -> None:
    store.change_project("payments", lambda _: ProjectPolicy(clusters=["c1", "not-yet"]))
    ensure_project(root, platform, "payments")
    assert members(root, "regcred-readers-payments") == ["regcred-cluster-c1"]


def test_a_cluster_that_is_set_up_during_the_setup_of_many_projects_joins_at_the_end(
    real: Real, root: hvac.Client, platform: Platform, store: Store
) -> None:
    for project, clusters in {"payments": ["c1", "late"], "search": ["c1"]}.items():
        store.change_project(project, lambda _, clusters=clusters: ProjectPolicy(clusters=clusters))
    setup = FleetPlatform(root, platform).project_setup(4)
    assert setup.ensure("payments")
    real.vault.call("POST", "identity/entity/name/regcred-cluster-late", {"metadata": {"cluster": "late"}})
    setup.ensure("search")
    assert members(root, "regcred-readers-payments") == ["regcred-cluster-c1"]
    assert setup.finish() == {}
    assert members(root, "regcred-readers-payments") == ["regcred-cluster-c1", "regcred-cluster-late"]


def test_many_new_projects_are_set_up_without_reading_what_does_not_exist(
    real: Real, platform: Platform, store: Store
) -> None:
    names = [f"many-{number}" for number in range(6)]
    for name in names:
        store.change_project(name, lambda _: ProjectPolicy(clusters=["c1"]))
    client, recorder = real.client(), SentRequests()
    client.adapter.session.mount("http://", recorder)
    setup = FleetPlatform(client, platform).project_setup(len(names))
    for name in names:
        setup.ensure(name)
    # For each: its document, two policies and two groups, and the members of one group before it is written.
    # For all: three lists, and in a namespace a request for the edition of the server.
    assert len(recorder.sent) == 6 * len(names) + 3 + bool(real.vault.namespace)
    for name in names:
        assert ensure_project(real.client(), platform, name) == []
        store.remove_project(name)


def test_many_projects_are_set_up_by_somebody_who_may_not_list_policies(
    real: Real, root: hvac.Client, platform: Platform, store: Store
) -> None:
    for project in ("payments", "search"):
        store.change_project(project, lambda _: ProjectPolicy(clusters=["c1"]))
        ensure_project(root, platform, project)
        store.change_project(project, lambda _: ProjectPolicy(clusters=["c1", "c2"]))
    admin = real.client(identities.token_with(real, "regcred-platform-admin"))
    setup = FleetPlatform(admin, platform).project_setup(4)
    for project in ("payments", "search"):
        assert texts(setup.ensure(project)) == [f"update group regcred-readers-{project} (members)"]


def test_objects_that_are_no_longer_declared_are_deleted_only_by_prune(
    root: hvac.Client, platform: Platform, keys: dict[str, Keys]
) -> None:
    ensure_cluster(root, platform, "c3", ClusterTrust(public_keys=[keys["c2"].public_pem]))
    planned = texts(plan_platform(root, platform))
    assert "delete sign-in method regcred-cluster-c3" in planned
    assert "delete entity regcred-cluster-c3" in planned
    assert apply_platform(root, platform) == []
    apply_platform(root, platform, prune=True)
    assert plan_platform(root, platform) == []


def test_a_cluster_can_rotate_its_keys_by_listing_both_for_a_time(
    real: Real, root: hvac.Client, platform: Platform, keys: dict[str, Keys]
) -> None:
    new = new_keys()

    def signs_in(signer: Keys) -> bool:
        token = identities.service_account_token(signer)
        try:
            identities.open_as(real, identities.cluster_login("c1", token)).version("platform/clusters/c1")
        except RefusedError:
            return False
        return True

    assert (signs_in(keys["c1"]), signs_in(new)) == (True, False)
    ensure_cluster(root, platform, "c1", ClusterTrust(public_keys=[keys["c1"].public_pem, new.public_pem]))
    assert (signs_in(keys["c1"]), signs_in(new)) == (True, True)
    ensure_cluster(root, platform, "c1", ClusterTrust(public_keys=[new.public_pem]))
    assert (signs_in(keys["c1"]), signs_in(new)) == (False, True)


def test_a_cluster_that_signed_in_before_its_entity_existed_gets_the_entity(
    real: Real, root: hvac.Client, platform: Platform, store: Store, keys: dict[str, Keys]
) -> None:
    store.change_project("payments", lambda _: ProjectPolicy(clusters=["c1"]))
    real.vault.call("DELETE", "identity/entity/name/regcred-cluster-c1")
    login = identities.cluster_login("c1", identities.service_account_token(keys["c1"]))
    with pytest.raises(RefusedError, match="permission denied"):
        identities.open_as(real, login).version("platform/clusters/c1")
    apply_platform(root, platform)
    assert identities.open_as(real, login).version("credentials/payments/_index") == 0


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
        with pytest.raises(ConflictError, match="secrets engine taken exists with another type"):
            apply_platform(root, other)
    finally:
        real.vault.call("DELETE", "sys/mounts/taken")


def test_an_alias_by_which_people_become_a_cluster_is_found_and_removed(
    real: Real, root: hvac.Client, platform: Platform
) -> None:
    """An alias of another sign-in method makes its user the cluster."""
    real.vault.call("POST", "sys/auth/people", {"type": "userpass"})
    try:
        accessor = real.vault.call("GET", "sys/auth")["data"]["people/"]["accessor"]
        entity = real.vault.call("GET", "identity/entity/name/regcred-cluster-c1")["data"]["id"]
        real.vault.call(
            "POST",
            "identity/entity-alias",
            {"name": "mallory", "canonical_id": entity, "mount_accessor": accessor},
        )
        assert "update entity regcred-cluster-c1 (other_aliases)" in texts(plan_platform(root, platform))
        apply_platform(root, platform, prune=True)
        assert plan_platform(root, platform) == []
        aliases = real.vault.call("GET", "identity/entity/name/regcred-cluster-c1")["data"]["aliases"]
        assert [alias["name"] for alias in aliases] == [identities.SYNC]
    finally:
        real.vault.call("DELETE", "sys/auth/people")


@pytest.mark.parametrize("setting", ["exportable", "allow_plaintext_backup"])
def test_a_signing_key_that_may_leave_vault_is_found_and_can_be_replaced(
    real: Real, root: hvac.Client, platform: Platform, setting: str
) -> None:
    system = platform.with_declaration(system_registry=True)
    apply_platform(root, system, prune=True)
    try:
        assert plan_platform(root, system) == []
        key = "regcred-transit/keys/access"
        real.vault.call("POST", f"{key}/config", {setting: True})
        assert texts(plan_platform(root, system)) == [
            f"update signing key regcred-transit/access ({setting})"
        ]
        with pytest.raises(ConflictError, match=r"somebody may have a copy of the key\. Replace it"):
            apply_platform(root, system)
        real.vault.call("POST", f"{key}/config", {"deletion_allowed": True})
        real.vault.call("DELETE", key)
        apply_platform(root, system)
        assert plan_platform(root, system) == []
    finally:
        for path in ("identity/oidc/role", "identity/oidc/key"):
            real.vault.call("DELETE", f"{path}/{CLIENT_ID}")
        real.vault.call("DELETE", "sys/mounts/regcred-transit")
        apply_platform(root, platform, prune=True)


def test_a_refused_step_is_named_and_a_second_run_goes_on(
    real: Real, root: hvac.Client, platform: Platform
) -> None:
    """OpenBao refuses policies with event types; HashiCorp Vault takes them."""
    eventful = platform.with_declaration(events=True)
    if not real.vault.is_hashicorp:
        with pytest.raises(MalformedError, match=r"to create policy regcred-\S*events\S*; .*'events: false'"):
            apply_platform(root, eventful)
    else:
        apply_platform(root, eventful, prune=True)
        assert plan_platform(root, eventful) == []
    apply_platform(root, platform, prune=True)
    assert plan_platform(root, platform) == []


def test_a_prepared_project_needs_no_operator(
    real: Real, root: hvac.Client, platform: Platform, store: Store
) -> None:
    apply_platform(root, platform.with_declaration(prepared_projects=["later"]))
    admin = real.client(identities.token_with(real, "regcred-platform-admin"))
    Store(VaultKeyValue(admin)).change_project("later", lambda _: ProjectPolicy(clusters=["c1"]))
    assert texts(ensure_project(admin, platform, "later")) == ["update group regcred-readers-later (members)"]
    assert members(root, "regcred-readers-later") == ["regcred-cluster-c1"]


def quotas(real: Real) -> dict[str, str]:
    """All quotas of the server: their names and paths."""
    try:
        names = real.vault.call("LIST", "sys/quotas/rate-limit")["data"]["keys"]
    except requests.HTTPError:  # there are none
        return {}
    return {
        name: real.vault.call("GET", f"sys/quotas/rate-limit/{name}")["data"]["path"]
        for name in names
        if name.startswith("regcred.")
    }


def test_quotas_of_a_namespace_are_set_in_the_root_namespace_and_only_if_declared(
    namespaced: Real, openbao: Real
) -> None:
    root, platform = namespaced.client(), namespaced.platform
    assert quotas(namespaced) == {}
    declared = platform.with_declaration(quotas=Quotas(enabled=True, requests_per_second=7))
    try:
        apply_platform(root, declared)
        assert plan_platform(root, declared.with_declaration()) == plan_platform(root, declared)
        assert quotas(namespaced) == {
            "regcred.team.eu.requests": "team/eu/regcred/",
            "regcred.team.eu.sign-ins-regcred-cluster-c1": "team/eu/auth/regcred-cluster-c1/",
            "regcred.team.eu.sign-ins-regcred-cluster-c2": "team/eu/auth/regcred-cluster-c2/",
            "regcred.team.eu.sign-ins-regcred-lambda": "team/eu/auth/regcred-lambda/",
        }
        # Neither side sees the quotas of the other as its own.
        openbao.reset()
        fewer = declared.with_declaration(clusters={})
        deleted = texts(plan_platform(root, fewer))
        assert "delete quota regcred.team.eu.sign-ins-regcred-cluster-c1" in deleted
        assert not [text for text in deleted if "quota regcred-" in text]
        assert len(quotas(namespaced)) == 4
    finally:
        for name in quotas(namespaced):
            namespaced.vault.call("DELETE", f"sys/quotas/rate-limit/{name}")
        namespaced.reset()


def test_a_token_of_the_namespace_is_enough_for_its_platform(namespaced: Real) -> None:
    """Neither plan nor apply needs a right in the root namespace."""
    token = namespaced.vault.call("POST", "auth/token/create", {"policies": ["regcred-platform-operator"]})
    operator = namespaced.client(str(token["auth"]["client_token"]))
    try:
        namespaced.vault.call("DELETE", "sys/auth/regcred-cluster-c2")
        apply_platform(operator, namespaced.platform, prune=True)
        assert plan_platform(operator, namespaced.platform) == []
    finally:
        namespaced.reset()


def test_the_error_names_a_foreign_quota_of_the_same_path(
    real: Real, root: hvac.Client, platform: Platform
) -> None:
    if real.vault.namespace:
        pytest.skip("a platform in a namespace has no quotas by default")
    real.vault.call("DELETE", "sys/quotas/rate-limit/regcred-requests")
    real.vault.call("POST", "sys/quotas/rate-limit/foreign", {"path": "regcred/", "rate": 5})
    try:
        with pytest.raises(MalformedError, match=r"to create quota regcred-requests; .* quota of regcred/"):
            apply_platform(root, platform)
    finally:
        real.vault.call("DELETE", "sys/quotas/rate-limit/foreign")


def test_a_client_that_exceeds_a_quota_learns_so(real: Real, root: hvac.Client, platform: Platform) -> None:
    if real.vault.namespace:
        pytest.skip("a platform in a namespace has no quotas by default")
    quota = "sys/quotas/rate-limit/regcred-requests"
    real.vault.call("POST", quota, {"path": "regcred/", "rate": 0.01, "interval": 60})
    try:
        kv = real.as_token(real.vault.root_token)
        with pytest.raises(TransientError, match="a quota of Vault is exceeded; see 'quotas'"):
            [kv.version("requests/payments/none") for _ in range(3)]
    finally:
        real.vault.call("DELETE", quota)


def test_quotas_can_be_switched_off(real: Real, root: hvac.Client, platform: Platform) -> None:
    off = platform.with_declaration(quotas=Quotas(enabled=False))
    assert not [text for text in texts(plan_platform(root, off)) if "quota" in text]
