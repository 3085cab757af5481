"""Passes requests on to Distribution. On ECR's host names, it checks Basic authentication first."""

from __future__ import annotations

import time

from aiohttp import web
from multidict import CIMultiDict

from realparts.aws_policy import ecr_host
from realparts.journal import Journal
from realparts.serving import UPSTREAM

from . import request_fields
from .access import AccessTokens
from .accounts import ECR_ACTIONS, Accounts, Login, RefusedError

_HOP_BY_HOP = {
    "connection",
    "keep-alive",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "host",
    "content-length",
}


class Front:
    """The handler. `throttled`: by host, the end of its 429 responses, in seconds since the epoch."""

    def __init__(self, accounts: Accounts, access: AccessTokens, journal: Journal, *, upstream: str) -> None:
        self._accounts = accounts
        self._access = access
        self._journal = journal
        self._upstream = upstream
        self.throttled: dict[str, float] = {}

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Pass a request on to Distribution."""
        host, repository = request_fields.host(request), request_fields.repository(request)
        if time.time() < self.throttled.get(host, 0):
            event = {"kind": "request", "host": host, "repository": repository}
            self._journal.write(**event, outcome="throttled", status=429)
            error = RefusedError("too many requests", status=429, code="TOOMANYREQUESTS")
            return request_fields.refusal(error, {"Retry-After": "1"})
        # Keep repeated headers: containerd and docker send one Accept for each media type.
        headers = CIMultiDict(
            (key, value) for key, value in request.headers.items() if key.lower() not in _HOP_BY_HOP
        )
        user = request_fields.bearer_subject(request)
        if ecr_host(host):
            try:
                login = self._ecr_login(request, host, repository)
            except RefusedError as error:
                self._record(request, request_fields.claimed_user(request), error.status, reason=str(error))
                challenge = {"WWW-Authenticate": f'Basic realm="https://{host}/",service="ecr.amazonaws.com"'}
                return request_fields.refusal(error, challenge if error.status == 401 else {})
            user = login.name
            headers["Authorization"] = f"Bearer {self._token(login, repository)}"
        answer = await self._forward(request, host, headers)
        self._record(request, user, answer.status)
        return answer

    def _ecr_login(self, request: web.Request, host: str, repository: str) -> Login:
        username, password = request_fields.credential(request)
        if not username:
            raise RefusedError("Not Authorized")
        login = self._accounts.login(host, username, password, time.time())
        needed = {"GET": "pull", "HEAD": "pull", "DELETE": "delete"}.get(request.method, "push")
        if repository and needed not in self._accounts.actions(login, host, repository):
            action = ECR_ACTIONS[needed]
            message = f"User: {login.name} is not authorized to perform: {action} on resource: {repository}"
            raise RefusedError(message, status=403, code="DENIED")
        return login

    def _token(self, login: Login, repository: str) -> str:
        """Return an access token for Distribution. The access of the login was checked before."""
        actions = ["pull", "push", "delete"]
        access = [{"type": "repository", "name": repository, "actions": actions}] if repository else []
        return str(self._access.issue(login.name, access, login.expires_at)["token"])

    async def _forward(
        self, request: web.Request, host: str, headers: CIMultiDict[str]
    ) -> web.StreamResponse:
        local = host.partition(":")[0] in {"127.0.0.1", "localhost"}
        headers["Host"] = host
        headers["X-Forwarded-Proto"] = "http" if local else "https"
        # A HEAD or GET has no body. An empty body would be sent as chunks.
        body = request.content if request.can_read_body else None
        if body is not None and request.content_length is not None:
            headers["Content-Length"] = str(request.content_length)
        async with request.app[UPSTREAM].request(
            request.method,
            f"{self._upstream}{request.raw_path}",
            headers=headers,
            data=body,
            allow_redirects=False,
        ) as upstream:
            kept = [(key, value) for key, value in upstream.headers.items() if key.lower() not in _HOP_BY_HOP]
            answer = web.StreamResponse(status=upstream.status, headers=CIMultiDict(kept))
            if (length := upstream.headers.get("Content-Length")) is not None:
                answer.content_length = int(length)
            await answer.prepare(request)
            if request.method != "HEAD":
                async for chunk in upstream.content.iter_chunked(65536):
                    await answer.write(chunk)
            await answer.write_eof()
            return answer

    def _record(self, request: web.Request, user: str, status: int, *, reason: str = "") -> None:
        self._journal.write(
            kind="request",
            host=request_fields.host(request),
            user=user,
            method=request.method,
            path=request.path,
            repository=request_fields.repository(request),
            reference=request_fields.reference(request),
            agent=request.headers.get("User-Agent", ""),
            status=status,
            outcome="refused" if status in {401, 403} else "accepted",
            reason=reason,
        )
