"""Amazon ECR Public: a login that raises the limits of anonymous pulls.

Contract: https://docs.aws.amazon.com/AmazonECR/latest/public/public-registry-auth.html. The API exists only
in us-east-1 of the commercial partition, and its response names no hosts.
"""

from __future__ import annotations

from base64 import b64decode
from datetime import datetime
from typing import Any, ClassVar, Literal

from pydantic import Field, SecretStr

from regcred.credential import Credential, Login
from regcred.errors import MalformedError
from regcred.registry import aws
from regcred.registry.definition import BaseDefinition, RoleArn
from regcred.registry.interface import IssuedCredential, MintContext, Revoked
from regcred.registry.trust import ProjectRole, document, role_to_assume

HOSTS = ("public.ecr.aws", "ecr-public.aws.com")
REGION = "us-east-1"
_POLICY: dict[str, Any] = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": ["ecr-public:GetAuthorizationToken", "sts:GetServiceBearerToken"],
            "Resource": "*",
        }
    ],
}


class EcrPublicDefinition(BaseDefinition):
    """The public registry of AWS."""

    summary: ClassVar[str] = "Amazon ECR Public: a login that raises the rate limit of anonymous pulls"

    provider: Literal["ecr-public"]

    role_arn: RoleArn = Field(
        default="", description="A role to assume from the project's role. Empty: use the project's role."
    )

    def accounts(self) -> tuple[str, ...]:
        """The role's account."""
        return (self.role_arn.split(":")[4],) if self.role_arn else ()

    def trust(self, role: ProjectRole) -> str:
        """The role's trust and permissions, or the permissions that the project's own role needs."""
        if not self.role_arn:
            return f"Give {role.role_arn} these permissions:\n{document(_POLICY)}\n"
        return role_to_assume(role, self.role_arn, _POLICY)

    def realms(self) -> tuple[str, ...]:
        """Both hosts share one token service."""
        return HOSTS

    def limits(self) -> tuple[str, ...]:
        """No check: everybody can pull public images."""
        return ()


class EcrPublicProvider:
    """Mints one login for both host names."""

    name = "ecr-public"
    model = EcrPublicDefinition

    def mint(self, definition: EcrPublicDefinition, context: MintContext) -> Credential:
        """Fetch a token; see :class:`regcred.registry.interface.Provider`."""
        credentials = (
            aws.assume(definition.role_arn, context, region=REGION, policy=_POLICY)
            if definition.role_arn
            else context.identity.aws()
        )
        client = aws.client("ecr-public", credentials, region=REGION)
        who = definition.role_arn or "this project's role"
        action = "ecr-public:GetAuthorizationToken"
        with aws.translated(action, remedy=f"allow {who} {action} and sts:GetServiceBearerToken on '*'"):
            answer = client.get_authorization_token()
        try:
            data = answer["authorizationData"]
            username, password = b64decode(data["authorizationToken"]).decode().split(":", 1)
            expires_at: datetime = data["expiresAt"]
        except (KeyError, TypeError, ValueError):
            raise MalformedError(
                f"{action}: the response has no usable authorizationData", field="authorizationData"
            ) from None
        return Credential(
            provider=self.name,
            logins=(Login(username, SecretStr(password), definition.keys(HOSTS)),),
            issued_at=context.now(),
            expires_at=expires_at,
        )

    def revoke(
        self, definition: EcrPublicDefinition, issued: IssuedCredential, context: MintContext
    ) -> Revoked:
        """Do nothing: AWS can't revoke a token."""
        return Revoked.UNSUPPORTED
