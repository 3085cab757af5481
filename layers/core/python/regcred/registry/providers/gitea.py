"""Gitea and Forgejo: access tokens of a bot user in two slots.

Contract: Gitea's API v1 (gitea.dev v1.27.3, routers/api/v1/user/app.go, services/packages/auth.go; a test
uses the real server) and Forgejo's, which is the same but accepts only a password:

- ``POST /users/U/tokens`` returns 201 with the secret in ``sha1``. Names are unique per user. Tokens have no
  expiry.
- ``GET /users/U/tokens`` returns at most 50 tokens per page. ``DELETE`` returns 204, and 404 for a missing
  token.
- The API accepts only Basic authentication: a password, or a token as the password. Such a token needs
  ``write:user`` and each scope that it gives to other tokens.
- ``read:package`` can pull everything that its user may read, and can't push. So use a bot in a team that may
  only read packages.
- A pull token lives 24 hours, even if its access token is deleted. Blocking the user ends it at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import quote

from pydantic import Field, SecretStr

from regcred.registry import transport
from regcred.registry.definition import matching
from regcred.registry.interface import MintContext
from regcred.registry.named_tokens import NamedTokenProvider, ServerDefinition
from regcred.registry.token_slots import NamedToken
from regcred.registry.transport import Answer, Basic
from regcred.registry.upstream_secret import field_of

SCOPE = "read:package"
PULL_TOKENS = timedelta(hours=24)
"""How long a pull token works (services/packages/auth.go)."""


class GiteaDefinition(ServerDefinition):
    """The packages that one bot of Gitea or Forgejo may read."""

    summary: ClassVar[str] = "Gitea and Forgejo: a bot's access tokens, in two slots"

    provider: Literal["gitea"]

    # The pattern is Gitea's (modules/validation/helpers.go, IsValidUsername).
    user: Annotated[
        str,
        matching(
            r"(?=.{1,40}$)[0-9A-Za-z]+(?:[-._][0-9A-Za-z]+)*",
            "a user of Gitea: letters and digits, with single . _ - between them",
        ),
    ] = Field(
        description=(
            "The bot user that the tokens belong to. It is also the user name of the login. Give it read "
            "access to packages only."
        )
    )

    period_days: int = Field(
        default=7,
        ge=1,
        le=180,
        description=(
            "Days until the next token is created. Gitea's tokens don't expire, so each works for two "
            "periods and is then deleted."
        ),
    )

    def limits(self) -> tuple[str, ...]:
        """No check, because a bot's tokens can pull everything that its teams may read."""
        return ()

    def pull_tokens_outlive(self) -> timedelta:
        """One day. To end them at once, an administrator blocks the bot."""
        return PULL_TOKENS

    def upstream_fields(self) -> dict[str, str]:
        """The login that creates tokens."""
        return {
            "username": "the bot's own name, or an administrator's",
            "password": "its password, or in Gitea a token with write:user and read:package; Forgejo accepts "
            "only a password",
        }


class GiteaProvider(NamedTokenProvider[GiteaDefinition]):
    """Mints an access token."""

    name = "gitea"
    model = GiteaDefinition

    def vendor(self, definition: GiteaDefinition, context: MintContext) -> AccessTokens:
        """The bot's access tokens."""
        return AccessTokens(definition, context, definition.user)

    def keys(self, definition: GiteaDefinition) -> tuple[str, ...]:
        """The registry's host."""
        return definition.keys([definition.host])


class AccessTokens:
    """The access tokens of a user."""

    name_max = 255

    def __init__(self, definition: GiteaDefinition, context: MintContext, user: str) -> None:
        self._server = definition.api()
        self._url = f"{transport.origin(self._server)}/api/v1/users/{quote(user, safe='')}/tokens"
        self._definition = definition
        self._context = context
        self._user = user
        self._auth = Basic(field_of(context, "username").get_secret_value(), field_of(context, "password"))

    @property
    def location(self) -> str:
        """The server and the user."""
        return f"{self._server} {self._user}"

    def at(self, location: str) -> AccessTokens | None:
        """Another user of the same server. Only an administrator's login can manage its tokens."""
        server, _, user = location.partition(" ")
        return AccessTokens(self._definition, self._context, user) if server == self._server else None

    def tokens(self) -> Mapping[str, str]:
        """All tokens of the user.

        The server chooses the size of a page, so the list ends with an empty page.
        """
        found: dict[str, str] = {}
        for page in transport.pages(f"{self._server}: listing tokens"):
            answer = self._call(
                "GET", self._url, "listing tokens", query=(("page", str(page)), ("limit", "50"))
            )
            items = answer.items(field="tokens", what=f"{self._server}: listing tokens")
            if not items:
                break
            found |= {str(item["id"]): str(item.get("name", "")) for item in items}
        return found

    def create(self, name: str) -> NamedToken:
        """Create a token that can read packages.

        Gitea's tokens don't expire. This one counts as expired after two periods, when it is deleted.
        """
        document = {"name": name, "scopes": [SCOPE]}
        answer = self._call("POST", self._url, "creating a token", ok=(201,), document=document)
        what = f"{self._server}: creating a token"
        fields = answer.fields(what=what)
        (item,) = transport.identified([fields], field="id", what=what)
        return NamedToken(
            id=str(item["id"]),
            username=self._user,
            secret=SecretStr(transport.text_field(fields, "sha1", what=what)),
            expires_at=self._context.now() + 2 * timedelta(days=self._definition.period_days),
        )

    def remove(self, token_id: str) -> None:
        """Delete a token."""
        self._call("DELETE", f"{self._url}/{token_id}", "deleting a token", ok=(204, 404))

    def _call(
        self, method: str, url: str, action: str, *, ok: tuple[int, ...] = (200,), **more: Any
    ) -> Answer:
        answer = transport.send(method, url, auth=self._auth, **more)
        remedy = (
            f"check that the user {self._user} exists, and that the upstream secret is its own login or an "
            "administrator's: a password, or in Gitea a token with write:user and read:package"
        )
        return transport.expect(answer, what=f"{self._server}: {action}", remedy=remedy, ok=ok)
