"""What a platform declares: the mount, the policies, who signs in and how; read from ``infra/vault``.

``platform.yaml`` says all but the policies, which are HCL files beside it with ``${mount}`` and ``${project}`` to fill in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from regcred.errors import MalformedError, MissingError
from regcred.vault.records.document import Label, malformed, written

POLICIES = ("console", "dispatch", "platform-admin", "platform-operator", "rotate", "sync")
"""Policies that exist once."""

PROJECT_POLICIES = ("project-admin", "project-reader")
"""Policies that exist per project."""

_Pem = Annotated[
    str,
    StringConstraints(strip_whitespace=True),
    written(
        r"-----BEGIN (RSA )?PUBLIC KEY-----[\s\S]+-----END[\s\S]*",
        "a public key in PEM; paste it whole, with the lines '-----BEGIN PUBLIC KEY-----' and '-----END PUBLIC KEY-----'",
    ),
]
_RoleArn = Annotated[
    str,
    written(
        r"arn:aws[-a-z]*:iam::[0-9]{12}:role/.+",
        "the ARN of a role; write it as in arn:aws:iam::123456789012:role/regcred-rotate",
    ),
]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MountSettings(_Part):
    """The KV v2 mount."""

    path: Annotated[str, written(r"[a-z0-9][-a-z0-9/]*[a-z0-9]", "a path; write it as in regcred")] = (
        "regcred"
    )


class TokenSettings(_Part):
    """The tokens of clusters and Lambdas."""

    ttl_seconds: int = Field(default=1200, ge=60, le=86400)


class Quotas(_Part):
    """Rate limits per client, in requests per second."""

    requests_per_second: int = Field(default=2000, ge=1)
    sign_ins_per_second: int = Field(default=100, ge=1)


class _Keys(_Part):
    """Where the keys come from that JWTs are checked with: given, or fetched from the issuer."""

    public_keys: list[_Pem] = []
    """PEM; old and new while they are rotated."""
    jwks_url: str = ""
    """Where Vault fetches them itself, if it can reach the issuer."""
    jwks_ca_pem: str = ""
    """The authority of that address, if it is a private one."""

    @model_validator(mode="after")
    def _one_source_of_keys(self) -> Self:
        if bool(self.public_keys) == bool(self.jwks_url):
            raise ValueError("set either public_keys or jwks_url")
        return self


class ClusterTrust(_Keys):
    """Whom to take for the sync of a cluster: a ServiceAccount, by tokens that the cluster's API server signs.

    The keys are those of the API server for service accounts; behind NAT they are given, not fetched.
    """

    namespace: str = "regcred-system"
    service_account: str = "regcred-sync"
    console_service_account: str = ""
    """The ServiceAccount of the console in the same namespace, where it runs in this cluster: regcred-console."""
    audience: str = "vault"
    issuer: str = ""
    """The API server's ``--service-account-issuer``, to be checked too; usually the same in all clusters."""

    @property
    def subject(self) -> str:
        """The subject of the ServiceAccount's tokens."""
        return f"system:serviceaccount:{self.namespace}:{self.service_account}"

    @property
    def console_subject(self) -> str:
        """The subject of the console's tokens; empty where it does not run in this cluster."""
        if not self.console_service_account:
            return ""
        return f"system:serviceaccount:{self.namespace}:{self.console_service_account}"


class LambdaTrust(_Keys):
    """Whom to take for dispatch and for rotate, by JWTs of AWS STS GetWebIdentityToken; the subject is the role's ARN."""

    issuer: str
    audience: str
    dispatch: list[_RoleArn] = Field(min_length=1)
    rotate: list[_RoleArn] = Field(min_length=1)
    console: list[_RoleArn] = []
    """Empty where the console does not run on Lambda."""


class LambdaIamTrust(_Part):
    """Whom to take for dispatch and for rotate, by signed GetCallerIdentity requests (HashiCorp Vault only)."""

    server_id: str
    """What the Lambdas must send as X-Vault-AWS-IAM-Server-ID."""
    dispatch: list[_RoleArn] = Field(min_length=1)
    rotate: list[_RoleArn] = Field(min_length=1)
    console: list[_RoleArn] = []
    """Empty where the console does not run on Lambda."""
    sts_endpoint: str = ""
    sts_region: str = ""
    iam_endpoint: str = ""
    resolve_unique_ids: bool = True
    """Whether Vault looks up the roles' ids by its own AWS identity, so that a role made anew is another one."""


class Declaration(_Part):
    """``platform.yaml``."""

    mount: MountSettings = MountSettings()
    tokens: TokenSettings = TokenSettings()
    quotas: Quotas = Quotas()
    clusters: dict[Label, ClusterTrust] = {}
    lambda_jwt: LambdaTrust | None = None
    lambda_iam: LambdaIamTrust | None = None


@dataclass(frozen=True, slots=True)
class Platform:
    """A declaration and the texts of its policies."""

    declaration: Declaration
    policies: Mapping[str, str] = field(repr=False)
    """By file name without ``.hcl``."""

    def policy(self, name: str, *, project: str = "") -> str:
        """A policy's HCL with the mount and the project filled in."""
        return Template(self.policies[name]).substitute(mount=self.declaration.mount.path, project=project)

    def with_declaration(self, **changes: object) -> Platform:
        """A copy with other parts in the declaration."""
        return Platform(self.declaration.model_copy(update=changes), self.policies)


def default_directory() -> Path:
    """Where the declaration that comes with Regcred lies: in the package, or beside it in a checkout."""
    package = Path(__file__).parent
    shipped = package / "files"
    return shipped if shipped.is_dir() else package.parents[5] / "infra" / "vault"


def load(directory: Path) -> Platform:
    """Read a declaration and its policies.

    Args:
        directory: A folder with ``platform.yaml`` and ``policies/*.hcl``.

    Raises:
        MissingError: a file is missing; names it.
        MalformedError: names the file and the field.
    """
    import yaml  # noqa: PLC0415 - only the command line has it

    path = directory / "platform.yaml"
    try:
        content = yaml.safe_load(_text(path)) or {}
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, KeyError, RecursionError):
        # All but the first are what PyYAML's constructors do where a tag does not fit its value, or nothing ends.
        raise MalformedError(f"{path}: is not YAML", field="platform.yaml") from None
    try:
        declaration = Declaration.model_validate(content)
    except ValidationError as error:
        raise malformed(error, where=str(path)) from None
    names = (*POLICIES, *PROJECT_POLICIES)
    return Platform(declaration, {name: _policy(directory / "policies" / f"{name}.hcl") for name in names})


def _policy(path: Path) -> str:
    """A policy's text. What it leaves to fill in is checked here, before anything is written."""
    text = _text(path)
    template = Template(text)
    known = {"mount", "project"} if path.stem in PROJECT_POLICIES else {"mount"}
    strange = sorted(set(template.get_identifiers()) - known) if template.is_valid() else ["…"]
    if strange:
        raise MalformedError(
            f"{path}: ${{{strange[0]}}} can't be filled in; write {' or '.join(f'${{{name}}}' for name in sorted(known))},"
            " and $$ for a dollar sign",
            field=path.name,
        )
    return text


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        raise MissingError(
            f"{path} can't be read; give the folder that holds platform.yaml and policies/"
        ) from None
    except UnicodeDecodeError:
        raise MalformedError(f"{path}: is no text in UTF-8", field=path.name) from None
