"""The public port, which checks every request and answers it here or through moto."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from realparts.journal import Journal
from realparts.serving import UPSTREAM, public_application

from .answers import AwsError, error_answer
from .ecr import Ecr
from .faults import Faults
from .permissions import needed, require
from .signature import Call, authenticated
from .store import Store
from .sts import Sts
from .web_identity import WebIdentity

_HOP_BY_HOP = {"content-length", "transfer-encoding", "connection"}


class Front:
    """The handler.

    Args:
        store: the known callers and roles.
        faults: the calls that fail on purpose.
        moto: the address for all other calls.
        ecr_key: the key of `AWS:` logins.
    """

    def __init__(self, store: Store, faults: Faults, *, moto: str, ecr_key: bytes) -> None:
        self._store = store
        self._faults = faults
        self._moto = moto
        self._identity = WebIdentity(store.directory)
        self._journal = Journal(store.directory)
        sts, ecr = Sts(store, self._identity), Ecr(store, ecr_key)
        self._own: dict[tuple[str, str], Callable[[Call], web.Response]] = {
            ("sts", "AssumeRole"): sts.assume_role,
            ("sts", "GetCallerIdentity"): sts.get_caller_identity,
            ("sts", "GetWebIdentityToken"): sts.get_web_identity_token,
            ("ecr", "GetAuthorizationToken"): ecr.get_authorization_token,
        }

    def application(self) -> web.Application:
        """Return the application."""
        return public_application({"/{path:.*}": self.answer}, largest_body=1 << 26)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Check a request and answer it."""
        if document := self._identity.well_known(request):
            return document
        body = await request.read()
        try:
            call = authenticated(request, body, self._store)
        except AwsError as error:
            self._journal.write(service="?", operation="?", outcome="refused", code=error.code)
            return error_answer(request, error)
        operation = {"service": call.service, "operation": call.operation}
        caller = {"caller": call.caller.arn, "region": call.region}
        try:
            answer = await self._answered(call, request, body)
        except AwsError as error:
            self._journal.write(**operation, outcome="refused", code=error.code, **caller)
            return error_answer(request, error)
        self._journal.write(**operation, outcome="answered", status=answer.status, **caller)
        return answer

    async def _answered(self, call: Call, request: web.Request, body: bytes) -> web.Response:
        await self._faults.apply(call)
        if operation := self._own.get((call.service, call.operation)):
            return operation(call)
        for action, resource in needed(call):
            require(call, action, resource)
        return await self._pass_on(request, body)

    async def _pass_on(self, request: web.Request, body: bytes) -> web.Response:
        headers = {key: value for key, value in request.headers.items() if key.lower() not in _HOP_BY_HOP}
        async with request.app[UPSTREAM].request(
            request.method,
            f"{self._moto}{request.raw_path}",
            headers=headers,
            data=body,
            allow_redirects=False,
        ) as upstream:
            kept = {key: value for key, value in upstream.headers.items() if key.lower() not in _HOP_BY_HOP}
            return web.Response(status=upstream.status, headers=kept, body=await upstream.read())
