"""Google Artifact Registry and gcr.io: workload identity federation from the project's AWS role, or a key.

Contracts: https://docs.cloud.google.com/iam/docs/workload-identity-federation-with-other-clouds (AWS),
``projects.serviceAccounts.generateAccessToken``, and
https://docs.cloud.google.com/artifact-registry/docs/docker/authentication. An access token can't be limited
to repositories (credential access boundaries support only Cloud Storage), so give the service account only
read access.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, SecretStr, model_validator

from regcred.credential import Credential, Login
from regcred.errors import MalformedError
from regcred.registry import limits, transport
from regcred.registry.definition import BaseDefinition, NonEmpty, matching, require
from regcred.registry.interface import Identity, IssuedCredential, MintContext, Revoked
from regcred.registry.optional_packages import needed
from regcred.registry.transport import Answer
from regcred.registry.trust import ProjectRole
from regcred.registry.upstream_secret import JSON_KEY, SECOND, field_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from google.auth.aws import Credentials

USERNAME = "oauth2accesstoken"
KEY_USERNAME = "_json_key"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
LIFETIME_MAX = 43200
"""12 hours, if the organisation policy allows more than one hour."""

AWS_REGION = "us-east-1"
"""The region of the STS in the signed GetCallerIdentity. Any commercial region works."""

_HOST = r"[a-z0-9-]+-docker\.pkg\.dev|(?:[a-z]{2,4}\.)?gcr\.io"
_PROVIDER = r"projects/\d+/locations/global/workloadIdentityPools/[a-z0-9-]{4,32}/providers/[a-z0-9-]{4,32}"
_SERVICE_ACCOUNT = re.compile(
    r"[a-z][a-z0-9-]{4,28}[a-z0-9]@([a-z][a-z0-9-]{4,28}[a-z0-9])((?:\.[a-z0-9][a-z0-9-]{0,62}){0,4})\.iam\.gserviceaccount\.com"
)
"""Source of the account's ID: https://docs.cloud.google.com/iam/docs/reference/rest/v1/projects.serviceAccounts/create.
The ID of a project that belongs to a domain (``example.com:project``) is ``project.example.com`` here
(github.com/hashicorp/terraform-provider-google, verify/validation.go, ``CreatedServiceAccountNameRegex``)."""


class GarDefinition(BaseDefinition):
    """Hosts of Google that one service account or role can read."""

    summary: ClassVar[str] = (
        "Google Artifact Registry and gcr.io: keyless with the project's AWS role, or with a service "
        "account key"
    )

    provider: Literal["gar"]

    hosts: Annotated[
        tuple[
            Annotated[
                str, matching(_HOST, "a host of Google; write LOCATION-docker.pkg.dev, gcr.io or eu.gcr.io")
            ],
            ...,
        ],
        NonEmpty,
    ] = Field(description="The hosts to pull from, as in [europe-west1-docker.pkg.dev, gcr.io].")

    auth: Literal["federated", "key"] = Field(
        default="federated",
        description=(
            "'federated': keyless, with the project's AWS role. 'key': a long-lived JSON key of the service "
            "account."
        ),
    )

    workload_identity_provider: Annotated[
        str,
        matching(
            _PROVIDER,
            "a workload identity provider; write "
            "projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER",
        ),
    ] = Field(default="", description="The full name of the provider for AWS in the workload identity pool.")

    service_account: Annotated[
        str,
        matching(_SERVICE_ACCOUNT.pattern, "a service account; write NAME@PROJECT.iam.gserviceaccount.com"),
    ] = Field(
        default="",
        description=(
            "The service account to impersonate. Give it read access only. Empty: the project's AWS role "
            "reads directly (https://docs.cloud.google.com/iam/docs/federated-identity-supported-services), "
            "and Google sets the token's lifetime."
        ),
    )

    lifetime_seconds: int = Field(
        default=3600,
        ge=600,
        le=LIFETIME_MAX,
        description=(
            "The lifetime of a token in seconds. Above 3600, the organisation policy "
            "iam.allowServiceAccountCredentialLifetimeExtension must name the service account."
        ),
    )

    @model_validator(mode="after")
    def _complete(self) -> GarDefinition:
        if self.auth == "federated":
            require(self, "workload_identity_provider", by="auth: federated")
            if not self.service_account and "lifetime_seconds" in self.model_fields_set:
                raise ValueError(
                    "lifetime_seconds: needs 'service_account'; Google sets the lifetime of other tokens"
                )
        return self

    def accounts(self) -> tuple[str, ...]:
        """The project of the service account; without one, the number of the pool's project."""
        if match := _SERVICE_ACCOUNT.fullmatch(self.service_account):
            return (f"{match[2][1:]}:{match[1]}" if match[2] else match[1],)
        return (self.workload_identity_provider.split("/")[1],) if self.workload_identity_provider else ()

    def trust(self, role: ProjectRole) -> str:
        """The pool, its provider for the project's AWS account, and the role's binding."""
        if self.auth == "key":
            return ""
        _, number, _, _, _, pool, _, name = self.workload_identity_provider.split("/")
        project = self.accounts()[0]
        condition = f"attribute.aws_role == '{role.assumed_role_arn}'"
        member = f"principalSet://iam.googleapis.com/projects/{number}/locations/global/workloadIdentityPools/{pool}/attribute.aws_role/{role.assumed_role_arn}"
        reader = f"serviceAccount:{self.service_account}" if self.service_account else member
        return f"""# In Google's default mapping for AWS, attribute.aws_role is the assumed role.
gcloud iam workload-identity-pools create {pool} --project={number} --location=global
gcloud iam workload-identity-pools providers create-aws {name} --project={number} --location=global \\
  --workload-identity-pool={pool} --account-id={role.account} \\
  --attribute-condition="{condition}"
gcloud services enable sts.googleapis.com --project={project}
{self._impersonation(member, project)}# Repeat for each repository:
gcloud artifacts repositories add-iam-policy-binding REPOSITORY --location=LOCATION --project={project} \\
  --role=roles/artifactregistry.reader --member="{reader}"
"""

    def _impersonation(self, member: str, project: str) -> str:
        """The commands that let the AWS role act as the service account."""
        if not self.service_account:
            return ""
        return f"""gcloud services enable iamcredentials.googleapis.com --project={project}
gcloud iam service-accounts add-iam-policy-binding {self.service_account} --project={project} \\
  --role=roles/iam.workloadIdentityUser \\
  --member="{member}"
"""

    def typed_hosts(self) -> tuple[str, ...]:
        """The hosts if a key is used, because then no identity ties the login to the project."""
        return self.hosts if self.auth == "key" else ()

    def upstream_fields(self) -> dict[str, str]:
        """The JSON key, if one is used."""
        return {JSON_KEY: "the service account's JSON key, whole"} if self.auth == "key" else {}


class GarProvider:
    """Mints one access token for all hosts."""

    name = "gar"
    model = GarDefinition

    def mint(self, definition: GarDefinition, context: MintContext) -> Credential:
        """Fetch an access token, or return the key; see :class:`regcred.registry.interface.Provider`."""
        keys = definition.keys(definition.hosts)
        if definition.auth == "key":
            names = [
                name
                for name in (JSON_KEY, f"{JSON_KEY}{SECOND}")
                if name == JSON_KEY or name in context.upstream
            ]
            logins = tuple(Login(KEY_USERNAME, _one_line(context, name), keys) for name in names)
            return Credential(provider=self.name, logins=logins, issued_at=context.now())
        token, expires_at = _access_token(definition, context.identity)
        return Credential(
            provider=self.name,
            logins=(Login(USERNAME, token, keys),),
            issued_at=context.now(),
            expires_at=expires_at.replace(tzinfo=UTC),
        )

    def revoke(self, definition: GarDefinition, issued: IssuedCredential, context: MintContext) -> Revoked:
        """Do nothing: Google can't revoke an access token of a service account. An owner deletes a key."""
        return Revoked.UNSUPPORTED


def _one_line(context: MintContext, name: str) -> SecretStr:
    """A JSON key without line ends, as Docker's configuration requires."""
    import json

    key = field_of(context, name, document=True).get_secret_value()
    try:
        return SecretStr(json.dumps(json.loads(key), separators=(",", ":")))
    except (ValueError, RecursionError):
        raise MalformedError(
            f"the upstream secret's field {name!r} is not JSON; paste the key file whole", field=name
        ) from None


def _access_token(definition: GarDefinition, identity: Identity) -> tuple[SecretStr, Any]:
    with needed("google-auth", extra="google"):
        from google.auth.exceptions import GoogleAuthError

    what = (
        f"Google: creating a token for {definition.service_account or definition.workload_identity_provider}"
    )
    request = _Recorder()
    credentials = _credentials(definition, identity)
    try:
        with limits.one_call():
            credentials.refresh(request)
        return SecretStr(str(credentials.token)), credentials.expiry
    except (GoogleAuthError, ValueError, TypeError, AttributeError, KeyError):
        # Raised again below, outside of this block, because these exceptions contain the vendor's whole
        # response.
        pass
    if request.last is not None:
        transport.expect(request.last, what=what, remedy=_remedy(request.last_url, definition))
    raise MalformedError(f"{what}: the response is not a token")


def _remedy(url: str, definition: GarDefinition) -> str:
    if "iamcredentials" in url:
        return (
            f"grant the project's AWS role roles/iam.workloadIdentityUser on {definition.service_account}, "
            "and enable iamcredentials.googleapis.com"
        )
    return f"check that {definition.workload_identity_provider} accepts the project's AWS role"


def _credentials(definition: GarDefinition, identity: Identity) -> Credentials:
    from google.auth import aws

    class Supplier(aws.AwsSecurityCredentialsSupplier):  # type: ignore[misc] # the package has no types
        def get_aws_security_credentials(self, context: Any, request: Any) -> Any:
            found = identity.aws()
            return aws.AwsSecurityCredentials(
                found.access_key_id,
                found.secret_access_key.get_secret_value(),
                found.session_token.get_secret_value(),
            )

        def get_aws_region(self, context: Any, request: Any) -> str:
            return AWS_REGION

    acting: dict[str, Any] = {}
    if definition.service_account:
        acting = {
            "service_account_impersonation_url": (
                "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/"
                f"{definition.service_account}:generateAccessToken"
            ),
            "service_account_impersonation_options": {"token_lifetime_seconds": definition.lifetime_seconds},
        }
    return aws.Credentials(
        audience=f"//iam.googleapis.com/{definition.workload_identity_provider}",
        subject_token_type="urn:ietf:params:aws:token-type:aws4_request",  # noqa: S106 - a type's name
        token_url="https://sts.googleapis.com/v1/token",  # noqa: S106 - an address
        aws_security_credentials_supplier=Supplier(),
        scopes=[SCOPE],
        **acting,
    )


class _Recorder:
    """Makes google-auth send through our transport.

    It keeps the last response, because the exceptions have no status.
    """

    def __init__(self) -> None:
        self.last: Answer | None = None
        self.last_url = ""

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        **_: Any,
    ) -> _Response:
        self.last, self.last_url = None, url
        text = body.decode() if isinstance(body, bytes) else body
        self.last = transport.send(method, url, headers=headers, text=SecretStr(text) if text else None)
        return _Response(self.last.status, self.last.headers, self.last.body)


@dataclass(frozen=True, slots=True)
class _Response:
    """The response type that google-auth expects (google.auth.transport.Response)."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    data: bytes = field(repr=False)
