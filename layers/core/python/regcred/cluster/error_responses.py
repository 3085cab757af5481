"""Converts an error response of the API server to a typed error. Pure.

Contract: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import orjson

from regcred.cluster.interface import AlreadyExistsError, ExpiredError, TerminatingError, ThrottledError
from regcred.errors import (
    ConflictError,
    ErrorAnswer,
    MalformedError,
    MissingError,
    RefusedError,
    RegcredError,
    TransientError,
)

MESSAGE_MAX = 400
"""How many characters of a server's message are kept."""

CAUSES_MAX = 100
"""How many causes are read."""

LONGEST_WAIT = 3600
"""The maximum pause, in seconds. If a server requires a longer one, sync retries after this time."""

CODE_MAX = 100
"""How many characters are kept of a reason, a resource and the name of a field."""

_SECONDS = re.compile(r"[0-9]{1,9}")

_STATUS: Mapping[int, type[RegcredError]] = {
    400: MalformedError,
    401: RefusedError,
    403: RefusedError,
    404: MissingError,
    405: MissingError,
    409: ConflictError,
    410: ExpiredError,
    413: RefusedError,
    422: MalformedError,
}


def error_of(verb: str, path: str, status: int, content: bytes, retry_after: str | None) -> RegcredError:
    """The typed error of a response.

    Its text includes the server's message, except for Secrets: there the message can repeat the request.

    Args:
        verb: The request's verb.
        path: The request's path.
        status: The HTTP status.
        content: The first bytes of the body.
        retry_after: The value of the ``Retry-After`` header.
    """
    body = _status_of(content)
    answer = _answer(status, body) if body else ErrorAnswer(status)
    message = f": {answer.words}" if answer.words and "/secrets" not in path else ""
    text = f"the API server answered {status} to {verb} {path}{message}"
    error = _typed(answer, text, wait_of(retry_after))
    error.answer = answer
    return error


def wait_of(retry_after: str | None) -> timedelta | None:
    """The pause in a ``Retry-After`` header; None if it is not a number of seconds."""
    if not retry_after or not _SECONDS.fullmatch(retry_after.strip()):
        return None
    return timedelta(seconds=min(int(retry_after), LONGEST_WAIT))


def one_line(text: str, length: int) -> str:
    """A server's text as one line of at most ``length`` characters, without control characters."""
    cut = text[: length + 1]
    clean = " ".join("".join(char if char.isprintable() else " " for char in cut).split())
    return clean if len(text) <= length else f"{clean[: length - 3]}..."


def _typed(answer: ErrorAnswer, text: str, wait: timedelta | None) -> RegcredError:
    if "NamespaceTerminating" in answer.causes:
        return TerminatingError(text)
    if answer.status == 409 and answer.reason == "AlreadyExists":  # noqa: PLR2004 - HTTP
        return AlreadyExistsError(text)
    if answer.status in _STATUS:
        return _STATUS[answer.status](text)
    # The server's own flow control responds in plain text; a response about one object is a Status.
    if wait and not answer.reason:
        return ThrottledError(text, retry_after=wait)
    return TransientError(text, retry_after=wait)


def _status_of(content: bytes) -> Mapping[str, Any] | None:
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
    return body if isinstance(body, dict) and body.get("kind") == "Status" else None


def _answer(status: int, body: Mapping[str, Any]) -> ErrorAnswer:
    details = body.get("details")
    details = details if isinstance(details, dict) else {}
    causes = details.get("causes")
    found = [
        cause
        for cause in (causes if isinstance(causes, list) else [])[:CAUSES_MAX]
        if isinstance(cause, dict)
    ]
    return ErrorAnswer(
        status,
        reason=one_line(str(body.get("reason") or "Unknown"), CODE_MAX),
        about=one_line(str(details.get("kind") or ""), CODE_MAX),
        causes=frozenset(one_line(str(cause.get("reason") or ""), CODE_MAX) for cause in found) - {""},
        fields=frozenset(one_line(str(cause.get("field") or ""), CODE_MAX) for cause in found) - {""},
        policy=any(_is_of_policy(cause) for cause in found),
        words=one_line(str(body.get("message") or ""), MESSAGE_MAX),
    )


def _is_of_policy(cause: Mapping[str, Any]) -> bool:
    """Whether a cause comes from a ValidatingAdmissionPolicy. Such a cause has a message only.

    Contract: k8s.io/apiserver pkg/admission/plugin/policy/validating/dispatcher.go.
    """
    return bool(cause.get("message")) and not cause.get("field") and not cause.get("reason")
