"""Private ECR, with and without a role of the registry's account, and ECR Public.

Sources: https://docs.aws.amazon.com/AmazonECR/latest/userguide/ (registry_auth, ecr-requests for the host
names, image-push-iam for the actions of a pull) and
https://docs.aws.amazon.com/AmazonECR/latest/public/public-registry-auth.html.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from fakes.vendors.aws import Role
from fakes.vendors.oci import OciRegistry
from fakes.vendors.vendor import PROJECT_ROLE, Vendor

ACCOUNT = "444455556666"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/regcred/pull"
PULL = [
    "ecr:GetAuthorizationToken",
    "ecr:BatchGetImage",
    "ecr:GetDownloadUrlForLayer",
    "ecr:BatchCheckLayerAvailability",
]


class EcrByRole(Vendor):
    provider = "ecr"
    variant = "role"
    lifetime = timedelta(hours=12)
    keyless = True
    calls = r"POST (sts|api\.ecr)\."

    def install(self) -> None:
        self.aws.install(self.network)
        self.role = Role(ROLE, trusts=PROJECT_ROLE, external_id="payments", actions=list(PULL))
        self.aws.roles[ROLE] = self.role
        OciRegistry(self.clock, check=self.aws.ecr_login).install(self.network, f"{ACCOUNT}.dkr*")

    @property
    def definition(self) -> Mapping[str, Any]:
        return {
            "provider": "ecr",
            "regions": ["eu-central-1", "us-east-1"],
            "role_arn": ROLE,
            "endpoints": ["standard", "dual-stack", "fips", "fips-dual-stack"],
            "repositories": ["team/"],
            "probe": "team/app:1",
        }

    @property
    def hosts(self) -> tuple[str, ...]:
        return (
            f"{ACCOUNT}.dkr.ecr.eu-central-1.amazonaws.com",
            f"{ACCOUNT}.dkr-ecr.eu-central-1.on.aws",
            f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com",
            f"{ACCOUNT}.dkr-ecr.us-east-1.on.aws",
            f"{ACCOUNT}.dkr.ecr-fips.us-east-1.amazonaws.com",
            f"{ACCOUNT}.dkr-ecr-fips.us-east-1.on.aws",
        )

    def widen(self) -> None:
        # Otherwise the session policy would still forbid a push.
        self.role.actions.append("ecr:*")
        self.aws.ecr_push_ignores_session_policy = True


class EcrOwn(EcrByRole):
    """The registry of the project role's own account: rotate assumes no role, and the definition has only a
    region."""

    variant = "own account"

    def install(self) -> None:
        self.aws.install(self.network)
        self.role = Role(PROJECT_ROLE, trusts="", external_id="", actions=list(PULL))
        self.aws.roles[PROJECT_ROLE] = self.role
        OciRegistry(self.clock, check=self.aws.ecr_login).install(self.network, "111122223333.dkr*")

    @property
    def definition(self) -> Mapping[str, Any]:
        return {"provider": "ecr", "regions": ["cn-north-1"], "probe": "team/app:1"}

    @property
    def hosts(self) -> tuple[str, ...]:
        return (
            "111122223333.dkr.ecr.cn-north-1.amazonaws.com.cn",
            "111122223333.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn",
        )


class EcrPublic(Vendor):
    provider = "ecr-public"
    lifetime = timedelta(hours=12)
    keyless = True
    calls = r"POST (sts|api\.ecr-public)\."

    def install(self) -> None:
        self.aws.install(self.network)
        actions = ["ecr-public:GetAuthorizationToken", "sts:GetServiceBearerToken"]
        self.aws.roles[ROLE] = Role(ROLE, trusts=PROJECT_ROLE, external_id="payments", actions=actions)
        registry = OciRegistry(
            self.clock,
            realm="https://public.ecr.aws/token/",
            service="public.ecr.aws",
            check=self.aws.public_login,
            repositories=("alias/app",),
        )
        registry.install(self.network, "public.ecr.aws", "ecr-public.aws.com")

    @property
    def definition(self) -> Mapping[str, Any]:
        return {
            "provider": "ecr-public",
            "role_arn": ROLE,
            "repositories": ["alias/"],
            "probe": "alias/app:1",
        }

    @property
    def hosts(self) -> tuple[str, ...]:
        return ("public.ecr.aws", "ecr-public.aws.com")

    def widen(self) -> None:
        self.aws.public_may_push = True
