"""The kinds Platform and Cluster on real servers: read back, compared, written and removed one by one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from regcred.declare import export, files
from regcred.declare.apply import AppliedPlan, PlanApplier
from regcred.declare.kinds import Item, ObjectKey
from regcred.declare.live_objects import Live
from regcred.declare.live_platform import look_at_platform
from regcred.declare.plan import plan
from regcred.declare.steps import DeclarationPlan, Terms
from regcred.vault.platform import ChangeKind, apply_platform, plan_platform
from regcred.vault.platform.fleet import FleetPlatform
from regcred.vault.records.declared import ProjectPolicy
from regcred.vault.store import Store

from . import identities
from .conftest import Keys, Real

CLUSTER = """
apiVersion: regcred.dev/v1
kind: Cluster
metadata: {{name: declared}}
spec:
  console_service_account: regcred-console
  public_keys:
    - |
      {pem}
"""


@pytest.fixture
def operator(real: Real) -> Iterator[FleetPlatform]:
    """The platform, read and written with the token of a platform operator."""
    store = Store(real.as_token(real.vault.root_token))
    store.change_project("payments", lambda _: ProjectPolicy())
    real.reset()
    token = identities.token_with(real, "regcred-platform-operator")
    yield FleetPlatform(real.client(token), real.platform)
    store.change_project("payments", lambda _: ProjectPolicy())
    real.reset()


@pytest.fixture
def cluster(keys: dict[str, Keys]) -> str:
    return CLUSTER.format(pem=keys["c1"].public_pem.strip().replace("\n", "\n      "))


def compared(
    operator: FleetPlatform, text: str, *, prune: bool = False
) -> tuple[dict[ObjectKey, Item], DeclarationPlan]:
    wanted = files.items([("fleet.yaml", text)])
    live = Live(platform=look_at_platform(operator, wanted, owner="shop", everything=prune))
    return wanted, plan(wanted, live, Terms(owner="shop", prune=prune))


def applied(operator: FleetPlatform, real: Real, text: str, *, prune: bool = False) -> AppliedPlan:
    store = Store(real.as_token(real.vault.root_token))
    applier = PlanApplier(store, secrets={}, now=lambda: datetime.now(UTC), operator=operator)
    return applier.run(compared(operator, text, prune=prune)[1])


def test_an_applied_declaration_is_read_back_unchanged(operator: FleetPlatform, real: Real) -> None:
    declared = real.platform.declaration
    found, notes = operator.declaration()
    assert notes == []
    assert found.lambda_jwt == declared.lambda_jwt
    assert found.tokens == declared.tokens
    assert found.quotas == declared.quotas
    assert found.system_registry is declared.system_registry
    there = operator.clusters()
    assert {name: there[name].trust for name in declared.clusters} == declared.clusters


def test_an_exported_platform_needs_no_change(operator: FleetPlatform) -> None:
    live = look_at_platform(operator, {}, everything=True, export=True)
    text = "---\n".join(
        export.text(content, secret=secret) for _, content, secret in export.objects(Live(platform=live))
    )
    assert text.count("kind: Cluster") == 2
    again = plan(
        wanted := files.items([("exported.yaml", text)]),
        Live(platform=look_at_platform(operator, wanted)),
        Terms(),
    )
    assert again.steps == ()
    assert again.problems == ()


def test_an_operator_declares_a_cluster_changes_it_and_prunes_it(
    operator: FleetPlatform, real: Real, cluster: str
) -> None:
    store = Store(real.as_token(real.vault.root_token))
    store.change_project("payments", lambda _: ProjectPolicy(clusters=["declared"]))
    done = applied(operator, real, cluster)
    assert (done.failed, [str(step) for step in done.steps]) == ([], ["create Cluster declared"])
    assert compared(operator, cluster, prune=True)[1].steps == ()
    assert operator.clusters(["declared"])["declared"].owner == "shop"
    group = real.client().secrets.identity.read_group_by_name("regcred-readers-payments")["data"]
    entity = real.client().secrets.identity.read_entity_by_name("regcred-cluster-declared")["data"]
    assert entity["id"] in group["member_entity_ids"]

    less = cluster.replace("  console_service_account: regcred-console\n", "")
    (step,) = compared(operator, less)[1].steps
    assert str(step) == "change Cluster declared (console_service_account: regcred-console -> none)"
    assert step.removals == 1
    assert applied(operator, real, less).failed == []
    assert compared(operator, less)[1].steps == ()
    # `regcred platform` keeps the owner of the cluster; its plan contains only deletions.
    trusts = {name: found.trust for name, found in operator.clusters().items() if found.trust}
    whole = real.platform.with_declaration(clusters=trusts)
    assert {step.verb for step in plan_platform(real.client(), whole)} == {ChangeKind.DELETE}
    apply_platform(real.client(), whole)

    other = less.replace("name: declared", "name: other")
    done = applied(operator, real, other, prune=True)
    assert [str(step) for step in done.steps] == ["remove Cluster declared", "create Cluster other"]
    assert {"c1", "c2", "other"} == set(operator.clusters())


def test_a_deleted_sign_in_role_and_a_deleted_group_are_created_again(
    operator: FleetPlatform, real: Real
) -> None:
    real.client().adapter.delete("/v1/auth/regcred-lambda/role/rotate")
    real.client().adapter.delete("/v1/identity/group/name/regcred-readers-payments")
    assert [str(step) for step in operator.platform_steps()] == [
        "create sign-in role regcred-lambda/rotate",
        "create group regcred-readers-payments",
    ]
    operator.write_platform()
    assert operator.platform_steps() == []
