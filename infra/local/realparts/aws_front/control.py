"""The control port, through which tests on this machine set roles, faults and settings."""

from __future__ import annotations

import secrets

from aiohttp import web

from realparts.aws_policy import malformed, pinned

from .faults import Faults
from .store import Caller, Store


class Control:
    """The handlers."""

    def __init__(self, store: Store, faults: Faults) -> None:
        self._store = store
        self._faults = faults

    def application(self) -> web.Application:
        """Return the application."""
        application = web.Application()
        application.router.add_put("/callers", self.put_caller)
        application.router.add_put("/roles", self.put_role)
        application.router.add_post("/roles/remove", self.remove_role)
        application.router.add_post("/sessions", self.post_session)
        application.router.add_put("/settings", self.put_settings)
        application.router.add_put("/faults/{operation}", self.put_fault)
        application.router.add_delete("/faults", self.delete_faults)
        return application

    async def put_caller(self, request: web.Request) -> web.Response:
        """Create or replace a user's access key."""
        caller = Caller(**await request.json())
        self._store.callers[caller.access_key] = caller
        self._store.save()
        return web.json_response({})

    async def put_role(self, request: web.Request) -> web.Response:
        """Create or replace a role."""
        body = await request.json()
        for key in ("trust", "policy"):
            if reason := malformed(body[key]):
                return web.json_response({"message": f"{key}: {reason}"}, status=400)
        roles = self._store.roles
        body["id"] = roles.get(body["arn"], {}).get("id") or f"AROA{secrets.token_hex(8).upper()}"
        body["trust"] = pinned(body["trust"], {arn: role["id"] for arn, role in roles.items()})
        roles[body["arn"]] = body
        self._store.save()
        return web.json_response({})

    async def remove_role(self, request: web.Request) -> web.Response:
        """Delete a role."""
        self._store.roles.pop((await request.json())["arn"], None)
        self._store.save()
        return web.json_response({})

    async def post_session(self, request: web.Request) -> web.Response:
        """Issue a session of a role, as Lambda does for a function's execution role."""
        body = await request.json()
        policy = self._store.roles[body["arn"]]["policy"]
        session = self._store.new_session(body["arn"], body["name"], body["seconds"], [policy], tags={})
        return web.json_response(
            {"access_key": session.access_key, "secret": session.secret, "token": session.token}
        )

    async def put_settings(self, request: web.Request) -> web.Response:
        """Change settings: `ecr_token_seconds`, `outbound_federation_disabled`."""
        self._store.settings |= await request.json()
        self._store.save()
        return web.json_response(self._store.settings)

    async def put_fault(self, request: web.Request) -> web.Response:
        """Make the next calls of an operation fail."""
        self._faults.by_operation[request.match_info["operation"]] = await request.json()
        return web.json_response({})

    async def delete_faults(self, _: web.Request) -> web.Response:
        """End all faults."""
        self._faults.by_operation.clear()
        return web.json_response({})
