"""DigitalOcean Container Registry: read-only credentials with an expiry, created with an API token.

Contract: ``GET /v2/registries/{name}/docker-credentials``
(https://docs.digitalocean.com/reference/api/reference/container-registries/). The response names the host,
but no expiry, so the requested lifetime counts. A credential is an API token of the account, with which the
registry allows only reads (https://docs.digitalocean.com/reference/doctl/reference/registry/docker-config/).
Its holder can also try it at the API.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from datetime import timedelta
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, SecretStr, model_validator

from regcred.credential import Credential, Login
from regcred.errors import MalformedError
from regcred.registry import transport
from regcred.registry.definition import BaseDefinition, matching, require_inside
from regcred.registry.interface import IssuedCredential, MintContext, Revoked
from regcred.registry.transport import Bearer
from regcred.registry.upstream_secret import field_of

API = "https://api.digitalocean.com/v2"
REVOKE = "https://cloud.digitalocean.com/v1/oauth/revoke"
_HOST = re.compile(r"[a-z0-9.-]+\.digitalocean\.com")


class DigitalOceanDefinition(BaseDefinition):
    """One registry of DigitalOcean."""

    summary: ClassVar[str] = (
        "DigitalOcean Container Registry: read-only credentials with an expiry, created with an API token"
    )

    provider: Literal["digitalocean"]

    registry: Annotated[
        str,
        matching(
            r"[a-z0-9][a-z0-9-]{0,62}", "a registry of DigitalOcean: lower-case letters, digits and '-'"
        ),
    ] = Field(description="The registry's name. It is the first part of the path in image names.")
    """The API's description allows ``^[a-z0-9-]{1,63}$``. The page about limits requires a letter at the
    start of a new name (https://docs.digitalocean.com/products/container-registry/details/limits). An image
    name can't contain a ``-`` at the start."""

    lifetime_seconds: int = Field(
        default=43200,
        ge=600,
        le=2592000,
        description=(
            "The lifetime of a credential in seconds. A credential is an API token of the account that "
            "created it, so keep this short."
        ),
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        require_inside(self, f"{self.registry}/", by="registry")
        return self

    def typed_hosts(self) -> tuple[str, ...]:
        """The host that all registries share. A project may be limited to some of its paths."""
        return ("registry.digitalocean.com",)

    def upstream_fields(self) -> dict[str, str]:
        """The API token that creates credentials.

        Source of the scopes: DigitalOcean's OpenAPI description of the operation.
        """
        return {"token": "an API token with the scopes registry:read and registry:update, and no other"}

    def scopes(self) -> tuple[str, ...]:
        """The named repositories, or the whole registry, because all registries share one host."""
        return self.repositories or (f"{self.registry}/",)

    def realms(self) -> tuple[str, ...]:
        """The API's host, which is the registry's token service."""
        return ("api.digitalocean.com",)


class DigitalOceanProvider:
    """Mints a read-only login."""

    name = "digitalocean"
    model = DigitalOceanDefinition

    def mint(self, definition: DigitalOceanDefinition, context: MintContext) -> Credential:
        """Fetch a login; see :class:`regcred.registry.interface.Provider`."""
        what = f"DigitalOcean: creating credentials for {definition.registry}"
        issued_at = context.now()
        answer = transport.send(
            "GET",
            f"{API}/registries/{definition.registry}/docker-credentials",
            auth=Bearer(field_of(context, "token")),
            query=(("expiry_seconds", str(definition.lifetime_seconds)), ("read_write", "false")),
        )
        remedy = (
            "check 'registry', and that the upstream secret's token has the scopes registry:read and "
            "registry:update"
        )
        fields = transport.expect(answer, what=what, remedy=remedy).fields(what=what)
        return Credential(
            provider=self.name,
            logins=_logins(definition, fields, what=what),
            issued_at=issued_at,
            expires_at=issued_at + timedelta(seconds=definition.lifetime_seconds),
        )

    def revoke(
        self, definition: DigitalOceanDefinition, issued: IssuedCredential, context: MintContext
    ) -> Revoked:
        """Revoke the token with itself, as `doctl registry logout` does.

        Source: github.com/digitalocean/doctl, do/registry.go (``RevokeOAuthToken``) and commands/registry.go
        (the address).
        """
        if issued.password is None:
            return Revoked.UNSUPPORTED
        answer = transport.send(
            "POST",
            REVOKE,
            auth=Bearer(issued.password),
            form=[("token", issued.password.get_secret_value())],
        )
        what = "DigitalOcean: revoking a credential"
        # 401: the token no longer exists.
        transport.expect(answer, what=what, remedy="delete it in the control panel", ok=(200, 204, 401))
        return Revoked.YES


def _logins(definition: DigitalOceanDefinition, fields: dict[str, Any], *, what: str) -> tuple[Login, ...]:
    """One login for each host in a Docker configuration."""
    try:
        found = []
        for host, entry in fields["auths"].items():
            username, password = b64decode(entry["auth"], validate=True).decode().split(":", 1)
            if not _HOST.fullmatch(host):
                raise ValueError(host)
            found.append(Login(username, SecretStr(password), definition.keys([host])))
    except (AttributeError, KeyError, TypeError, ValueError, binascii.Error):
        raise MalformedError(f"{what}: the response has no usable 'auths'", field="auths") from None
    if not found:
        raise MalformedError(f"{what}: the response has empty 'auths'", field="auths")
    return tuple(found)
