"""Helpers of the provider tests: all vendors, a bench for one of them, and skewed clocks."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from fakes.vendors.aws import Aws
from fakes.vendors.azure import AcrChina, AcrFederated, AcrPrefix, AcrRegional, AcrUsGovernment
from fakes.vendors.basic import BasicAuth, BasicOpaque, BasicToken
from fakes.vendors.clouds import (
    AlibabaFederated,
    AlibabaKey,
    DigitalOcean,
    TencentFederated,
    TencentInternational,
    TencentKey,
)
from fakes.vendors.ecr import EcrByRole, EcrOwn, EcrPublic
from fakes.vendors.federated import (
    Chainguard,
    Cloudsmith,
    GhcrApp,
    GhcrResidency,
    GhcrServer,
    QuayFederated,
    System,
)
from fakes.vendors.gitea import Gitea
from fakes.vendors.google import GarDirect, GarFederated, GarKey
from fakes.vendors.harbor import Harbor, HarborSystem
from fakes.vendors.jfrog import JfrogAws, JfrogOidc, JfrogToken
from fakes.vendors.network import Network
from fakes.vendors.nexus import Nexus
from fakes.vendors.static import AcrToken, DockerHubStatic, GhcrToken, QuayStatic
from fakes.vendors.tokens import DockerHubOrganisation, Gitlab, GitlabAccess, GitlabProject
from fakes.vendors.vendor import PROJECT_ROLE, ProjectIdentity, Vendor
from pydantic import SecretStr

from regcred.credential import Credential
from regcred.registry.catalog import provider_for
from regcred.registry.definition import BaseDefinition
from regcred.registry.interface import IssuedCredential, MintContext, Revoked, SlotStore, Verification
from regcred.registry.parsing import parse
from regcred.registry.verify import RegistryVerifier
from regcred.registry_reference import Reference

REFERENCE = Reference("payments", "main")

VENDORS: tuple[type[Vendor], ...] = (
    AcrChina,
    AcrFederated,
    AcrPrefix,
    AcrRegional,
    AcrToken,
    AcrUsGovernment,
    AlibabaFederated,
    AlibabaKey,
    BasicAuth,
    BasicOpaque,
    BasicToken,
    Chainguard,
    Cloudsmith,
    DigitalOcean,
    DockerHubOrganisation,
    DockerHubStatic,
    EcrByRole,
    EcrOwn,
    EcrPublic,
    GarDirect,
    GarFederated,
    GarKey,
    GhcrApp,
    GhcrResidency,
    GhcrServer,
    GhcrToken,
    Gitea,
    Gitlab,
    GitlabAccess,
    GitlabProject,
    Harbor,
    HarborSystem,
    JfrogAws,
    JfrogOidc,
    JfrogToken,
    Nexus,
    QuayFederated,
    QuayStatic,
    System,
    TencentFederated,
    TencentInternational,
    TencentKey,
)


def vendor_id(vendor: type[Vendor]) -> str:
    return f"{vendor.provider}-{vendor.variant}".strip("-").replace(" ", "-")


class Bench:
    """One vendor, one definition, and the calls that rotate makes."""

    def __init__(self, vendor: Vendor, *, now: Callable[[], datetime] | None = None) -> None:
        self.vendor = vendor
        self.definition: BaseDefinition = parse(vendor.definition, where="registries/payments/main")
        self.provider = provider_for(self.definition.provider)
        self.now = now or vendor.clock.now
        self.role_arn = PROJECT_ROLE

    def context(self, *, in_force: str = "", slot_store: SlotStore | None = None) -> MintContext:
        return MintContext(
            reference=REFERENCE,
            now=self.now,
            identity=ProjectIdentity(self.vendor.aws, self.role_arn),
            upstream={name: SecretStr(value) for name, value in self.vendor.upstream.items()},
            in_force=in_force,
            slot_store=slot_store,
        )

    def mint(self, *, in_force: str = "", slot_store: SlotStore | None = None) -> Credential:
        return self.provider.mint(self.definition, self.context(in_force=in_force, slot_store=slot_store))

    def revoke(self, credential: Credential) -> Revoked:
        return self.provider.revoke(self.definition, IssuedCredential.of(credential), self.context())

    def verify(self, credential: Credential) -> Verification:
        return RegistryVerifier().verify(self.definition, credential)


def bench(vendor: type[Vendor], network: Network, aws: Aws) -> Bench:
    return Bench(vendor(network, aws))


def skewed(network: Network, by: timedelta) -> Callable[[], datetime]:
    """A clock that differs from the clock of the network."""
    return lambda: datetime.fromtimestamp(network.clock.time(), UTC) + by
