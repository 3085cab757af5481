"""Docker Hub: organisation access tokens for named repositories in two slots, or a static access token.

Contract: https://docs.docker.com/reference/api/hub/latest/ (auth/token, orgs/{name}/access-tokens, schema
``orgAccessTokenResource``) and https://docs.docker.com/security/access-tokens/organization-access-tokens/.
Public images need no credential; a login only raises the pull limit. Docker Hardened Images at dhi.io accept
the same login (https://docs.docker.com/dhi/how-to/use/).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, SecretStr, model_validator

from regcred.credential import Credential
from regcred.registry import transport
from regcred.registry.definition import BaseDefinition, matching, require, require_inside
from regcred.registry.interface import IssuedCredential, MintContext, Revoked
from regcred.registry.named_tokens import NamedTokenProvider
from regcred.registry.token_expiry import at_time
from regcred.registry.token_slots import NamedToken, is_token_name
from regcred.registry.transport import Bearer
from regcred.registry.upstream_secret import described, field_of, logins

API = "https://hub.docker.com/v2"
HUB = "hub.docker.com"
HOSTS = ("docker.io", "index.docker.io", "registry-1.docker.io")
HARDENED = "dhi.io"
REALM = "auth.docker.io"
PUBLIC = "*/*/public"
"""The path of the token resource for all public repositories."""
REPOSITORIES_MAX = 50
"""The maximum number of paths in one token."""
PAGE = 100
DELETE_EXPIRED_AFTER = timedelta(days=1)
"""How long after its expiry a token of Regcred is deleted. Clocks may differ."""
PULL_TOKENS = timedelta(minutes=5)
"""How long a pull token of auth.docker.io works (its ``expires_in``)."""


class DockerHubDefinition(BaseDefinition):
    """The repositories of an organisation, or those that a static token reaches."""

    summary: ClassVar[str] = (
        "Docker Hub: organisation access tokens for named repositories, in two slots; or a static access "
        "token"
    )

    provider: Literal["dockerhub"]

    auth: Literal["organisation", "static"] = Field(
        default="organisation",
        description=(
            "'organisation': short-lived tokens of an organisation (plans Team and Business). 'static': a "
            "token that you create."
        ),
    )

    organisation: Annotated[
        str,
        matching(
            r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*",
            "an organisation of Docker Hub, as used in image names",
        ),
    ] = Field(
        default="",
        description="The organisation that the tokens belong to. It is also the user name of the login.",
    )

    hardened_images: bool = Field(
        default=False,
        description=(
            "Use the login also for Docker Hardened Images at dhi.io. The token can then pull all public "
            "repositories."
        ),
    )

    lifetime_days: int = Field(
        default=14,
        ge=2,
        le=365,
        description="The lifetime of a token in days. It is renewed after half of that.",
    )

    @model_validator(mode="after")
    def _complete(self) -> DockerHubDefinition:
        if self.auth == "static":
            return self
        require(self, "organisation", by="auth: organisation")
        if not self.repositories:
            raise ValueError(
                f"repositories: is missing; name each one, as in [{self.organisation}/app], or write "
                f"[{self.organisation}/] for the whole organisation"
            )
        if len(self.resources()) > REPOSITORIES_MAX:
            raise ValueError(
                f"repositories: the token would have {len(self.resources())} paths, but Docker Hub allows "
                f"{REPOSITORIES_MAX}; name fewer, or {self.organisation}/ for all"
            )
        require_inside(self, f"{self.organisation}/", by="organisation")
        return self

    def resources(self) -> tuple[str, ...]:
        """The paths in the token. A prefix becomes a glob: ``team/`` is ``team/*``."""
        paths = [f"{scope}*" if scope.endswith("/") else scope for scope in self.repositories]
        return (*paths, PUBLIC) if self.hardened_images else tuple(paths)

    def typed_hosts(self) -> tuple[str, ...]:
        """Docker Hub, which many projects share, and dhi.io for hardened images.

        A project may be limited to some paths of Docker Hub.
        """
        return HOSTS[:1] + ((HARDENED,) if self.hardened_images else ())

    def realms(self) -> tuple[str, ...]:
        """Docker's token service."""
        return (REALM,)

    def keys_of_all_hosts(self) -> tuple[str, ...]:
        """The keys of the ``auths`` map. The names of hardened images have no organisation."""
        return self.keys(HOSTS) + ((HARDENED,) if self.hardened_images else ())

    def limits(self) -> tuple[str, ...]:
        """No check with hardened images, because the token may then pull all public repositories."""
        return () if self.hardened_images else super().limits()

    def pull_tokens_outlive(self) -> timedelta:
        """The lifetime that Docker's token service gives pull tokens."""
        return PULL_TOKENS

    def upstream_fields(self) -> dict[str, str]:
        """The login that creates tokens, or the static login."""
        if self.auth == "static":
            return described("the Docker Hub user name", "an access token with 'Repo Read-only'")
        return {
            "username": (
                "the user name of an owner of the organisation or of its company, or of a member whose "
                "custom role has 'Manage organization access tokens'"
            ),
            "password": "an access token of that user",
        }


class DockerHubProvider(NamedTokenProvider[DockerHubDefinition]):
    """Mints a token of the organisation."""

    name = "dockerhub"
    model = DockerHubDefinition

    def vendor(self, definition: DockerHubDefinition, context: MintContext) -> Organisation:
        """The tokens of the organisation."""
        return Organisation(definition, context, definition.organisation)

    def keys(self, definition: DockerHubDefinition) -> tuple[str, ...]:
        """The keys of all hosts."""
        return definition.keys_of_all_hosts()

    def mint(self, definition: DockerHubDefinition, context: MintContext) -> Credential:
        """Renew the slot that is not in use, or return the static login."""
        if definition.auth == "static":
            found = logins(context, self.keys(definition))
            return Credential(provider=self.name, logins=found, issued_at=context.now())
        return super().mint(definition, context)

    def revoke(
        self, definition: DockerHubDefinition, issued: IssuedCredential, context: MintContext
    ) -> Revoked:
        """Delete the token and its predecessor. The owner deletes a static token."""
        if definition.auth == "static":
            return Revoked.UNSUPPORTED
        return super().revoke(definition, issued, context)


class Organisation:
    """The tokens of an organisation."""

    name_max = 255

    def __init__(
        self,
        definition: DockerHubDefinition,
        context: MintContext,
        organisation: str,
        auth: Bearer | None = None,
    ) -> None:
        self._definition = definition
        self._context = context
        self._organisation = organisation
        self._expired: list[str] = []
        self._url = f"{API}/orgs/{organisation}/access-tokens"
        self._auth = auth or self._sign_in()

    @property
    def location(self) -> str:
        """Docker Hub, and the organisation."""
        return f"{HUB} {self._organisation}"

    def at(self, location: str) -> Organisation | None:
        """Another organisation, with the same login."""
        hub, _, organisation = location.partition(" ")
        if hub != HUB:
            return None
        return Organisation(self._definition, self._context, organisation, self._auth)

    def _sign_in(self) -> Bearer:
        what = "Docker Hub: signing in"
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
        """All tokens of the organisation, page by page, including expired and inactive ones."""
        listed = self._listed()
        self._expired = [str(item["id"]) for item in listed if self._is_long_expired(item)]
        return {str(item["id"]): str(item.get("label", "")) for item in listed}

    def _is_long_expired(self, item: Mapping[str, Any]) -> bool:
        """Whether this is a token of Regcred, for any registry, that expired long ago.

        It counts towards the plan's limit until it is deleted.
        """
        label, expires_at = str(item.get("label", "")), item.get("expires_at")
        if not is_token_name(label) or not expires_at:
            return False
        expired = at_time(item, "expires_at", what="Docker Hub: listing tokens")
        return expired < self._context.now() - DELETE_EXPIRED_AFTER

    def _listed(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for page in transport.pages("Docker Hub: listing tokens"):
            query = (("page", str(page)), ("page_size", str(PAGE)))
            what = "Docker Hub: listing tokens"
            fields = self._call("GET", self._url, "listing tokens", query=query).fields(what=what)
            found += transport.objects(fields, "results", what=what)
            if not fields.get("next"):
                break
        return found

    def create(self, name: str) -> NamedToken:
        """Create a token that pulls the named repositories.

        Expired tokens are deleted first, because a plan allows only a few.
        """
        for token_id in self._expired:
            self.remove(token_id)
        self._expired = []
        expires_at = self._context.now() + timedelta(days=self._definition.lifetime_days)
        document = {
            "label": name,
            "description": f"Pulls of {self._context.reference}, renewed by Regcred",
            "resources": [
                {"type": "TYPE_REPO", "path": path, "scopes": ["scope-image-pull"]}
                for path in self._definition.resources()
            ],
            "expires_at": expires_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        what = "Docker Hub: creating a token"
        answer = self._call("POST", self._url, "creating a token", ok=(201, 200), document=document)
        fields = answer.fields(what=what)
        return NamedToken(
            id=transport.text_field(fields, "id", what=what),
            username=self._organisation,
            secret=SecretStr(transport.text_field(fields, "token", what=what)),
            expires_at=at_time(fields, "expires_at", what=what),
        )

    def remove(self, token_id: str) -> None:
        """Delete a token."""
        self._call("DELETE", f"{self._url}/{token_id}", "deleting a token", ok=(200, 202, 204, 404))

    def _call(
        self, method: str, url: str, action: str, *, ok: tuple[int, ...] = (200,), **more: Any
    ) -> transport.Answer:
        answer = transport.send(method, url, auth=self._auth, **more)
        remedy = (
            f"check that the upstream user may manage the access tokens of {self._organisation} (an owner, "
            "or a role with 'Manage organization access tokens'), and that its plan has tokens left: Team "
            "has 10 and Business 100, expired ones count, and each registry takes 2, and 3 while it is "
            "renewed"
        )
        return transport.expect(answer, what=f"Docker Hub: {action}", remedy=remedy, ok=ok)
