"""A stand-in for HashiCorp Vault's ``auth/aws`` login: checks the signed GetCallerIdentity request as Vault and STS do.

Vault (builtin/credential/aws/path_login.go) requires POST, the body ``Action=GetCallerIdentity``, the server id header among the
signed ones, and sends the request on to STS, which checks the signature; botocore signs it anew here to compare.
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

SERVER_ID = "x-vault-aws-iam-server-id"


@dataclass(frozen=True)
class Caller:
    """A session of an IAM role, as STS knows it."""

    access_key_id: str
    secret_access_key: str
    session_token: str
    role_arn: str


@dataclass
class VaultIam(BaseAdapter):
    """Answers ``POST /v1/auth/<mount>/login``; everything else is 404."""

    callers: list[Caller]
    roles: dict[str, str]
    """By Vault role, the IAM role that it is bound to."""
    server_id: str
    sts_hosts: tuple[str, ...] = ("sts.amazonaws.com",)
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
        """Nothing is open."""

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
        if urlsplit(url).hostname not in self.sts_hosts or headers.get("host") != urlsplit(url).hostname:
            return "the request is not for the STS endpoint"
        signed = headers["authorization"].split("SignedHeaders=")[1].split(",")[0].split(";")
        if headers.get(SERVER_ID) != self.server_id or SERVER_ID not in signed:
            return f'error validating {SERVER_ID} header: expected server id "{self.server_id}"'
        caller = self._caller(url, payload, headers, signed)
        if caller is None:
            return "error making upstream request: received error code 403 from STS"
        if self.roles.get(body["role"]) != caller.role_arn:
            return "IAM Principal does not belong to the role"
        return ""

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
