"""A Vault in memory for the console, and a browser that calls the console's ASGI application directly."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any
from urllib.parse import urlencode, urlsplit

from fakes.key_value import FakeKeyValue
from pydantic import SecretStr
from starlette.types import ASGIApp

from regcred.console.app import build
from regcred.console.console import Console
from regcred.console.interface import (
    ConsoleOptions,
    Member,
    Method,
    ProjectGroup,
    SignInKind,
    Who,
    WrongPasswordError,
)
from regcred.console.sealed_cookies import FixedKeys, Seal
from regcred.errors import MalformedError, RefusedError, RegcredError
from regcred.vault.store import Store

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
ORIGIN = "https://console.example.com"
SETTINGS = ConsoleOptions(
    methods=(
        Method(SignInKind.OIDC),
        Method(SignInKind.USERPASS),
        Method(SignInKind.LDAP),
        Method(SignInKind.TOKEN),
    ),
    origin=ORIGIN,
)


@dataclass
class FakeAccess:
    """Vault with one token."""

    vault: FakeVault
    token: str

    @property
    def store(self) -> Store:
        return Store(self.vault.kv)

    def who(self) -> Who:
        self.vault.raise_fault()
        if self.token not in self.vault.tokens:
            raise RefusedError("permission denied")
        return self.vault.tokens[self.token]

    def renew(self) -> None:
        self.vault.renewed.append(self.token)

    def revoke(self) -> None:
        self.vault.raise_fault()
        del self.vault.tokens[self.token]

    def may(self, paths: Sequence[str]) -> Mapping[str, frozenset[str]]:
        return {path: frozenset({"update"} if self.vault.may_write else ()) for path in paths}

    def groups(self, project: str) -> Sequence[ProjectGroup]:
        return [ProjectGroup(f"regcred-admins-{project}", ["alice"])]

    def system_registry(self) -> str:
        return self.vault.system_registry

    def may_change_groups(self, project: str) -> bool:
        return self.vault.may_write

    def change_group(self, group: str, kind: Member, name: str, *, take: bool) -> None:
        raise MalformedError("Vault has no person with this name", field="member")


@dataclass
class FakeVault:
    """Accepts the password 'right' of any user; every token may read all of ``kv``."""

    kv: FakeKeyValue = field(default_factory=FakeKeyValue)
    tokens: dict[str, Who] = field(default_factory=dict)
    failing: RegcredError | None = None
    may_write: bool = True
    system_registry: str = ""
    renewed: list[str] = field(default_factory=list)
    created: int = 0

    def raise_fault(self) -> None:
        if self.failing:
            raise self.failing

    def give(self, who: Who | None = None) -> SecretStr:
        """Create a token, by default of alice, an admin of the project payments."""
        self.created += 1
        token = f"s.token{self.created}"
        self.tokens[token] = who or Who(
            "alice", "entity-1", frozenset({"regcred-admins-payments"}), timedelta(hours=1)
        )
        return SecretStr(token)

    def with_token(self, token: SecretStr) -> FakeAccess:
        return FakeAccess(self, token.get_secret_value())

    def by_password(self, method: Method, username: str, password: SecretStr) -> SecretStr:
        self.raise_fault()
        if password.get_secret_value() != "right":
            raise WrongPasswordError("the user name or the password is wrong")
        return self.give(Who(username, f"entity of {username}", frozenset(), timedelta(hours=1)))

    def oidc_url(self, method: Method, redirect_uri: str, nonce: str) -> str:
        self.raise_fault()
        return f"https://idp.example.com/authorize?state=st_1&redirect_uri={redirect_uri}"

    def by_oidc(self, method: Method, *, state: str, code: str, nonce: str) -> SecretStr:
        self.raise_fault()
        if code != "good":
            raise RefusedError("Vault does not accept the response of the identity provider; try again")
        return self.give()


@dataclass
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key == name.lower()), "")

    @property
    def csrf(self) -> str:
        found = re.search(r'name="csrf" value="([^"]+)"', self.text)
        return unescape(found[1]) if found else ""


@dataclass
class Browser:
    """Keeps cookies, and sends the headers that a browser sends with a form of the same site."""

    app: ASGIApp
    cookies: dict[str, str] = field(default_factory=dict)
    host: str = "console.example.com"

    def get(self, path: str, **headers: str) -> Answer:
        return self.send("GET", path, headers=headers)

    def post(self, path: str, fields: Any, **headers: str) -> Answer:
        sent = {
            "content-type": "application/x-www-form-urlencoded",
            "origin": ORIGIN,
            "sec-fetch-site": "same-origin",
        }
        return self.send("POST", path, urlencode(fields).encode(), headers={**sent, **headers})

    def send(
        self, method: str, path: str, body: bytes = b"", *, headers: Mapping[str, str] | None = None
    ) -> Answer:
        return asyncio.run(self._send(method, path, body, headers or {}))

    def sign_in(self, name: str = "alice", password: str = "right") -> Answer:
        """Sign in with a user name and a password."""
        form = self.get("/sign-in")
        return self.post(
            "/sign-in",
            {"csrf": form.csrf, "method": "1", "username": name, "password": password, "next": "/"},
        )

    async def _send(self, method: str, path: str, body: bytes, extra: Mapping[str, str]) -> Answer:
        parts = urlsplit(path)
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        headers = {"host": self.host, **({"cookie": cookies} if cookies else {})}
        headers |= {name.replace("_", "-"): value for name, value in extra.items() if value}
        scope = {
            "type": "http",
            "method": method,
            "scheme": "https",
            "path": parts.path,
            "raw_path": parts.path.encode(),
            "query_string": parts.query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "client": ("127.0.0.1", 1),
            "server": (self.host, 443),
            "root_path": "",
        }
        messages: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            messages.append(message)

        await self.app(scope, receive, send)
        start = messages[0]
        answer = Answer(
            start["status"],
            [(name.decode().lower(), value.decode()) for name, value in start["headers"]],
            b"".join(message.get("body", b"") for message in messages[1:]),
        )
        for name, value in answer.headers:
            if name == "set-cookie":
                key, _, rest = value.partition("=")
                text, _, attributes = rest.partition(";")
                if "Max-Age=0" in attributes:
                    self.cookies.pop(key, None)
                else:
                    self.cookies[key] = text.strip('"')
        return answer


@dataclass
class World:
    """A console, its Vault, and a clock that a test can set."""

    vault: FakeVault = field(default_factory=FakeVault)
    keys: Any = field(default_factory=FixedKeys.new)
    now: datetime = NOW
    nudged: list[str] = field(default_factory=list)
    log: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    settings: ConsoleOptions = SETTINGS

    def __post_init__(self) -> None:
        self.console = Console(
            self.settings,
            self.vault,
            Seal(self.keys),
            lambda: self.now,
            nudge=lambda project: bool(self.nudged.append(project)),
            log_event=lambda event, **fields: self.log.append((event, fields)),
        )
        self.app = build(self.console)

    def browser(self) -> Browser:
        return Browser(self.app)

    def signed_in(self) -> Browser:
        browser = self.browser()
        assert browser.sign_in().status == 303
        return browser

    def with_settings(self, **changes: Any) -> World:
        """Another console with the same Vault, keys and time."""
        return World(self.vault, self.keys, self.now, settings=replace(self.settings, **changes))
