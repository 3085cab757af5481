"""A stand-in for HashiCorp Vault's ``auth/aws`` login: checks the signed GetCallerIdentity request as Vault
and STS do.

Vault (github.com/hashicorp/vault, builtin/credential/aws/path_login.go) requires POST, the body
``Action=GetCallerIdentity``, and the server id header among the signed headers. It sends the request to the
STS in its own configuration, which checks the signature. Here, botocore signs the same request, and the
signatures are compared. The texts of refusals are Vault's.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import requests
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from requests.adapters import BaseAdapter

HEADER = "X-Vault-AWS-IAM-Server-ID"
SERVER_ID = HEADER.lower()


def _sts_error(status: int, code: str) -> str:
    """Vault's text for an error of STS, or for no answer (status 0)."""
    if not status:
        return f"error making request: POST https://sts.amazonaws.com/ giving up after 4 attempt(s): {code}"
    if status == requests.codes.too_many_requests or status >= requests.codes.internal_server_error:
        # hashicorp/go-retryablehttp, which Vault sends with, repeats these and drops the last answer.
        return "error making request: POST https://sts.amazonaws.com/ giving up after 4 attempt(s)"
    return (
        f'received error code {status} from STS: <ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
        f"<Error><Type>Sender</Type><Code>{code}</Code><Message>words</Message></Error></ErrorResponse>"
    )


@dataclass(frozen=True)
class Caller:
    """A session of an IAM role, as STS stores it."""

    access_key_id: str
    secret_access_key: str
    session_token: str
    role_arn: str


@dataclass
class VaultIam(BaseAdapter):
    """Answers ``POST /v1/auth/<mount>/login``; everything else is 404."""

    callers: list[Caller]
    roles: dict[str, str]
    """For each Vault role, the ARN of the IAM role that it is bound to."""
    server_id: str
    sts_endpoint: str = ""
    """The mount's ``sts_endpoint``; if it is empty, Vault calls the global endpoint, even with
    ``sts_region``."""
    sts_answer: tuple[int, str] | None = None
    """The status and error code of STS's answer to every request; status 0 means that it does not answer."""
    bodies: list[dict[str, Any]] = field(default_factory=list)

    def send(self, request: requests.PreparedRequest, **_: object) -> requests.Response:
        if not str(request.url).endswith("/v1/auth/regcred-lambda-iam/login"):
            return self._answer(request, 404, {"errors": []})
        body = json.loads(request.body or b"")
        self.bodies.append(body)
        if error := self._refuse(body):
            return self._answer(request, 400, {"errors": [error]})
        return self._answer(
            request, 200, {"auth": {"client_token": f"hvb.{body['role']}", "lease_duration": 1200}}
        )

    def close(self) -> None:
        """Do nothing: there is no connection."""

    def _refuse(self, body: Mapping[str, Any]) -> str:
        url = b64decode(body["iam_request_url"]).decode()
        payload = b64decode(body["iam_request_body"]).decode()
        headers = {
            name.lower(): values[0]
            for name, values in json.loads(b64decode(body["iam_request_headers"])).items()
        }
        if body["iam_http_request_method"] != "POST" or parse_qs(payload).get("Action") != [
            "GetCallerIdentity"
        ]:
            return "iam_request_body must be a GetCallerIdentity request"
        signed = headers["authorization"].split("SignedHeaders=")[1].split(",")[0].split(";")
        if error := self._bad_server_id(headers, signed):
            return f"error validating {HEADER} header: {error}"
        if self.sts_answer:
            return f"error making upstream request: {_sts_error(*self.sts_answer)}"
        configured = urlsplit(self.sts_endpoint or "https://sts.amazonaws.com").hostname
        same = headers.get("host") == urlsplit(url).hostname == configured
        caller = self._caller(url, payload, headers, signed) if same else None
        if caller is None:
            return f"error making upstream request: {_sts_error(403, 'SignatureDoesNotMatch')}"
        return self._bad_role(body["role"], caller)

    def _bad_role(self, role: str, caller: Caller) -> str:
        if role not in self.roles:
            return f"entry for role {role} not found"
        # STS names a session without the path of its role, so Vault compares without the path.
        account, name = caller.role_arn.split(":")[4], caller.role_arn.rpartition("/")[2]
        if self.roles[role] != f"arn:aws:iam::{account}:role/{name}":
            principal = f"arn:aws:sts::{account}:assumed-role/{name}/session"
            return f'IAM Principal "{principal}" does not belong to the role "{role}"'
        return ""

    def _bad_server_id(self, headers: Mapping[str, str], signed: list[str]) -> str:
        if not headers.get(SERVER_ID):
            return f'missing header "{HEADER}"'
        if headers[SERVER_ID] != self.server_id:
            return f'expected "{self.server_id}" but got "{headers[SERVER_ID]}"'
        return "" if SERVER_ID in signed else "vault header wasn't signed"

    def _caller(self, url: str, payload: str, headers: dict[str, str], signed: list[str]) -> Caller | None:
        key, _, region, service, _ = headers["authorization"].split("Credential=")[1].split(",")[0].split("/")
        caller = next((caller for caller in self.callers if caller.access_key_id == key), None)
        sent = datetime.strptime(headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        if caller is None or abs(datetime.now(UTC) - sent) > timedelta(minutes=15) or "host" not in signed:
            return None
        request = AWSRequest("POST", url, {name: headers[name] for name in signed}, payload)
        request.context["timestamp"] = headers["x-amz-date"]
        credentials = Credentials(caller.access_key_id, caller.secret_access_key, caller.session_token)
        signer = SigV4Auth(credentials, service, region)
        signature = signer.signature(
            signer.string_to_sign(request, signer.canonical_request(request)), request
        )
        same = headers["authorization"].endswith(f"Signature={signature}")
        return caller if same and headers.get("x-amz-security-token") == caller.session_token else None

    @staticmethod
    def _answer(request: requests.PreparedRequest, status: int, body: object) -> requests.Response:
        response = requests.Response()
        response.status_code, response.request, response.url = status, request, str(request.url)
        response._content = json.dumps(body).encode()
        return response
