"""What each admin can declare with the shipped policies, on real servers."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from fakes.fleets import NAMES, POLICIES, REGISTRIES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from realparts.waiting import eventually
from regcred.declare import export, files
from regcred.declare.apply import AppliedPlan, PlanApplier
from regcred.declare.live_objects import look
from regcred.declare.live_platform import look_at_platform
from regcred.declare.plan import DeclarationPlan, Terms, plan
from regcred.errors import RefusedError, RegcredError
from regcred.registry_reference import Reference
from regcred.vault.kv2 import connect
from regcred.vault.login import TokenLogin
from regcred.vault.platform import ensure_project
from regcred.vault.platform.fleet import FleetPlatform
from regcred.vault.records.declared import ClusterGrants, Definition, ProjectPolicy
from regcred.vault.store import Store

from . import identities
from .conftest import Real

PROJECT = """
apiVersion: regcred.dev/v1
kind: Project
metadata: {name: payments}
spec: {hosts: [registry.example.com], clusters: [c1]}
---
apiVersion: regcred.dev/v1
kind: Grant
metadata: {cluster: c1, name: payments}
spec: {namespaces: [shop, web]}
"""
REGISTRY = """
apiVersion: regcred.dev/v1
kind: Registry
metadata: {project: payments, name: declared}
spec: {provider: basic, hosts: [registry.example.com]}
secretFrom: {stdin: true}
"""
DECLARED = Reference("payments", "declared")


def compared(store: Store, text: str, *, prune: bool = False) -> DeclarationPlan:
    wanted = files.items([("fleet.yaml", text)]) if text else {}
    live = look(store, wanted, everything=prune, projects=["payments"])
    return plan(wanted, live, Terms(owner="shop", prune=prune))


def applied(real: Real, token: str, text: str, *, prune: bool = False) -> AppliedPlan:
    store = Store(real.as_token(token))
    found = compared(store, text, prune=prune)
    assert found.problems == ()
    secrets = {
        step.key: {"username": SecretStr("robot"), "password": SecretStr("p")}
        for step in found.steps
        if step.secret
    }
    operator = FleetPlatform(real.client(token), real.platform)
    return PlanApplier(store, secrets=secrets, now=lambda: datetime.now(UTC), operator=operator).run(found)


@pytest.fixture
def clean(real: Real) -> Real:
    store = Store(real.as_token(real.vault.root_token))
    store.remove_definition(DECLARED)
    store.remove_project("payments")
    store.change_cluster("c1", lambda old: (old or ClusterGrants()).model_copy(update={"grants": {}}))
    real.reset()
    return real


def test_each_admin_declares_prunes_and_exports_with_their_own_token(clean: Real) -> None:
    platform = identities.token_with(clean, "regcred-platform-admin")
    people = identities.token_with(clean, "regcred-admins-payments")
    done = applied(clean, platform, PROJECT)
    assert done.failed == []
    assert applied(clean, people, REGISTRY).failed == []

    store = Store(clean.as_token(platform))
    assert compared(store, PROJECT).steps == ()
    assert compared(Store(clean.as_token(people)), REGISTRY, prune=True).steps == ()

    text = "---\n".join(
        export.text(content, secret=secret)
        for _, content, secret in export.objects(look(store, [], everything=True))
    )
    wanted = files.items([("exported.yaml", text)])
    found = plan(wanted, look(store, wanted), Terms())
    assert found.steps == ()
    assert found.problems == ()
    assert "kind: Registry\nmetadata:\n  name: declared\n  project: payments" in text

    people_store = Store(clean.as_token(people))
    gone = compared(people_store, "", prune=True)
    assert [str(step) for step in gone.steps] == ["remove Registry payments/declared"]
    assert applied(clean, people, "", prune=True).failed == []
    assert people_store.definition(DECLARED) is None

    assert [str(step) for step in compared(store, "", prune=True).steps] == [
        "remove Grant c1/payments (-shop; -web)",
        "remove Project payments",
    ]
    assert applied(clean, platform, "", prune=True).failed == []
    assert store.project("payments") is None


def test_a_platform_admin_finds_and_repairs_a_group_that_an_interrupted_run_left(clean: Real) -> None:
    token = identities.token_with(clean, "regcred-platform-admin")
    applied(clean, token, PROJECT)
    operator = FleetPlatform(clean.client(token), clean.platform)
    store, wanted = Store(clean.as_token(token)), files.items([("fleet.yaml", PROJECT)])
    for clusters, change in (((), "+c1"), (("c1", "c2"), "-c2")):
        ensure_project(clean.client(), clean.platform, "payments", clusters)
        live = replace(look(store, wanted), platform=look_at_platform(operator, wanted))
        found = plan(wanted, live, Terms())
        assert [str(step) for step in found.steps] == [
            f"repair Project payments (access of clusters: {change})"
        ]
        done = PlanApplier(
            store,
            secrets={},
            now=lambda: datetime.now(UTC),
            operator=operator,
        ).run(found)
        assert done.failed == []
        assert operator.members(["payments"]).groups == {"payments": frozenset({"c1"})}


def test_neither_admin_can_declare_the_objects_of_the_other(clean: Real) -> None:
    platform = identities.token_with(clean, "regcred-platform-admin")
    people = identities.token_with(clean, "regcred-admins-payments")
    with pytest.raises(RefusedError):
        applied(clean, people, PROJECT)
    applied(clean, platform, PROJECT)
    (failed,) = applied(clean, platform, REGISTRY).failed
    assert isinstance(failed[1], RefusedError)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=8,
    deadline=None,
)
@given(
    projects=st.dictionaries(NAMES, POLICIES, max_size=3),
    registries=st.dictionaries(st.tuples(NAMES, NAMES), REGISTRIES, max_size=4),
    grants=st.dictionaries(NAMES, st.dictionaries(NAMES, st.lists(NAMES, max_size=3)), max_size=2),
    owner=st.sampled_from(["", "shop"]),
)
def test_any_fleet_that_is_exported_and_applied_changes_nothing(
    real: Real,
    projects: dict[str, ProjectPolicy],
    registries: dict[tuple[str, str], dict[str, object]],
    grants: dict[str, dict[str, list[str]]],
    owner: str,
) -> None:
    mount = f"fleet-{uuid.uuid4().hex[:8]}"
    real.vault.call("POST", f"sys/mounts/{mount}", {"type": "kv", "options": {"version": "2"}})
    try:
        login = TokenLogin(lambda: SecretStr(real.vault.root_token))
        store = Store(connect(real.server, login, mount=mount))
        eventually(lambda: _is_ready(store))  # a new mount of version 2 upgrades itself first
        for name, policy in projects.items():
            store.write_project(name, policy, cas=0, owner=owner)
        for (project, name), content in registries.items():
            record = Definition.model_validate(content)
            store.write_definition(Reference(project, name), record, cas=0, owner=owner)
        for cluster, granted in grants.items():
            store.write_cluster(cluster, ClusterGrants(grants=granted), cas=0)
        text = "---\n".join(
            export.text(content, secret=secret)
            for _, content, secret in export.objects(look(store, [], everything=True))
        )
        wanted = files.items([("exported.yaml", text)])
        found = plan(wanted, look(store, wanted), Terms())
        assert found.steps == ()
        assert found.problems == ()
    finally:
        real.vault.call("DELETE", f"sys/mounts/{mount}")


def _is_ready(store: Store) -> bool:
    try:
        store.projects()
    except RegcredError:
        return False
    return True
