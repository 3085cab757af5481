"""The selftest against stand-ins of ECR, Google, GitHub and Docker Hub."""

from __future__ import annotations

from datetime import timedelta

import pytest
from contract.registry.harness import REFERENCE, Bench
from fakes.vendors.aws import Aws
from fakes.vendors.ecr import EcrByRole
from fakes.vendors.federated import GhcrApp
from fakes.vendors.google import GarFederated
from fakes.vendors.network import Network
from fakes.vendors.tokens import DockerHubOrganisation
from fakes.vendors.vendor import PROJECT_ROLE, ProjectIdentity, Vendor
from pydantic import SecretStr

from regcred.registry.token_slots import MemorySlotStore
from regcred.registry.verify import RegistryVerifier
from regcred.selftest import CheckResult, Selftest, SelftestParts, SelftestReport, plan


def report(bench: Bench, network: Network, wait: timedelta = timedelta(0)) -> SelftestReport:
    parts = SelftestParts(
        provider=bench.provider,
        identity=ProjectIdentity(bench.vendor.aws, PROJECT_ROLE),
        verifier=RegistryVerifier(),
        slot_store=MemorySlotStore(),
        now=network.clock.now,
        sleep=lambda seconds: network.clock.advance(timedelta(seconds=seconds)),
        say=lambda _text: None,
    )
    upstream = {name: SecretStr(value) for name, value in bench.vendor.upstream.items()}
    test = Selftest(parts, REFERENCE, bench.definition, upstream, versions="test")
    return test.run(plan(bench.definition, wait=wait, every=timedelta(minutes=30)))


def results(found: SelftestReport) -> dict[tuple[str, int], CheckResult]:
    return {(check.name, round(check.after.total_seconds() / 60)): check.result for check in found.checks}


def test_an_ecr_token_outlives_the_chained_session_that_created_it(network: Network, aws: Aws) -> None:
    found = report(Bench(EcrByRole(network, aws)), network, timedelta(minutes=90))
    assert results(found)["pull", 90] is CheckResult.PASSED
    assert found.checks[-1].result is CheckResult.NOT_OFFERED
    assert found.result is CheckResult.PASSED


def test_an_ecr_token_that_expires_with_its_session_fails_the_selftest(
    network: Network, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    ecr_login = aws.ecr_login
    made_at = network.clock.time()
    monkeypatch.setattr(
        aws,
        "ecr_login",
        lambda *words: ecr_login(*words) if network.clock.time() < made_at + 3590 else None,
    )
    found = report(Bench(EcrByRole(network, aws)), network, timedelta(minutes=90))
    assert results(found)["pull", 30] is CheckResult.PASSED
    assert results(found)["pull", 60] is CheckResult.FAILED


@pytest.mark.parametrize("vendor", [EcrByRole, GarFederated, GhcrApp, DockerHubOrganisation])
def test_the_definition_of_a_stand_in_passes(network: Network, aws: Aws, vendor: type[Vendor]) -> None:
    found = report(Bench(vendor(network, aws)), network)
    assert found.result is CheckResult.PASSED, found.text()


def test_a_login_that_is_wider_than_its_definition_fails(network: Network, aws: Aws) -> None:
    bench = Bench(EcrByRole(network, aws))
    bench.vendor.widen()
    assert results(report(bench, network))["nothing more", 0] is CheckResult.FAILED


def test_a_project_role_that_is_not_trusted_fails_at_the_mint(network: Network, aws: Aws) -> None:
    bench = Bench(EcrByRole(network, aws))
    aws.roles.clear()
    assert results(report(bench, network)) == {("mint", 0): CheckResult.FAILED}
