"""Converts error responses of HashiCorp Vault and OpenBao to typed errors. Pure.

Statuses: https://developer.hashicorp.com/vault/api-docs#http-status-codes and
https://openbao.org/api-docs/#http-status-codes. Neither server has codes for causes, so this module compares
texts. No other module does. Each text names its file in the servers' sources (hashicorp/vault and
openbao/openbao), which is the same in both.
"""

from __future__ import annotations

import re
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import requests
from requests import codes

from regcred.errors import ConflictError, MalformedError, RefusedError, RegcredError, TransientError
from regcred.printable import printable

_CONFLICT = "check-and-set parameter did not match"  # builtin kv: path_data.go
_STARTING = "from non-versioned to versioned data"  # builtin kv: upgrade.go; mount or server has just started
_NO_LEADER = (
    # http/handler.go: before a request is forwarded (500), and before a standby redirects (503)
    "local node not active but active cluster node not found",
    "no active Vault instance found",
    "is in standby mode",  # sdk/helper/consts/error.go, ErrStandby; returned before a request is handled
    "node is not the leader",  # hashicorp/raft: ErrNotLeader, returned before an entry is added to the log
)
"""The node does not lead and knows no leader, so nothing was written. "leadership lost while committing log"
is not in this list."""

_LEADERLESS = frozenset({codes.internal_server_error, codes.service_unavailable})

_BAD_TOKEN = "invalid token"  # noqa: S105 - HashiCorp Vault's sdk/logical/error.go; OpenBao has no such text

# vault/request_handling.go, physical/raft, helper/jsonutil. "exceed" alone would match "deadline exceeded".
_TOO_LARGE = ("too large", "exceeds", "exceeded maximum", "exceeded the maximum")

# builtin/credential/aws/path_login.go: the response of STS, or its absence
_STS = "error making upstream request"
_STS_STATUS = re.compile(r"received error code (\d{3}) from STS")
_STS_CODE = re.compile(r"<Code>([A-Za-z.]{1,100})</Code>")
_STS_PASSING = frozenset(
    {"Throttling", "ThrottlingException", "RequestLimitExceeded", "ServiceUnavailable", "InternalFailure"}
)
"""https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html; throttling comes with status 400."""

_KEYS_UNREACHED = ("fetching keys", "get keys failed")  # go-oidc: jwks.go; the jwks_url does not answer

_REASONS = {
    "could not be found": "the role does not exist there; apply the platform's declaration",
    "entry for role": "the role does not exist there; apply the platform's declaration",
    "does not belong to the role": "the role is not bound to this IAM role, or (with resolve_unique_ids) "
    "to an earlier one of the same name; see 'The Lambdas' in docs/vault.md",
    "Server-ID": "the server id header is missing or wrong",
    "no known key successfully validated": (
        "none of the configured keys verifies its signature; were the keys rotated?"
    ),
    "failed to verify id token signature": "none of the keys at jwks_url verifies its signature",
    "token is expired": "it has expired; is the clock right?",
    "token not yet valid": "it is not valid yet; is the clock right?",
    "token issued in the future": "it was issued in the future; is the clock right?",
    "(aud)": "its audience is not the one that the role requires",
    "(sub)": "its subject is not the one that the role is bound to",
    'claim "sub"': "its subject is not one of those that the role is bound to",
    "(iss)": "its issuer is not the one set there",
    "permission denied": "there is no such sign-in method; apply the platform's declaration",
}
"""Why a sign-in was refused, by a text in the response. The first match counts. It selects only a text, and
decides nothing.

builtin/credential/aws/path_login.go and its header validation; hashicorp/vault-plugin-auth-jwt:
path_login.go, claims.go; hashicorp/cap: jwt/jwt.go, jwt/keyset.go; coreos/go-oidc: jwks.go.
"""

_NOT_FROM_VAULT = "the answer is not from Vault; is another server at this address, or a proxy in between?"
_UNREADY = {
    412: "this node has not seen the last write yet",
    429: "too many requests, or a standby that does not serve",
    472: "a disaster-recovery standby answered; point the address at the active cluster",
    473: "a performance standby answered that does not serve",
    501: "the server is not initialised",
    503: "the server is sealed or in maintenance",
}
_QUOTA = "quota exceeded"  # vault/quotas/quotas.go
_OVER_QUOTA = "too many requests: a quota of Vault is exceeded; see 'quotas' in platform.yaml"
_SECONDS = re.compile(r"[0-9]{1,9}")
_SETTINGS = re.compile(
    r" /v1/(?:sys/(?:auth|mounts|policies|quotas)|auth/[^/]+/(?:config|role)|identity/group)\b"
)
"""Requests that set up the server. They contain no secret, so the server's texts about them contain none."""
_TEXT_LIMIT = 300
"""How many characters of a server's text an error repeats."""


class NotSentError(TransientError):
    """The server has certainly not processed the request, so any request may be repeated."""


class NoLeaderError(NotSentError):
    """A node does not lead and knows no leader: an election is in progress, or there is no majority."""


class RefusedTokenError(RefusedError):
    """Vault answered 403: an invalid token or a missing permission. Only HashiCorp Vault tells them apart."""


def failure(response: requests.Response, where: str) -> RegcredError | None:
    """The error of a response, from its status and known texts; None for a success and for a plain 404.

    Args:
        response: The response. The error repeats its texts only if the request set the server up.
        where: The start of the error text: the request.
    """
    status = response.status_code
    if status < codes.bad_request:
        return None if _is_from_vault(response) else TransientError(f"{where}: {_NOT_FROM_VAULT}")
    if status == codes.not_found:
        return _not_found(response, where)
    return (
        _unready(response, where)
        or _bad_sign_in(response, where)
        or _bad_write(response, where)
        or _by_status(response, where)
    )


def errors(response: requests.Response) -> list[str] | None:
    """The server's error texts. None without a list of them, so the response is not from Vault."""
    found = (_json(response) or {}).get("errors")
    return [str(error) for error in found] if isinstance(found, list) else None


def text(response: requests.Response) -> str:
    """The error texts of a failure as one string; empty for a success."""
    return "" if response.ok else " ".join(errors(response) or ())


def retry_after(response: requests.Response) -> timedelta | None:
    """The wait that the server, or a proxy in front of it, requires. The header has seconds or a date.

    Contract: https://www.rfc-editor.org/rfc/rfc9110#field.retry-after
    """
    header = response.headers.get("Retry-After", "")
    if _SECONDS.fullmatch(header):
        return timedelta(seconds=int(header))
    try:
        # Compared with the server's clock, because ours may differ.
        until, now = (parsedate_to_datetime(value) for value in (header, response.headers.get("Date", "")))
        return max(until - now, timedelta())
    except (TypeError, ValueError):
        return None


def _unready(response: requests.Response, where: str) -> RegcredError | None:
    status, message = response.status_code, text(response)
    if status in _LEADERLESS and any(word in message for word in _NO_LEADER):
        return NoLeaderError(
            f"{where}: this node does not lead and knows no leader yet", retry_after=retry_after(response)
        )
    if status in _UNREADY and errors(response) is not None:
        cause = _OVER_QUOTA if _QUOTA in message else _UNREADY[status]
        return NotSentError(f"{where}: {cause}", retry_after=retry_after(response))
    return None


def _bad_sign_in(response: requests.Response, where: str) -> RegcredError | None:
    if not where.endswith("/login") or response.status_code not in {codes.bad_request, codes.forbidden}:
        return None
    message = text(response)
    if _STS in message:
        return _bad_sts(message, where)
    if any(word in message for word in _KEYS_UNREACHED):
        return TransientError(f"{where}: Vault can't fetch the issuer's keys (jwks_url) at the moment")
    reason = next((f": {words}" for word, words in _REASONS.items() if word in message), "")
    return RefusedError(f"{where}: the sign-in was refused{reason}")


def _bad_sts(message: str, where: str) -> RegcredError:
    """The error of a sign-in that STS did not confirm.

    It is temporary if STS is down or throttles, and permanent if STS has refused the signature.
    """
    status, code = _STS_STATUS.search(message), _STS_CODE.search(message)
    passing = code is not None and code[1] in _STS_PASSING
    if status and status[1].startswith("4") and status[1] != "429" and not passing:
        return RefusedError(
            f"{where}: the sign-in was refused: AWS STS refused the signed request; are the function's "
            "credentials, its region and the mount's sts_region right?"
        )
    return TransientError(f"{where}: Vault can't reach AWS STS at the moment")


def _not_found(response: requests.Response, where: str) -> RegcredError | None:
    found = errors(response)
    if found == [] or _is_from_vault(response):
        return None
    if found:
        return RefusedError(
            f"{where}: there is no such mount or namespace; check both, or apply the platform's declaration"
        )
    return TransientError(f"{where}: {_NOT_FROM_VAULT}")


def _bad_write(response: requests.Response, where: str) -> RegcredError | None:
    message, status = text(response), response.status_code
    if status == codes.bad_request and _STARTING in message:
        return NotSentError(f"{where}: the mount is starting")
    if status == codes.bad_request and _CONFLICT in message:
        return ConflictError(f"{where}: another client wrote first; read it and try again")
    refused = status in {codes.bad_request, codes.internal_server_error} and any(
        word in message for word in _TOO_LARGE
    )
    if refused or status == codes.request_entity_too_large:
        return MalformedError(f"{where}: the document is too large for the server; nothing was written")
    if status == codes.bad_request:
        return MalformedError(
            f"{where}: the server can't understand the request (status 400){_about_settings(response, where)}"
        )
    return None


def _about_settings(response: requests.Response, where: str) -> str:
    """The server's texts about a request that sets up the server. Only they name the wrong setting."""
    message = printable(text(response)[:_TEXT_LIMIT]).strip()
    return f": {message}" if message and _SETTINGS.search(where) else ""


def _by_status(response: requests.Response, where: str) -> RegcredError:
    status = response.status_code
    if status >= codes.internal_server_error or status in _UNREADY:
        return TransientError(
            f"{where}: the server failed (status {status}){_about_settings(response, where)}",
            retry_after=retry_after(response),
        )
    if status in {codes.unauthorized, codes.forbidden}:
        cause = "" if _BAD_TOKEN in text(response) else ", or its policy does not allow this"
        return RefusedTokenError(f"{where}: permission denied: the token is not valid (any more){cause}")
    return RefusedError(f"{where}: this server does not know the request (status {status})")


def _json(response: requests.Response) -> dict[str, Any] | None:
    try:
        body = response.json()
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def _is_from_vault(response: requests.Response) -> bool:
    if response.status_code == codes.no_content:
        return True
    body = _json(response)
    if body is None:
        return False
    # Without Vault's envelope: identity/oidc/introspect, which follows RFC 7662, and sys/health.
    return any(name in body for name in ("request_id", "data", "auth")) or any(
        isinstance(body.get(name), bool) for name in ("active", "initialized")
    )
