"""Responses in AWS's formats: XML for STS, JSON for the other services, and their errors."""

from __future__ import annotations

import json
import secrets
import time
from typing import Any
from xml.sax.saxutils import escape

from aiohttp import web

_STS_NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"
_JSON = "application/x-amz-json-1.1"


class AwsError(Exception):
    """An error of AWS. `query` is its code in services with XML responses."""

    def __init__(self, code: str, message: str, *, query: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.query = query or code
        self.status = status


def access_denied(arn: str, what: str) -> AwsError:
    """Return the error for a caller (an ARN) without the permission for an action."""
    message = f"User: {arn} is not authorized to perform: {what}"
    return AwsError("AccessDeniedException", message, query="AccessDenied", status=403)


def xml_answer(operation: str, result: dict[str, Any]) -> web.Response:
    """Return a response of STS. The values of the result are strings or nested results."""
    text = (
        f'<{operation}Response xmlns="{_STS_NAMESPACE}">'
        f"<{operation}Result>{_elements(result)}</{operation}Result>"
        f"<ResponseMetadata><RequestId>{_request_id()}</RequestId></ResponseMetadata></{operation}Response>"
    )
    return web.Response(text=text, content_type="text/xml")


def json_answer(content: dict[str, Any], *, status: int = 200) -> web.Response:
    """Return a response of a service that uses JSON."""
    return web.Response(status=status, body=json.dumps(content).encode(), content_type=_JSON)


def error_answer(request: web.Request, error: AwsError) -> web.Response:
    """Return an error in the format of the request's service."""
    if request.headers.get("X-Amz-Target"):
        status = 500 if error.status >= 500 else 400
        return json_answer({"__type": error.code, "message": str(error)}, status=status)
    kind = "Receiver" if error.status >= 500 else "Sender"
    text = (
        f'<ErrorResponse xmlns="{_STS_NAMESPACE}"><Error><Type>{kind}</Type><Code>{error.query}</Code>'
        f"<Message>{escape(str(error))}</Message></Error><RequestId>{_request_id()}</RequestId></ErrorResponse>"
    )
    return web.Response(status=error.status, text=text, content_type="text/xml")


def iso(seconds: float) -> str:
    """Return a time, in seconds since the epoch, in the format of AWS's XML."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _elements(values: dict[str, Any]) -> str:
    return "".join(
        f"<{key}>{_elements(value) if isinstance(value, dict) else escape(value)}</{key}>"
        for key, value in values.items()
    )


def _request_id() -> str:
    return secrets.token_hex(16)
