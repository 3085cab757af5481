"""Docker Hub: organisation access tokens for named repositories, renewed A/B; or a static access token.

Contract: https://docs.docker.com/reference/api/hub/latest/ (auth/token, orgs/{name}/access-tokens) and
https://docs.docker.com/enterprise/security/access-tokens/. Public images need no credential; a login only lifts the
limit of pulls.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, model_validator

from regcred.credential import Credential
from regcred.registry import transport
from regcred.registry.definition import BaseDefinition, require, require_inside, written
from regcred.registry.interface import IssuedCredential, MintContext, Revoked
from regcred.registry.slots import Token, end_tokens, renew_token
from regcred.registry.tokens import at_time
from regcred.registry.transport import Bearer
from regcred.registry.upstream import described, field_of, logins

API = "https://hub.docker.com/v2"
HOSTS = ("docker.io", "index.docker.io", "registry-1.docker.io")
REPOSITORIES_MAX = 50
"""The most repositories that one token can name."""
PAGE = 100


class DockerHubDefinition(BaseDefinition):
    """An organisation's repositories, or whatever one static token reaches."""

    provider: Literal["dockerhub"]

    auth: Literal["organisation", "static"] = "organisation"
    """'organisation': short-lived tokens of an organisation (plans Team and Business). 'static': your own token."""

    organisation: Annotated[
        str, written(r"[a-z0-9]{2,30}", "an organisation of Docker Hub: lower-case letters and digits")
    ] = ""
    """The organisation whose tokens are made; it is also the user name of the login."""

    lifetime_days: int = Field(default=14, ge=2, le=365)
    """How long a token shall live, in days; it is renewed at half of that."""

    @model_validator(mode="after")
    def _complete(self) -> DockerHubDefinition:
        if self.auth == "static":
            return self
        require(self, "organisation", by="auth: organisation")
        if not self.repositories or any(scope.endswith("/") for scope in self.repositories):
            raise ValueError(
                "repositories: name each one, as in [team/app]; a token of an organisation takes no prefix"
            )
        if len(self.repositories) > REPOSITORIES_MAX:
            raise ValueError(
                f"repositories: are {len(self.repositories)}; one token takes {REPOSITORIES_MAX}"
            )
        require_inside(self, f"{self.organisation}/", by="organisation")
        return self

    def typed_hosts(self) -> tuple[str, ...]:
        """Docker Hub, which many projects share: its paths are allowed to a project, or all of it."""
        return HOSTS[:1]

    def upstream_fields(self) -> dict[str, str]:
        """Who may make tokens, or the static login."""
        if self.auth == "static":
            return described("the Docker Hub user name", "an access token with 'Repo Read-only'")
        return {
            "username": "the user name of an owner of the organisation",
            "password": "an access token of that owner, which may make tokens of the organisation",
        }


class DockerHubProvider:
    """Mints a token of the organisation."""

    name = "dockerhub"
    model = DockerHubDefinition

    def mint(self, definition: DockerHubDefinition, context: MintContext) -> Credential:
        """Renew the slot that is not in force; see :class:`regcred.registry.interface.Provider`."""
        keys = definition.keys(HOSTS)
        if definition.auth == "static":
            return Credential(provider=self.name, logins=logins(context, keys), issued_at=context.now())
        token = renew_token(_Organisation(definition, context), context)
        return token.credential(provider=self.name, keys=keys, issued_at=context.now())

    def revoke(
        self, definition: DockerHubDefinition, issued: IssuedCredential, context: MintContext
    ) -> Revoked:
        """Delete the token and the one before it; a static one is deleted by its owner."""
        if definition.auth == "static":
            return Revoked.UNSUPPORTED
        end_tokens(_Organisation(definition, context), issued.revocation_id, context)
        return Revoked.YES


class _Organisation:
    """The tokens of an organisation."""

    def __init__(self, definition: DockerHubDefinition, context: MintContext) -> None:
        self._definition = definition
        self._context = context
        self._url = f"{API}/orgs/{definition.organisation}/access-tokens"
        self._auth = self._sign_in()

    def _sign_in(self) -> Bearer:
        what = "Docker Hub, asked to sign in,"
        answer = transport.send(
            "POST",
            f"{API}/auth/token",
            document={
                "identifier": field_of(self._context, "username").get_secret_value(),
                "secret": field_of(self._context, "password").get_secret_value(),
            },
        )
        remedy = "check the upstream secret's username and password"
        fields = transport.expect(answer, what=what, remedy=remedy).fields(what=what)
        return Bearer(SecretStr(transport.text_field(fields, "access_token", what=what)))

    def tokens(self) -> Mapping[str, str]:
        """All tokens of the organisation, page by page."""
        found: dict[str, str] = {}
        for page in transport.pages("Docker Hub, listing tokens,"):
            query = (("page", str(page)), ("page_size", str(PAGE)))
            fields = self._call("GET", self._url, "listing tokens", query=query).fields(what="Docker Hub")
            found |= {
                str(item["id"]): str(item.get("label", "")) for item in transport.objects(fields, "results")
            }
            if not fields.get("next"):
                break
        return found

    def create(self, name: str) -> Token:
        """Create a token that pulls the named repositories."""
        what = "creating a token"
        expires_at = self._context.now() + timedelta(days=self._definition.lifetime_days)
        document = {
            "label": name,
            "description": f"Pulls of {self._context.reference}, renewed by Regcred",
            "resources": [
                {"type": "TYPE_REPO", "path": repository, "scopes": ["scope-image-pull"]}
                for repository in self._definition.repositories
            ],
            "expires_at": expires_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        fields = self._call("POST", self._url, what, ok=(201, 200), document=document).fields(
            what="Docker Hub"
        )
        return Token(
            id=transport.text_field(fields, "id", what="Docker Hub"),
            username=self._definition.organisation,
            secret=SecretStr(transport.text_field(fields, "token", what="Docker Hub")),
            expires_at=at_time(fields, "expires_at", what="Docker Hub"),
        )

    def remove(self, token_id: str) -> None:
        """Delete a token."""
        self._call("DELETE", f"{self._url}/{token_id}", "deleting a token", ok=(200, 202, 204, 404))

    def _call(
        self, method: str, url: str, action: str, *, ok: tuple[int, ...] = (200,), **more: Any
    ) -> transport.Answer:
        answer = transport.send(method, url, auth=self._auth, **more)
        remedy = (
            f"check that the upstream user owns {self._definition.organisation}, that its plan has organisation "
            "access tokens, and that their number is not used up"
        )
        return transport.expect(answer, what=f"Docker Hub, {action},", remedy=remedy, ok=ok)
