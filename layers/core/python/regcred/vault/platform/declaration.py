"""Reads the declaration of a platform: the mount, sign-in methods and policies.

``platform.yaml`` declares everything except the policies. These are HCL files that come with Regcred, with
the placeholders ``${mount}`` and ``${project}``. Users who change policies keep copies in ``policies/`` next
to ``platform.yaml``, and set ``policies: own``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from string import Template
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from regcred.errors import MalformedError, MissingError
from regcred.vault.records.document import Label, malformed, matching

POLICIES = ("console", "dispatch", "platform-admin", "platform-operator", "rotate", "sync", "token")
"""Policies that exist once per platform."""

PROJECT_POLICIES = ("project-admin", "project-reader")
"""Policies that exist per project."""

EVENT_POLICIES = ("project-reader-events", "sync-events")
"""Policies that only servers with events need. The first one exists per project."""

_VERSION = re.compile(r"# Version ([0-9]{1,9})\b")
"""The first line of a policy that comes with Regcred. The number grows with each change of the policy."""

_Pem = Annotated[
    str,
    StringConstraints(strip_whitespace=True),
    matching(
        r"-----BEGIN (RSA )?PUBLIC KEY-----[\s\S]+-----END[\s\S]*",
        "a public key in PEM; paste it whole, with the lines '-----BEGIN PUBLIC KEY-----' and '-----END "
        "PUBLIC KEY-----'",
    ),
]
_RoleArn = Annotated[
    str,
    matching(
        r"arn:aws[-a-z]*:iam::[0-9]{12}:role/[!-)+-~]+",  # no wildcard: no sign-in method resolves it
        "the ARN of one role; write it as in arn:aws:iam::123456789012:role/regcred-rotate",
    ),
]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MountSettings(_Section):
    """The KV v2 mount."""

    path: Annotated[str, matching(r"[a-z0-9][-a-z0-9/]*[a-z0-9]", "a path; write it as in regcred")] = (
        "regcred"
    )


class TokenSettings(_Section):
    """The tokens of clusters and Lambdas."""

    ttl_seconds: int = Field(default=1200, ge=60, le=86400)


class Quotas(_Section):
    """Rate limits per client, in requests per second.

    Quotas exist only in the root namespace, even those for another namespace. Only a token of the root
    namespace can set them.
    """

    enabled: bool | None = Field(
        default=None,
        description=(
            "Whether to set the quotas. By default they are set, except for a platform in a namespace."
        ),
    )
    requests_per_second: int = Field(default=2000, ge=1)
    sign_ins_per_second: int = Field(default=100, ge=1)


class _Keys(_Section):
    """The keys that verify JWTs: public keys, or an address from which Vault fetches them."""

    public_keys: list[_Pem] = Field(
        default=[], description="The keys as PEM. During a rotation, list the old and the new one."
    )
    jwks_url: str = Field(
        default="", description="The address from which Vault fetches the keys, if it can reach the issuer."
    )
    jwks_ca_pem: str = Field(
        default="", description="The certificate authority of that address, if it is a private one."
    )

    @field_validator("jwks_url", "issuer", check_fields=False)
    @classmethod
    def _is_filled_in(cls, value: str) -> str:
        if "<" in value:
            raise ValueError("contains a placeholder; replace '<...>' with your own value")
        return value

    @model_validator(mode="after")
    def _one_source_of_keys(self) -> Self:
        if bool(self.public_keys) == bool(self.jwks_url):
            raise ValueError("set either public_keys or jwks_url")
        return self


class ClusterTrust(_Keys):
    """Who may sign in as the sync of a cluster: a ServiceAccount, with tokens that the API server signs.

    The keys are those of the API server for ServiceAccount tokens. If Vault can't reach the API server, write
    them as ``public_keys``.
    """

    namespace: str = "regcred-system"
    service_account: str = "regcred-sync"
    console_service_account: str = Field(
        default="",
        description=(
            "The ServiceAccount of the console in the same namespace, if it runs in this cluster: "
            "regcred-console."
        ),
    )
    token_service_account: str = Field(
        default="",
        description=(
            "The ServiceAccount of the system registry's token server, if it runs in this cluster: "
            "regcred-token."
        ),
    )
    audience: str = "vault"
    issuer: str = Field(
        default="",
        description=(
            "The API server's --service-account-issuer, if Vault should check it. Usually it is the same "
            "in all clusters."
        ),
    )

    @property
    def subject(self) -> str:
        """The subject of the tokens of sync's ServiceAccount."""
        return self.subject_of(self.service_account)

    def subject_of(self, service_account: str) -> str:
        """The subject of the tokens of another ServiceAccount in the same namespace."""
        return f"system:serviceaccount:{self.namespace}:{service_account}"


class LambdaTrust(_Keys):
    """Who may sign in as a Lambda with a JWT of AWS STS GetWebIdentityToken. Its subject is a role's ARN."""

    issuer: str
    audience: str
    dispatch: list[_RoleArn] = Field(min_length=1)
    rotate: list[_RoleArn] = Field(min_length=1)
    console: list[_RoleArn] = Field(default=[], description="Empty if the console does not run on Lambda.")
    token: list[_RoleArn] = Field(
        default=[], description="Empty if the token server of the system registry does not run on Lambda."
    )


class LambdaIamTrust(_Section):
    """Who may sign in as a Lambda with a signed GetCallerIdentity request (HashiCorp Vault only)."""

    server_id: str = Field(description="The value that the Lambdas must send as X-Vault-AWS-IAM-Server-ID.")
    dispatch: list[_RoleArn] = Field(min_length=1)
    rotate: list[_RoleArn] = Field(min_length=1)
    console: list[_RoleArn] = Field(default=[], description="Empty if the console does not run on Lambda.")
    token: list[_RoleArn] = Field(
        default=[], description="Empty if the token server of the system registry does not run on Lambda."
    )
    sts_endpoint: str = Field(
        default="",
        description=(
            "The STS endpoint that tells Vault who signed a request. Empty: the endpoint of sts_region."
        ),
    )
    sts_region: str = Field(
        default="",
        description=(
            "The region that the functions sign for (their VaultStsRegion). Empty or us-east-1 means the "
            "global endpoint."
        ),
    )
    iam_endpoint: str = ""
    resolve_unique_ids: bool = Field(
        default=False,
        description=(
            "Whether Vault looks up the unique IDs of the roles with its own AWS identity. Vault then "
            "refuses a role that was deleted and created again, until Vault's role is written again."
        ),
    )

    @model_validator(mode="after")
    def _roles_without_path(self) -> Self:
        """STS does not name the path of a role, so without a lookup Vault compares ARNs without paths."""
        arns = (*self.dispatch, *self.rotate, *self.console, *self.token)
        if not self.resolve_unique_ids and any(arn.count("/") > 1 for arn in arns):
            raise ValueError(
                "Vault never accepts the ARN of a role with a path; write it without the path, as in "
                "arn:aws:iam::123456789012:role/regcred-rotate, or set resolve_unique_ids to true"
            )
        return self


class Declaration(_Section):
    """``platform.yaml``."""

    policies: Literal["shipped", "own"] = Field(
        default="shipped",
        description=(
            "own: use the policies in the folder policies/ next to this file instead of those that come with "
            "Regcred."
        ),
    )
    events: bool = Field(
        default=False,
        description=(
            "Whether clusters may subscribe to Vault's events (HashiCorp Vault Enterprise); other servers "
            "refuse such policies."
        ),
    )
    prepared_projects: list[Label] = Field(
        default=[],
        description=(
            "Projects whose policies and groups are created in advance, so that a platform admin can add "
            "them without an operator."
        ),
    )
    mount: MountSettings = MountSettings()
    tokens: TokenSettings = TokenSettings()
    quotas: Quotas = Quotas()
    clusters: dict[Label, ClusterTrust] = {}
    system_registry: bool = Field(
        default=False,
        description=(
            "Whether the system registry is used: its signing keys, identity tokens for people, and a group "
            "of platform admins."
        ),
    )
    lambda_jwt: LambdaTrust | None = None
    lambda_iam: LambdaIamTrust | None = None


@dataclass(frozen=True, slots=True)
class Platform:
    """A declaration and the texts of its policies."""

    declaration: Declaration
    policies: Mapping[str, str] = field(repr=False)
    """By file name without ``.hcl``."""
    notes: tuple[str, ...] = ()
    """Notes for the user about the copies of policies."""
    namespace: str = ""
    """The namespace of everything but the quotas (Vault Enterprise, OpenBao)."""

    def policy(self, name: str, *, project: str = "") -> str:
        """A policy's HCL with the mount and the project inserted."""
        return Template(self.policies[name]).substitute(mount=self.declaration.mount.path, project=project)

    @property
    def has_quotas(self) -> bool:
        """Whether the platform includes quotas."""
        enabled = self.declaration.quotas.enabled
        return not self.namespace if enabled is None else enabled

    def with_declaration(self, **changes: object) -> Platform:
        """A copy with changes in the declaration."""
        return replace(self, declaration=self.declaration.model_copy(update=changes))

    def within(self, namespace: str) -> Platform:
        """A copy in a namespace."""
        return replace(self, namespace=namespace.strip("/"))


def default_directory() -> Path:
    """The folder of the declaration that comes with Regcred: in the package, or in a checkout."""
    package = Path(__file__).parent
    shipped = package / "files"
    return shipped if shipped.is_dir() else package.parents[5] / "infra" / "vault"


def load(directory: Path) -> Platform:
    """Read a declaration and its policies.

    Args:
        directory: A folder with ``platform.yaml``, and with ``policies/*.hcl`` if the user has modified
            policies.

    Raises:
        MissingError: a file is missing. The error names the file.
        MalformedError: a file is wrong. The error names the file, the line and the field.
    """
    from regcred.yaml_documents import documents  # noqa: PLC0415 - not every Lambda has PyYAML

    path = directory / "platform.yaml"
    found = list(documents(_text(path), str(path)))
    if len(found) > 1:
        raise MalformedError(f"{found[1].at()}: a second document; write only one", field="platform.yaml")
    try:
        declaration = Declaration.model_validate(found[0].content if found else {})
    except ValidationError as error:
        where = found[0].at(malformed(error, where="").field)
        raise malformed(error, where=where) from None
    return with_policies(declaration, directory)


def with_policies(declaration: Declaration, directory: Path) -> Platform:
    """A platform from its declaration.

    Args:
        declaration: The declaration.
        directory: The folder that contains ``policies/`` if the user has modified policies.

    Raises:
        MissingError: a policy is missing. The error names the file.
        MalformedError: a policy is wrong. The error names the file.
    """
    policies, notes = _policies(directory / "policies", own=declaration.policies == "own")
    return Platform(declaration, policies, notes)


def _policies(folder: Path, *, own: bool) -> tuple[dict[str, str], tuple[str, ...]]:
    """The texts of the policies, and notes about copies in the user's folder."""
    shipped_folder = default_directory() / "policies"
    names = (*POLICIES, *PROJECT_POLICIES, *EVENT_POLICIES)
    policies = {name: _policy(shipped_folder / f"{name}.hcl") for name in names}
    copies = [name for name in names if (folder / f"{name}.hcl").is_file()]
    if not copies or folder.resolve() == shipped_folder.resolve():
        return policies, ()
    if not own:
        return policies, (
            f"{folder} is not used: the policies come with Regcred. Delete it, or set 'policies: own'",
        )
    notes = []
    for name in copies:
        path = folder / f"{name}.hcl"
        text, shipped = _policy(path), policies[name]
        if _version(text) < _version(shipped):
            notes.append(
                f"{path} is older (version {_version(text)}) than the policy that comes with Regcred "
                f"(version {_version(shipped)}); copy the changes and the first line"
            )
        policies[name] = text
    return policies, tuple(notes)


def _version(policy: str) -> int:
    """The number in a policy's first line; 0 without one."""
    found = _VERSION.match(policy)
    return int(found[1]) if found else 0


def _policy(path: Path) -> str:
    """A policy's text. Its placeholders are checked here, before anything is written."""
    text = _text(path)
    template = Template(text)
    known = {"mount", "project"} if path.stem.startswith("project-") else {"mount"}
    unknown = sorted(set(template.get_identifiers()) - known) if template.is_valid() else ["…"]
    if unknown:
        raise MalformedError(
            f"{path}: ${{{unknown[0]}}} can't be filled in; write "
            f"{' or '.join(f'${{{name}}}' for name in sorted(known))}, and $$ for a dollar sign",
            field=path.name,
        )
    return text


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        raise MissingError(f"{path} can't be read; name the folder that contains platform.yaml") from None
    except UnicodeDecodeError:
        raise MalformedError(f"{path}: is not UTF-8 text", field=path.name) from None
