"""The HTTP interface of the token server: reads requests, limits them, and responds.

Contracts: https://distribution.github.io/distribution/spec/auth/token/ (GET) and
https://distribution.github.io/distribution/spec/auth/oauth/ (POST).
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from functools import wraps
from typing import Any
from urllib.parse import parse_qsl

import anyio.to_thread
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from regcred.errors import MalformedError, MissingError, RefusedError, RegcredError, TransientError
from regcred.log import describe_bug
from regcred.token.service import AccessToken, IssuedLogin, TokenService

log = logging.getLogger(__name__)

BODY_MAX = 32 * 1024
"""The maximum size of a request's body in bytes."""

QUERY_MAX = 16 * 1024
"""The maximum size of a query in bytes."""

FIELDS_MAX = 64
"""The maximum number of fields in a form or a query."""

RETRY_AFTER_SECONDS = 5
"""The default for the header Retry-After."""

REALM = "regcred"

Handler = Callable[[Request], Awaitable[Response]]


def application(service: TokenService) -> Starlette:
    """The application. It is the same on Lambda, in a cluster and on a laptop."""
    edge = _Edge(service)
    return Starlette(
        routes=[
            Route("/token", _answered(edge.get_token), methods=["GET"]),
            Route("/token", _answered(edge.post_token), methods=["POST"]),
            Route("/v1/credentials", _answered(edge.make_project_login), methods=["POST"]),
            Route("/v1/credentials/{id}", _answered(edge.end_project_login), methods=["DELETE"]),
            Route("/v1/logins", _answered(edge.make_person_login), methods=["POST"]),
            Route("/v1/logins", _answered(edge.end_person_logins), methods=["DELETE"]),
            Route("/jwks.json", _answered(edge.jwks), methods=["GET"]),
            Route("/certificates.pem", _answered(edge.certificates), methods=["GET"]),
            Route("/healthz", edge.healthz, methods=["GET"]),
        ],
    )


class _Edge:
    def __init__(self, service: TokenService) -> None:
        self._service = service

    async def healthz(self, _request: Request) -> Response:
        """Respond that the server is alive. Vault is not read, so an outage of Vault causes no restarts."""
        return PlainTextResponse("ok\n")

    async def get_token(self, request: Request) -> Response:
        fields = _fields(request.scope["query_string"])
        user, password = _basic(request)
        offline = dict(fields).get("offline_token") == "true"
        answer = await self._access_token(user, password, fields)
        return _token_answer(answer, refresh=password if offline else None)

    async def post_token(self, request: Request) -> Response:
        fields = _fields(await _body(request))
        form = dict(fields)
        kind = form.get("grant_type")
        if kind == "password":
            user, password = form.get("username", ""), SecretStr(form.get("password", ""))
        elif kind == "refresh_token":
            user, _, text = form.get("refresh_token", "").partition(":")
            password = SecretStr(text)
        else:
            raise MalformedError("grant_type: must be password or refresh_token", field="grant_type")
        answer = await self._access_token(user, password, fields)
        offline = form.get("access_type") == "offline" or kind == "refresh_token"
        refresh = SecretStr(f"{user}:{password.get_secret_value()}") if offline else None
        return _token_answer(answer, refresh=refresh)

    async def _access_token(
        self, user: str, password: SecretStr, fields: list[tuple[str, str]]
    ) -> AccessToken:
        service = next((value for name, value in fields if name == "service"), "")
        scopes = [value for name, value in fields if name == "scope"]
        return await anyio.to_thread.run_sync(
            lambda: self._service.access_token(user, password, service=service, scopes=scopes)
        )

    async def make_project_login(self, request: Request) -> Response:
        identity, body = _bearer(request), _object(await _body(request))
        project = body.get("project")
        repositories, seconds = body.get("repositories", []), body.get("expires_in", 43200)
        if not isinstance(project, str):
            raise MalformedError("project: must be a string", field="project")
        if not isinstance(repositories, list) or not all(isinstance(name, str) for name in repositories):
            raise MalformedError("repositories: must be a list of strings", field="repositories")
        if not isinstance(seconds, int) or isinstance(seconds, bool):
            raise MalformedError("expires_in: must be a whole number of seconds", field="expires_in")
        issued = await anyio.to_thread.run_sync(
            lambda: self._service.project_login(
                identity, project=project, repositories=repositories, seconds=seconds
            )
        )
        return _login_answer(issued)

    async def end_project_login(self, request: Request) -> Response:
        identity = _bearer(request)
        project = dict(_fields(request.scope["query_string"])).get("project", "")
        identifier = str(request.path_params["id"])
        await anyio.to_thread.run_sync(
            lambda: self._service.end_project_login(identity, project=project, identifier=identifier)
        )
        return Response(status_code=204)

    async def make_person_login(self, request: Request) -> Response:
        identity = _bearer(request)
        body = await _body(request)
        seconds = _object(body).get("expires_in", 0) if body else 0
        if not isinstance(seconds, int) or isinstance(seconds, bool) or seconds < 0:
            raise MalformedError("expires_in: must be a whole number of seconds", field="expires_in")
        return _login_answer(
            await anyio.to_thread.run_sync(lambda: self._service.person_login(identity, seconds=seconds))
        )

    async def end_person_logins(self, request: Request) -> Response:
        user, password = _basic(request)
        await anyio.to_thread.run_sync(lambda: self._service.end_person_logins(user, password))
        return Response(status_code=204)

    async def jwks(self, _request: Request) -> Response:
        keys = await anyio.to_thread.run_sync(self._service.records.keys)
        return JSONResponse(keys.jwks(), headers={"Cache-Control": "public, max-age=300"})

    async def certificates(self, _request: Request) -> Response:
        keys = await anyio.to_thread.run_sync(self._service.records.keys)
        return PlainTextResponse(keys.bundle(), media_type="application/x-pem-file")


def _answered(handler: Handler) -> Handler:
    """Convert errors to responses that registry clients understand, without the text of an unknown error."""

    @wraps(handler)
    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except RegcredError as error:
            return _refusal(error)
        except Exception as error:  # noqa: BLE001 - every request gets a response
            details = describe_bug(error)
            log.error("unexpected %s at %s", details["error"], details["at"])  # noqa: TRY400 - the text may contain a secret
            return _error(500, "UNKNOWN", "an unexpected error; see the log of the token server")

    return answer


def _refusal(error: RegcredError) -> Response:
    if isinstance(error, TransientError):
        after = error.retry_after.total_seconds() if error.retry_after else 0
        headers = {"Retry-After": str(max(RETRY_AFTER_SECONDS, int(after)))}
        return _error(503, "UNAVAILABLE", str(error), headers)
    if isinstance(error, RefusedError):
        return _error(401, "UNAUTHORIZED", str(error), {"WWW-Authenticate": f'Basic realm="{REALM}"'})
    if isinstance(error, MalformedError):
        return _error(400, "INVALID", str(error))
    if isinstance(error, MissingError):
        return _error(503, "UNAVAILABLE", str(error), {"Retry-After": str(RETRY_AFTER_SECONDS)})
    return _error(500, "UNKNOWN", str(error))


def _error(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """An error in the form of the distribution specification.

    Docker shows ``details`` of a token server's response.
    """
    body = {"errors": [{"code": code, "message": message}], "details": message}
    return JSONResponse(body, status_code=status, headers={"Cache-Control": "no-store", **(headers or {})})


def _token_answer(answer: AccessToken, *, refresh: SecretStr | None) -> Response:
    token = answer.token.get_secret_value()
    body: dict[str, Any] = {
        "token": token,
        "access_token": token,
        "expires_in": answer.expires_in,
        "issued_at": _stamp(answer.issued_at),
        "scope": " ".join(f"{one.kind}:{one.name}:{','.join(sorted(one.actions))}" for one in answer.access),
    }
    if refresh is not None:
        body["refresh_token"] = refresh.get_secret_value()
    return JSONResponse(body, headers={"Cache-Control": "no-store"})


def _login_answer(issued: IssuedLogin) -> Response:
    body = {
        "id": issued.identifier,
        "username": issued.user,
        "password": issued.password.get_secret_value(),
        "expires_at": _stamp(issued.expires_at),
    }
    return JSONResponse(body, status_code=201, headers={"Cache-Control": "no-store"})


def _stamp(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def _body(request: Request) -> bytes:
    """The body, read up to its limit."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > BODY_MAX:
            raise MalformedError(f"the body is longer than {BODY_MAX} bytes")
        parts.append(part)
    return b"".join(parts)


def _object(body: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        raise MalformedError("the body is not JSON") from None
    if not isinstance(parsed, dict):
        raise MalformedError("the body is not a JSON object")
    return parsed


def _fields(raw: bytes) -> list[tuple[str, str]]:
    if len(raw) > max(QUERY_MAX, BODY_MAX):
        raise MalformedError(f"the query is longer than {QUERY_MAX} bytes")
    try:
        return parse_qsl(raw.decode(), keep_blank_values=True, max_num_fields=FIELDS_MAX)
    except ValueError:
        raise MalformedError(f"the query is not a form, or has more than {FIELDS_MAX} fields") from None


def _basic(request: Request) -> tuple[str, SecretStr]:
    value = _authorization(request, "basic")
    try:
        user, colon, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        raise RefusedError("the Basic credential is not base64 of user:password") from None
    if not colon:
        raise RefusedError("sign in with a user name and a password: regcred system login")
    return user, SecretStr(password)


def _bearer(request: Request) -> SecretStr:
    value = _authorization(request, "bearer")
    if not value:
        raise RefusedError("an identity token is missing: send Authorization: Bearer <token>")
    return SecretStr(value)


def _authorization(request: Request, scheme: str) -> str:
    kind, _, value = request.headers.get("authorization", "").partition(" ")
    return value.strip() if kind.lower() == scheme else ""
