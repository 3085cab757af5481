"""Azure Container Registry: keyless by the identity token of the project's role, or by a repository token.

Contracts: https://learn.microsoft.com/azure/container-registry/container-registry-authentication and the
registry's own token exchange (github.com/Azure/acr, docs/AAD-OAuth.md). If the definition names each
repository, the password is a pull token for exactly these. It can't push, whatever the identity may do.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from shlex import quote
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, SecretStr, model_validator

from regcred.credential import Credential, Login, earliest
from regcred.errors import MalformedError, RefusedError, TransientError
from regcred.registry import causes, challenges, limits, transport
from regcred.registry.definition import BaseDefinition, NonEmpty, matching, require
from regcred.registry.interface import IssuedCredential, MintContext, Revoked
from regcred.registry.optional_packages import needed
from regcred.registry.token_expiry import jwt_expiry
from regcred.registry.trust import SUBJECT_NOTE, ProjectRole, document
from regcred.registry.upstream_secret import described, logins

TOKEN_USER = "00000000-0000-0000-0000-000000000000"  # noqa: S105 - a user's name
ASSERTION_LIFETIME = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Cloud:
    """One of Azure's clouds: the address of Entra, the audience that it accepts, and the scope of a token.

    Sources: https://learn.microsoft.com/entra/workload-id/workload-identity-federation-create-trust
    (audiences), https://learn.microsoft.com/azure/container-registry/container-registry-authentication, and
    the Azure SDKs' own list of clouds.
    """

    authority: str
    audience: str
    scope: str


CLOUDS = {
    "azurecr.io": Cloud(
        "https://login.microsoftonline.com",
        "api://AzureADTokenExchange",
        "https://containerregistry.azure.net/.default",
    ),
    "azurecr.us": Cloud(
        "https://login.microsoftonline.us",
        "api://AzureADTokenExchangeUSGov",
        "https://management.usgovcloudapi.net/.default",
    ),
    "azurecr.cn": Cloud(
        "https://login.chinacloudapi.cn",
        "api://AzureADTokenExchangeChina",
        "https://management.chinacloudapi.cn/.default",
    ),
}
"""Azure's clouds, by the domain of their login servers."""

_HOST = re.compile(r"([a-z0-9]{5,50})(?:-[a-z0-9]+)?(\.[a-z0-9]+\.geo)?\.(azurecr\.(?:io|cn|us))")
"""A login server (whose name may contain a hash), or a regional endpoint
(https://learn.microsoft.com/azure/container-registry/container-registry-geo-replication)."""
_GUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_ENTRA_CODE = re.compile(r"AADSTS\d{1,10}")


Guid = Annotated[str, matching(_GUID, "a GUID in lower case, as in 00000000-1111-2222-3333-444444444444")]


class AcrDefinition(BaseDefinition):
    """One or several registries of one tenant."""

    summary: ClassVar[str] = (
        "Azure Container Registry: keyless with the project's role, or with a repository token"
    )

    provider: Literal["acr"]

    hosts: Annotated[
        tuple[
            Annotated[
                str,
                matching(
                    _HOST.pattern,
                    "a registry of Azure; write its login server, as in example.azurecr.io, or a regional "
                    "endpoint, as in example.eastus.geo.azurecr.io",
                ),
            ],
            ...,
        ],
        NonEmpty,
    ] = Field(description="The login servers, as in [example.azurecr.io].")

    auth: Literal["federated", "token"] = Field(
        default="federated",
        description=(
            "'federated': keyless, by an Entra application that trusts the project's role. 'token': a "
            "repository token."
        ),
    )

    tenant_id: Guid = Field(default="", description="The Entra tenant.")

    client_id: Guid = Field(
        default="",
        description=(
            "The Entra application or managed identity that has the role AcrPull (on registries with "
            "repository permissions by ABAC: Container Registry Repository Reader)."
        ),
    )

    @model_validator(mode="after")
    def _complete(self) -> AcrDefinition:
        if self.auth == "federated":
            require(self, "tenant_id", "client_id", by="auth: federated")
            if len({_cloud(host) for host in self.hosts}) > 1:
                raise ValueError("hosts: belong to different Azure clouds; define one registry for each")
        return self

    def cloud(self) -> Cloud:
        """The Azure cloud of the registries."""
        return _cloud(self.hosts[0])

    def accounts(self) -> tuple[str, ...]:
        """The Entra tenant."""
        return (self.tenant_id,) if self.tenant_id else ()

    def trust(self, role: ProjectRole) -> str:
        """The application's federated credential, and its role on each registry."""
        if self.auth == "token":
            return ""
        federated = "\n".join(
            f"az ad app federated-credential create --id {self.client_id} --parameters "
            + quote(
                document(
                    {
                        "name": f"regcred-{role.project}" + (f"-{number}" if number > 1 else ""),
                        "issuer": role.issuer_or_name,
                        "subject": subject,
                        "audiences": [self.cloud().audience],
                    }
                )
            )
            for number, subject in enumerate(role.subjects, 1)
        )
        roles = "\n".join(
            f"az role assignment create --assignee {self.client_id} --role AcrPull "
            f"--scope $(az acr show --name {name} --query id --output tsv)"
            for name in dict.fromkeys(map(_name, self.hosts))
        )
        narrow = (
            "# With a prefix, it must be that role, with a condition on the repositories' names.\n"
            "# AcrPull reaches the whole registry, which is refused as wider than requested. Or name each "
            "repository.\n"
            if self.repositories and not self.names_each_repository()
            else ""
        )
        return f"""{federated}
{roles}
# On a registry with repository permissions by ABAC: the role "Container Registry Repository Reader" instead.
{narrow}{SUBJECT_NOTE}{role.identity_note(self.cloud().audience)}"""

    def typed_hosts(self) -> tuple[str, ...]:
        """The login servers, because they receive the Entra token."""
        return self.hosts

    def upstream_fields(self) -> dict[str, str]:
        """A repository token's name and password, and a second one while the first is replaced."""
        return described("the token's name", "its password1 or password2") if self.auth == "token" else {}

    def names_each_repository(self) -> bool:
        """Whether the definition names single repositories only, as a pull token requires."""
        return bool(self.repositories) and not any(scope.endswith("/") for scope in self.repositories)


class AcrProvider:
    """Mints one login per registry."""

    name = "acr"
    model = AcrDefinition

    def mint(self, definition: AcrDefinition, context: MintContext) -> Credential:
        """Exchange the project's identity; see :class:`regcred.registry.interface.Provider`."""
        if definition.auth == "token":
            found = tuple(
                login for host in definition.hosts for login in logins(context, definition.keys([host]))
            )
            return Credential(provider=self.name, logins=found, issued_at=context.now())
        entra = _entra_token(definition, context)
        minted = [_registry_token(definition, host, entra) for host in definition.hosts]
        return Credential(
            provider=self.name,
            logins=tuple(login for login, _ in minted),
            issued_at=context.now(),
            expires_at=earliest(expires_at for _, expires_at in minted),
        )

    def revoke(self, definition: AcrDefinition, issued: IssuedCredential, context: MintContext) -> Revoked:
        """Do nothing: Azure can't revoke a registry's token. An owner regenerates a token's password."""
        return Revoked.UNSUPPORTED


def _cloud(host: str) -> Cloud:
    return CLOUDS[".".join(host.rsplit(".", 2)[-2:])]


def _name(host: str) -> str:
    """The registry's own name in Azure's tools."""
    match = _HOST.fullmatch(host)
    return match[1] if match else host


def _entra_token(definition: AcrDefinition, context: MintContext) -> SecretStr:
    """An Entra access token of the application, in exchange for the project's signed identity."""
    with needed("azure-identity", extra="azure"):
        from azure.core.exceptions import AzureError, ClientAuthenticationError
        from azure.core.pipeline.transport import RequestsTransport
        from azure.identity import ClientAssertionCredential

    what = f"Entra: getting a token for {definition.client_id}"
    cloud = definition.cloud()
    remedy = (
        "give the application a federated credential for this project's role with audience "
        f"{cloud.audience}, and check tenant_id and client_id"
    )

    def assertion() -> str:
        return context.identity.web_identity_token(cloud.audience, ASSERTION_LIFETIME).get_secret_value()

    try:
        with (
            limits.one_call() as budget,
            ClientAssertionCredential(
                definition.tenant_id,
                definition.client_id,
                assertion,
                authority=cloud.authority,
                disable_instance_discovery=True,
                retry_total=0,  # rotate retries; the client would sleep for all of Retry-After
                transport=RequestsTransport(session=transport.session(), session_owner=False),
                connection_timeout=transport.CONNECT_SECONDS,
                read_timeout=transport.READ_SECONDS,
            ) as credential,
        ):
            return SecretStr(credential.get_token(cloud.scope).token)
    except ClientAuthenticationError as error:
        raise _entra_refusal(error, what, remedy) from None
    except AzureError as error:
        cause = causes.unreachable("Entra", error, late=not budget.seconds, seconds=budget.allowed)
        raise TransientError(f"{what}: {cause}") from None
    except (AttributeError, KeyError, TypeError, ValueError):
        raise MalformedError(f"{what}: the response is not a token; check the tenant and the proxy") from None


def _entra_refusal(error: Any, what: str, remedy: str) -> Exception:
    """The typed error for a refusal. It has Entra's code, but not its text, which may repeat the request."""
    status = getattr(error.response, "status_code", 0) or 0
    code = _ENTRA_CODE.search(str(error))
    failure = f"{what} failed with {code[0] if code else status or 'a refusal'}"
    if transport.is_transient_status(status):
        return TransientError(f"{failure}; it will be retried")
    return RefusedError(f"{failure}; {remedy}")


def _registry_token(definition: AcrDefinition, host: str, entra: SecretStr) -> tuple[Login, datetime]:
    """A pull token if the definition names each repository, or else the registry's refresh token."""
    what = f"{host}: exchanging the token"
    service = _service(host)
    remedy = f"give {definition.client_id} the role AcrPull on {host}"
    token = _exchanged(
        host,
        "exchange",
        [
            ("grant_type", "access_token"),
            ("service", service),
            ("tenant", definition.tenant_id),
            ("access_token", entra.get_secret_value()),
        ],
        "refresh_token",
        what=what,
        remedy=remedy,
    )
    if definition.names_each_repository():
        scopes = [("scope", f"repository:{repository}:pull") for repository in definition.repositories]
        token = _exchanged(
            host,
            "token",
            [
                ("grant_type", "refresh_token"),
                ("service", service),
                *scopes,
                ("refresh_token", token.get_secret_value()),
            ],
            "access_token",
            what=what,
            remedy=remedy,
        )
    return Login(TOKEN_USER, token, definition.keys([host])), jwt_expiry(token, what=what)


def _service(host: str) -> str:
    """The registry's name at its token service: the login server.

    For a regional endpoint, the registry's challenge contains the name.
    """
    if ".geo." not in host:
        return host
    answer = transport.send("GET", f"{transport.origin(host)}/v2/")
    found = challenges.parse(answer.headers.get("WWW-Authenticate", ""))
    return next((item.service for item in found if item.scheme == "bearer" and item.service), host)


def _exchanged(
    host: str, endpoint: str, form: list[tuple[str, str]], field: str, *, what: str, remedy: str
) -> SecretStr:
    answer = transport.send("POST", f"{transport.origin(host)}/oauth2/{endpoint}", form=form)
    fields = transport.expect(answer, what=what, remedy=remedy).fields(what=what)
    return SecretStr(transport.text_field(fields, field, what=what))
