"""The token endpoint."""

from __future__ import annotations

import re
import time
from typing import Any

from aiohttp import web
from multidict import MultiDict

from realparts.journal import Journal

from . import request_fields
from .access import AccessTokens
from .accounts import Accounts, Login, RefusedError

_SCOPE = re.compile(r"^repository:(?P<repository>[^:]+(:\d+/[^:]+)?):(?P<actions>[a-z*,]+)$")


class TokenEndpoint:
    """The handler."""

    def __init__(self, accounts: Accounts, access: AccessTokens, journal: Journal) -> None:
        self._accounts = accounts
        self._access = access
        self._journal = journal

    async def answer(self, request: web.Request) -> web.Response:
        """Issue an access token for the requested actions that are allowed; 401 for a bad credential."""
        host = request_fields.host(request)
        form = await request.post() if request.method == "POST" else MultiDict[Any]()
        given = [*form.getall("scope", []), *request.query.getall("scope", [])]
        scopes = [part for scope in given for part in str(scope).split()]
        event = {"kind": "token", "host": host, "scope": scopes}
        try:
            username, password = request_fields.credential(request, dict(form))
            login = self._accounts.login(host, username, password, time.time()) if username else None
        except RefusedError as error:
            user = request_fields.claimed_user(request)
            self._journal.write(**event, user=user, outcome="refused", reason=str(error))
            return request_fields.refusal(error, {"WWW-Authenticate": f'Basic realm="{host}"'})
        access = [granted for scope in scopes if (granted := self._granted(login, host, scope))]
        name = login.name if login else "anonymous"
        self._journal.write(**event, user=name, access=access, outcome="accepted")
        return web.json_response(self._access.issue(name, access, login.expires_at if login else None))

    def _granted(self, login: Login | None, host: str, scope: str) -> dict[str, Any] | None:
        found = _SCOPE.match(scope)
        if found is None or login is None:
            return None
        wanted = set(found["actions"].split(","))
        have = self._accounts.actions(login, host, found["repository"])
        actions = sorted(have if "*" in wanted else wanted & have)
        return {"type": "repository", "name": found["repository"], "actions": actions} if actions else None
