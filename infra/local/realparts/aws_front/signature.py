"""Verifies Signature Version 4 and finds the caller."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from .answers import AwsError
from .store import Caller, Store

MAX_SKEW_SECONDS = 300
_AUTHORIZATION = re.compile(
    r"^AWS4-HMAC-SHA256 "
    r"+Credential=(?P<key>[^/]+)/(?P<date>\d{8})/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request, *"
    r"SignedHeaders=(?P<headers>[^,]+), *Signature=(?P<signature>[0-9a-f]{64})$"
)


@dataclass(frozen=True)
class Call:
    """A request with a valid signature."""

    service: str
    region: str
    operation: str
    params: dict[str, str]
    body: dict[str, Any]
    caller: Caller


def authenticated(request: web.Request, body: bytes, store: Store) -> Call:
    """Return the operation and the caller of a request.

    Raises:
        AwsError: the request has no valid signature of a known caller.
    """
    found = _authorization(request)
    caller = store.caller(found["key"], request.headers.get("X-Amz-Security-Token"))
    _check_signature(request, body, found, caller)
    _check_time(request.headers["X-Amz-Date"], found["date"])
    is_form = request.content_type == "application/x-www-form-urlencoded"
    params = dict(parse_qsl(body.decode())) if is_form else {}
    target = request.headers.get("X-Amz-Target", "")
    operation = target.rpartition(".")[2] or params.get("Action") or f"{request.method} {request.path}"
    parsed = json.loads(body) if body and "json" in request.content_type else {}
    return Call(found["service"], found["region"], operation, params, parsed, caller)


def _authorization(request: web.Request) -> re.Match[str]:
    header = request.headers.get("Authorization", "")
    if not header:
        raise AwsError(
            "MissingAuthenticationTokenException",
            "Missing Authentication Token",
            query="MissingAuthenticationToken",
            status=403,
        )
    found = _AUTHORIZATION.match(header)
    if found is None or "host" not in _signed(found) or "X-Amz-Date" not in request.headers:
        raise AwsError(
            "IncompleteSignatureException",
            "the Authorization header is incomplete",
            query="IncompleteSignature",
        )
    return found


def _signed(found: re.Match[str]) -> list[str]:
    return found["headers"].split(";")


def _check_signature(request: web.Request, body: bytes, found: re.Match[str], caller: Caller) -> None:
    names = _signed(found)
    headers = {name: request.headers[name] for name in names if name in request.headers}
    expected = _signature(request, body, headers, found, caller)
    claimed_hash = headers.get("x-amz-content-sha256")
    hash_is_right = claimed_hash in {None, "UNSIGNED-PAYLOAD", hashlib.sha256(body).hexdigest()}
    names_complete = len(headers) == len(names) and (caller.token is None or "x-amz-security-token" in names)
    if not (hmac.compare_digest(expected, found["signature"]) and hash_is_right and names_complete):
        raise _mismatch("The request signature we calculated does not match the signature you provided.")


def _signature(
    request: web.Request, body: bytes, headers: Mapping[str, str], found: re.Match[str], caller: Caller
) -> str:
    """Return the signature that botocore computes for the request."""
    credentials = Credentials(caller.access_key, caller.secret, caller.token)
    signer = SigV4Auth(credentials, found["service"], found["region"])
    again = AWSRequest(
        method=request.method,
        url=f"http://{request.headers['Host']}{request.raw_path}",
        data=body,
        headers=headers,
    )
    again.context["timestamp"] = request.headers["X-Amz-Date"]
    signature: str = signer.signature(signer.string_to_sign(again, signer.canonical_request(again)), again)
    return signature


def _check_time(stamp: str, date: str) -> None:
    sent = dt.datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=dt.UTC).timestamp()
    if abs(time.time() - sent) > MAX_SKEW_SECONDS or not stamp.startswith(date):
        raise _mismatch(f"Signature expired: {stamp} is not within {MAX_SKEW_SECONDS} seconds of now")


def _mismatch(message: str) -> AwsError:
    return AwsError("InvalidSignatureException", message, query="SignatureDoesNotMatch", status=403)
