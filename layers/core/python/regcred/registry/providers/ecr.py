"""Private Amazon ECR: keyless, by the project's role or a role of the registry's account.

Contract: https://docs.aws.amazon.com/AmazonECR/latest/userguide/registry_auth.html. A token has the
permissions of the principal that requested it, and lives 12 hours. AWS can't revoke it. So the role's policy
allows only pulls, and a session policy limits a role to the definition's repositories.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator

from regcred.credential import Credential, Login, earliest
from regcred.errors import MalformedError
from regcred.registry import aws, ecr_hosts
from regcred.registry.definition import AccountId, BaseDefinition, NonEmpty, RoleArn, Scope
from regcred.registry.ecr_hosts import Endpoint
from regcred.registry.interface import AwsCredentials, IssuedCredential, MintContext, Revoked
from regcred.registry.trust import ProjectRole, document, role_to_assume

_PULL = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]


def _check_region(value: str) -> str:
    if ecr_hosts.partition_of(value) is None:
        raise ValueError(f"{value!r} is not an AWS region; write one as in eu-central-1")
    return value


Region = Annotated[str, AfterValidator(_check_region)]


class EcrDefinition(BaseDefinition):
    """A private registry in one account, in one or several regions."""

    summary: ClassVar[str] = (
        "Private Amazon ECR: keyless with the project's role, or a role in the registry's account"
    )

    provider: Literal["ecr"]

    regions: Annotated[tuple[Region, ...], NonEmpty] = Field(
        description="The AWS regions to pull from, as in [eu-central-1]. Each region has its own token."
    )

    account: AccountId = Field(
        default="",
        description=(
            "The registry's AWS account ID. Empty: the account of 'role_arn', or the project's account."
        ),
    )

    role_arn: RoleArn = Field(
        default="",
        description=(
            "A role to assume from the project's role. It is needed if the registry is in another account, "
            "or to limit access to 'repositories'."
        ),
    )

    endpoints: tuple[Endpoint, ...] = Field(
        default=(Endpoint.STANDARD, Endpoint.DUAL_STACK),
        description=(
            "The kinds of host names in image names, if the region has them. Each adds about 6 kB to the "
            "Secret. Add 'fips' and 'fips-dual-stack' if image names use them."
        ),
    )

    pull_through: tuple[Scope, ...] = Field(
        default=(),
        description=(
            "The prefixes of pull-through cache rules that may fetch from upstream, as in [docker-hub/]."
        ),
    )

    create_repositories: bool = Field(
        default=False,
        description=(
            "Allow a pull to create a missing cache repository. It is better to create it beforehand."
        ),
    )

    @model_validator(mode="after")
    def _consistent(self) -> EcrDefinition:
        partitions = {part.name for region in self.regions if (part := ecr_hosts.partition_of(region))}
        if len(partitions) > 1:
            raise ValueError(
                f"regions: belong to different AWS partitions ({', '.join(sorted(partitions))}); define one "
                "registry for each"
            )
        if self.role_arn and self.role_arn.split(":")[1] not in partitions:
            raise ValueError(
                f"role_arn: {self.role_arn} belongs to another AWS partition than the regions "
                f"({', '.join(partitions)})"
            )
        if self.create_repositories and not self.pull_through:
            raise ValueError("create_repositories: needs 'pull_through' with the cache rule's prefix")
        return self

    def accounts(self) -> tuple[str, ...]:
        """The accounts of the registry and of the role."""
        role_account = self.role_arn.split(":")[4] if self.role_arn else ""
        return tuple(sorted({account for account in (self.account, role_account) if account}))

    def scopes(self) -> tuple[str, ...]:
        """The named repositories, and those of the pull-through cache. Empty: the whole registry."""
        return (*self.repositories, *self.pull_through) if self.repositories else ()

    def trust(self, role: ProjectRole) -> str:
        """The role's trust and permissions, or the permissions that the project's own role needs."""
        account = self.registry_account() or role.account
        partition = role.partition
        policy = {"Version": "2012-10-17", "Statement": list(_statements(self, partition, account))}
        if not self.role_arn:
            text = f"Give {role.role_arn} these permissions (pull only):\n{document(policy)}\n"
            if account != role.account:
                text += (
                    f"\nand allow it in the policy of each repository in account {account}:\n"
                    + document(_repository_policy(role))
                    + "\n"
                )
            return text
        return role_to_assume(role, self.role_arn, policy)

    def registry_account(self) -> str:
        """The account of the hosts, if the definition names it."""
        return self.account or (self.role_arn.split(":")[4] if self.role_arn else "")


class EcrProvider:
    """Mints one login per region."""

    name = "ecr"
    model = EcrDefinition

    def mint(self, definition: EcrDefinition, context: MintContext) -> Credential:
        """Fetch a token in each region; see :class:`regcred.registry.interface.Provider`."""
        credentials = self._credentials(definition, context)
        tokens = [_token(definition, credentials, region) for region in definition.regions]
        return Credential(
            provider=self.name,
            logins=tuple(login for login, _ in tokens),
            issued_at=context.now(),
            expires_at=earliest(expires_at for _, expires_at in tokens),
        )

    def revoke(self, definition: EcrDefinition, issued: IssuedCredential, context: MintContext) -> Revoked:
        """Do nothing: AWS can't revoke a token (aws/containers-roadmap#936)."""
        return Revoked.UNSUPPORTED

    def _credentials(self, definition: EcrDefinition, context: MintContext) -> AwsCredentials:
        if not definition.role_arn:
            return context.identity.aws()
        return aws.assume(
            definition.role_arn,
            context,
            region=definition.regions[0],
            policy=session_policy(definition),
            fips=_fips_only(definition),
        )


def _fips_only(definition: EcrDefinition) -> bool:
    return all(endpoint in {Endpoint.FIPS, Endpoint.FIPS_DUAL_STACK} for endpoint in definition.endpoints)


def _token(definition: EcrDefinition, credentials: AwsCredentials, region: str) -> tuple[Login, datetime]:
    client = aws.client(
        "ecr", credentials, region=region, fips=_fips_only(definition) and region in ecr_hosts.FIPS_REGIONS
    )
    who = definition.role_arn or "this project's role"
    action = f"ecr:GetAuthorizationToken in {region}"
    with aws.translated(action, remedy=f"allow {who} ecr:GetAuthorizationToken on '*'"):
        answer = client.get_authorization_token()
    try:
        data = answer["authorizationData"][0]
        username, password = b64decode(data["authorizationToken"]).decode().split(":", 1)
        expires_at: datetime = data["expiresAt"]
        account = definition.registry_account() or _account_of(data["proxyEndpoint"], region)
    except (KeyError, IndexError, ValueError):
        raise MalformedError(
            f"{action}: the response has no usable authorizationData[0]", field="authorizationData"
        ) from None
    hosts = ecr_hosts.hosts(account, region, frozenset(definition.endpoints))
    if not hosts:
        raise MalformedError(
            f"endpoints: {region} has no {', '.join(definition.endpoints)}; add 'standard'",
            field="endpoints",
        )
    return Login(username, SecretStr(password), definition.keys(hosts)), expires_at


def _account_of(proxy_endpoint: str, region: str) -> str:
    found = ecr_hosts.split(urlsplit(proxy_endpoint).netloc)
    if found is None or found[1] != region:
        raise ValueError(proxy_endpoint)
    return found[0]


def session_policy(definition: EcrDefinition) -> dict[str, Any]:
    """The session policy that restricts a role to pulling the definition's repositories."""
    partition = definition.role_arn.split(":")[1]
    statements = _statements(definition, partition, definition.registry_account())
    return {"Version": "2012-10-17", "Statement": list(statements)}


def _repository_policy(role: ProjectRole) -> dict[str, Any]:
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"AWS": role.account_arn},
                "Action": _PULL,
                "Condition": {"ArnEquals": {"aws:PrincipalArn": role.role_arn}},
            }
        ],
    }


def _statements(definition: EcrDefinition, partition: str, account: str) -> Iterator[dict[str, Any]]:
    yield {"Effect": "Allow", "Action": "ecr:GetAuthorizationToken", "Resource": "*"}
    yield {
        "Effect": "Allow",
        "Action": _PULL,
        "Resource": _resources(partition, account, definition.scopes() or ("",)),
    }
    if definition.pull_through:
        actions = [
            "ecr:BatchImportUpstreamImage",
            *(["ecr:CreateRepository"] if definition.create_repositories else []),
        ]
        yield {
            "Effect": "Allow",
            "Action": actions,
            "Resource": _resources(partition, account, definition.pull_through),
        }


def _resources(partition: str, account: str, scopes: tuple[str, ...]) -> list[str]:
    """The ARNs of repositories in any region. ARNs for each region would not fit into a session policy."""
    prefix = f"arn:{partition}:ecr:*:{account}:repository/"
    return [
        f"{prefix}{scope}*" if not scope or scope.endswith("/") else f"{prefix}{scope}" for scope in scopes
    ]
