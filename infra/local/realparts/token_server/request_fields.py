"""Reads the host, repository and credential of a request, and creates refusals."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any

import jwt
from aiohttp import web

from .accounts import RefusedError

_REPOSITORY = re.compile(r"^/v2/(?P<repository>.+)/(manifests|blobs|tags|referrers)/(?P<reference>.*)$")


def host(request: web.Request) -> str:
    """Return the host name in the request."""
    return request.headers.get("Host", "")


def repository(request: web.Request) -> str:
    """Return the repository in a request's path; empty if there is none."""
    found = _REPOSITORY.match(request.path)
    return found["repository"] if found else ""


def reference(request: web.Request) -> str:
    """Return the tag or digest in a request's path; empty if there is none."""
    found = _REPOSITORY.match(request.path)
    return found["reference"] if found else ""


def credential(request: web.Request, form: Mapping[str, Any] | None = None) -> tuple[str, str]:
    """Return the user name and password of a request; empty if it has none.

    Raises:
        RefusedError: they can't be read.
    """
    if form and form.get("grant_type") == "password":
        return str(form.get("username", "")), str(form.get("password", ""))
    if form:
        raise RefusedError("only grant_type=password is supported", status=400, code="UNSUPPORTED")
    value = _authorization(request, "basic")
    if not value:
        return "", ""
    try:
        username, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise RefusedError("the Basic credential is not base64") from error
    return username, password


def claimed_user(request: web.Request) -> str:
    """Return the user name of a request with a refused credential; empty if there is none."""
    try:
        return base64.b64decode(_authorization(request, "basic")).decode().partition(":")[0]
    except ValueError:
        return ""


def bearer_subject(request: web.Request) -> str:
    """Return the subject of a request's access token without verification; empty if there is none."""
    value = _authorization(request, "bearer")
    if not value:
        return ""
    try:
        return str(jwt.decode(value, options={"verify_signature": False}).get("sub", ""))
    except jwt.PyJWTError:
        return ""


def refusal(error: RefusedError, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return an error in the form of the distribution spec."""
    body = {"errors": [{"code": error.code, "message": str(error), "detail": None}]}
    return web.json_response(body, status=error.status, headers=headers)


def _authorization(request: web.Request, scheme: str) -> str:
    kind, _, value = request.headers.get("Authorization", "").partition(" ")
    return value if kind.lower() == scheme else ""
