"""The control port, through which tests on this machine set users and faults."""

from __future__ import annotations

import time

from aiohttp import web

from .accounts import Accounts, RefusedError
from .request_fields import refusal


class Control:
    """The handlers. `throttled` belongs to the front."""

    def __init__(self, accounts: Accounts, throttled: dict[str, float]) -> None:
        self._accounts = accounts
        self._throttled = throttled

    def application(self) -> web.Application:
        """Return the application."""
        application = web.Application()
        application.router.add_put("/users/{name}", self.put_user)
        application.router.add_post("/users/{name}/revoke", self.revoke_user)
        application.router.add_post("/ecr/revoke", self.revoke_ecr_token)
        application.router.add_put("/ecr/cross-account", self.put_cross_account)
        application.router.add_put("/throttle/{host}", self.put_throttle)
        return application

    async def put_user(self, request: web.Request) -> web.Response:
        """Create or replace a user."""
        self._accounts.put_user(request.match_info["name"], **await request.json())
        return web.json_response({})

    async def revoke_user(self, request: web.Request) -> web.Response:
        """Refuse a user from now on."""
        name = request.match_info["name"]
        try:
            self._accounts.revoke_user(name)
        except KeyError:
            return refusal(RefusedError(f"no user {name}", status=404, code="UNKNOWN"))
        return web.json_response({})

    async def revoke_ecr_token(self, request: web.Request) -> web.Response:
        """Refuse one `AWS:` login from now on."""
        self._accounts.revoke_ecr_login((await request.json())["password"])
        return web.json_response({})

    async def put_cross_account(self, request: web.Request) -> web.Response:
        """Give another account access to repositories, as a repository policy does."""
        self._accounts.open_repositories(await request.json())
        return web.json_response({})

    async def put_throttle(self, request: web.Request) -> web.Response:
        """Respond with 429 on a host for some seconds."""
        self._throttled[request.match_info["host"]] = time.time() + float((await request.json())["seconds"])
        return web.json_response({})
