"""GitHub Container Registry: a machine user's classic token, or a GitHub App's token if it can pull.

Contracts: https://docs.github.com/packages/working-with-a-github-packages-registry and
https://docs.github.com/rest/apps/apps (installation access tokens). An App's token can sign in, but
two public reports of 2026 say that it can't pull private images (akuity/kargo#2391). So a definition with an
App must name a probe image that proves it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from http import HTTPStatus
from typing import ClassVar, Literal

from pydantic import Field, SecretStr, model_validator

from regcred.credential import Credential, Login
from regcred.errors import MalformedError
from regcred.registry import transport
from regcred.registry.definition import BaseDefinition, Digits, Host, require
from regcred.registry.interface import IssuedCredential, MintContext, Revoked
from regcred.registry.optional_packages import needed
from regcred.registry.token_expiry import at_time
from regcred.registry.transport import Answer, Bearer
from regcred.registry.upstream_secret import described, field_of, logins

GITHUB = "github.com"
_DATA_RESIDENCY = ".ghe.com"
_HEADERS = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
APP_USERNAME = "x-access-token"
PRIVATE_KEY = "private_key"
BACKDATED = timedelta(seconds=60)
"""How far the JWT is backdated, as GitHub advises in case our clock is fast."""
APP_JWT_LIFETIME = timedelta(minutes=9)
"""The lifetime of the App's JWT. GitHub accepts at most ten minutes."""


class GhcrDefinition(BaseDefinition):
    """Images of GitHub users and organisations."""

    summary: ClassVar[str] = (
        "GitHub Container Registry: a machine user's classic token, or a GitHub App's token"
    )

    provider: Literal["ghcr"]

    auth: Literal["token", "app"] = Field(
        default="token",
        description=(
            "'token': a machine user's classic token with read:packages. 'app': a GitHub App's short-lived "
            "token, which works only if the probe image proves that it can pull."
        ),
    )

    server: Host = Field(
        default=GITHUB,
        description=(
            "The GitHub server: 'github.com', your GitHub Enterprise Server (with subdomain isolation), or "
            "SUBDOMAIN.ghe.com."
        ),
    )

    app_id: Digits = Field(default="", description="The GitHub App's ID, for 'auth: app'.")

    installation_id: Digits = Field(
        default="", description="The ID of the app's installation in the organisation, for 'auth: app'."
    )

    @model_validator(mode="after")
    def _complete(self) -> GhcrDefinition:
        if self.auth == "app":
            require(self, "app_id", "installation_id", "probe", by="auth: app")
        return self

    def typed_hosts(self) -> tuple[str, ...]:
        """GitHub's registry, which many projects share. A project may be limited to some of its paths."""
        return (self.host(),) if self.server == GITHUB else (self.host(), self.server)

    def host(self) -> str:
        """The registry's host in image names.

        Source:
        https://docs.github.com/packages/working-with-a-github-packages-registry/working-with-the-container-registry,
        in its versions for GitHub Enterprise Server and for GHE.com.
        """
        return "ghcr.io" if self.server == GITHUB else f"containers.{self.server}"

    def api(self) -> str:
        """The address of GitHub's REST API.

        Contract: https://docs.github.com/rest/using-the-rest-api/getting-started-with-the-rest-api
        """
        if not self.is_enterprise_server():
            return f"https://api.{self.server}"
        return f"{transport.origin(self.server)}/api/v3"

    def is_enterprise_server(self) -> bool:
        """Whether the server is self-hosted, and not GitHub's."""
        return self.server != GITHUB and not self.server.endswith(_DATA_RESIDENCY)

    def upstream_fields(self) -> dict[str, str]:
        """The machine user's login, or the App's key."""
        if self.auth == "app":
            return {PRIVATE_KEY: "the App's private key (PEM), whole"}
        return described("the machine user's name", "its classic token with read:packages alone")


class GhcrProvider:
    """Returns the token, or creates one of the App."""

    name = "ghcr"
    model = GhcrDefinition

    def mint(self, definition: GhcrDefinition, context: MintContext) -> Credential:
        """See :class:`regcred.registry.interface.Provider`."""
        keys = definition.keys([definition.host()])
        if definition.auth == "token":
            return Credential(provider=self.name, logins=logins(context, keys), issued_at=context.now())
        what = "GitHub: creating a token of the App"
        answer = _create_app_token(definition, context, context.now())
        github_time = transport.server_time(answer)
        # A 401 may mean that our clock is wrong, so retry once with GitHub's time.
        if answer.status == HTTPStatus.UNAUTHORIZED and github_time is not None:
            answer = _create_app_token(definition, context, github_time)
        remedy = "check app_id, installation_id, the private key, and that the App may read packages"
        fields = transport.expect(answer, what=what, remedy=remedy, ok=(201,)).fields(what=what)
        token = SecretStr(transport.text_field(fields, "token", what=what))
        return Credential(
            provider=self.name,
            logins=(Login(APP_USERNAME, token, keys),),
            issued_at=context.now(),
            expires_at=at_time(fields, "expires_at", what=what),
        )

    def revoke(self, definition: GhcrDefinition, issued: IssuedCredential, context: MintContext) -> Revoked:
        """Revoke the token. A caller needs only the token itself.

        Contracts: https://docs.github.com/rest/apps/installations (DELETE /installation/token) and
        https://docs.github.com/rest/credentials/revoke. github.com refuses the latter with an Authorization
        header (403). GitHub Enterprise Server has this endpoint from 3.19, and requires the header
        (https://docs.github.com/enterprise-server@3.19/rest/credentials/revoke).
        """
        if issued.password is None:
            return Revoked.UNSUPPORTED
        what = f"{definition.server}: revoking a token"
        if definition.auth == "app":
            answer = transport.send(
                "DELETE",
                f"{definition.api()}/installation/token",
                auth=Bearer(issued.password),
                headers=_HEADERS,
            )
            # 401: the token no longer exists.
            transport.expect(answer, what=what, remedy="wait until it expires", ok=(204, 401))
            return Revoked.YES
        answer = _revoke_token(definition, issued.password)
        if (
            answer.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
            and definition.is_enterprise_server()
        ):
            answer = _revoke_token(definition, issued.password, auth=Bearer(issued.password))
        if answer.status == HTTPStatus.NOT_FOUND:
            return Revoked.UNSUPPORTED
        transport.expect(answer, what=what, remedy="delete it in the machine user's settings", ok=(202,))
        return Revoked.YES


def _revoke_token(definition: GhcrDefinition, token: SecretStr, *, auth: Bearer | None = None) -> Answer:
    return transport.send(
        "POST",
        f"{definition.api()}/credentials/revoke",
        auth=auth,
        headers=_HEADERS,
        document={"credentials": [token.get_secret_value()]},
    )


def _create_app_token(definition: GhcrDefinition, context: MintContext, now: datetime) -> Answer:
    return transport.send(
        "POST",
        f"{definition.api()}/app/installations/{definition.installation_id}/access_tokens",
        auth=Bearer(_app_jwt(definition, context, now)),
        headers=_HEADERS,
        document={"permissions": {"packages": "read"}},
    )


def _app_jwt(definition: GhcrDefinition, context: MintContext, now: datetime) -> SecretStr:
    with needed("PyJWT", extra="github", field="auth"):
        import jwt
    payload = {"iat": now - BACKDATED, "exp": now + APP_JWT_LIFETIME, "iss": definition.app_id}
    key = field_of(context, PRIVATE_KEY, document=True).get_secret_value()
    try:
        return SecretStr(jwt.encode(payload, key, algorithm="RS256"))
    except (ValueError, TypeError, jwt.PyJWTError):
        raise MalformedError(
            "the upstream secret's field 'private_key' is not an RSA key in PEM; paste the App's key file "
            "whole",
            field=PRIVATE_KEY,
        ) from None
