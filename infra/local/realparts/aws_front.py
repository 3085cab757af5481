"""What `AWS_ENDPOINT_URL` points to: checks every request as AWS does, answers STS and ECR itself, and passes the rest to moto.

moto checks no signature, no trust policy and no expiry, and its ECR token expired in 2015, so these are done here:

- Signature Version 4 of every request is computed again with botocore's own signer.
- STS AssumeRole checks the role's trust policy (principal, ExternalId, session tags), durations and policy sizes.
- STS GetWebIdentityToken gives a JWT with the claims that AWS documents; its keys are at the issuer's JWKS address.
- ECR GetAuthorizationToken gives a login that the local registry honours until it expires.

On a second port, for this machine's tests: roles, faults, the lifetime of ECR logins, and the list of calls.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import datetime as dt
import hashlib
import hmac
import json
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

import aiohttp
import jwt
from aiohttp import web
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from . import pki
from .aws_policy import allowed, malformed, partition, registry_domain
from .ecr_token import EcrToken
from .serving import serve
from .used_secrets import remember

MAX_SKEW_SECONDS = 300
_AUTHORIZATION = re.compile(
    r"^AWS4-HMAC-SHA256 +Credential=(?P<key>[^/]+)/(?P<date>\d{8})/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request, *"
    r"SignedHeaders=(?P<headers>[^,]+), *Signature=(?P<signature>[0-9a-f]{64})$"
)
_ROLE_ARN = re.compile(r"^arn:aws[a-z-]*:iam::(?P<account>\d{12}):role/(?P<path>.*/)?(?P<name>[\w+=,.@-]+)$")
_SESSION_NAME = re.compile(r"^[\w+=,.@-]{2,64}$")
_STS_NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"
_ALGORITHMS = ("RS256", "ES384")


class AwsError(Exception):
    """An answer in AWS's own terms. `query` is the code that services with XML answers use."""

    def __init__(self, code: str, message: str, *, query: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.query = query or code
        self.status = status


@dataclass(frozen=True)
class Caller:
    """Who an access key belongs to: a user (no expiry, no token) or a role session. Times are seconds since the epoch."""

    access_key: str
    secret: str
    arn: str
    principal: str
    account: str
    policies: list[dict[str, Any]]
    token: str | None = None
    expires_at: float | None = None
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Call:
    """One request whose signature was found right."""

    service: str
    region: str
    operation: str
    params: dict[str, str]
    body: dict[str, Any]
    caller: Caller


class Front:
    """The state and the two applications."""

    def __init__(self, directory: Path, moto: str, ecr_key: bytes) -> None:
        self._directory = directory
        self._moto = moto
        self._ecr_key = ecr_key
        self._stored_path = directory / "front.json"
        stored = json.loads(self._stored_path.read_text()) if self._stored_path.exists() else {}
        self._callers = {key: Caller(**value) for key, value in stored.get("callers", {}).items()}
        self._roles: dict[str, dict[str, Any]] = stored.get("roles", {})
        self._settings: dict[str, Any] = {
            "ecr_token_seconds": 43200,
            "outbound_federation_disabled": [],
            **stored.get("settings", {}),
        }
        self._faults: dict[str, dict[str, Any]] = {}
        self._rsa = pki.rsa_key(directory / "web-identity-rs256.key")
        self._ec = pki.ec384_key(directory / "web-identity-es384.key")
        self._events = (directory / "events.jsonl").open("a", buffering=1)
        self._session: aiohttp.ClientSession

    async def run(self, port: int, control_port: int) -> None:
        """Serve both ports until cancelled."""
        public = web.Application(client_max_size=1 << 26)
        public.router.add_route("*", "/{path:.*}", self.answer)
        control = web.Application()
        control.router.add_put("/callers", self.put_caller)
        control.router.add_put("/roles", self.put_role)
        control.router.add_post("/roles/remove", self.remove_role)
        control.router.add_post("/sessions", self.post_session)
        control.router.add_put("/settings", self.put_settings)
        control.router.add_put("/faults/{operation}", self.put_fault)
        control.router.add_delete("/faults", self.delete_faults)
        self._session = aiohttp.ClientSession(auto_decompress=False)
        for application, number in ((public, port), (control, control_port)):
            runner = web.AppRunner(application, access_log=None)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", number).start()

    # The public port.

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Check a request and answer it."""
        if document := self._well_known(request):
            return document
        body = await request.read()
        try:
            call = self._authenticated(request, body)
        except AwsError as error:
            self._record("?", "?", "refused", code=error.code)
            return _error_answer(request, error)
        try:
            await self._apply_fault(call)
            if (operation := self._own(call)) is not None:
                answer: web.StreamResponse = operation(call)
            else:
                for action, resource in _needed(call):
                    _require(call, action, resource, {})
                answer = await self._pass_on(request, body)
        except AwsError as error:
            self._record(
                call.service,
                call.operation,
                "refused",
                code=error.code,
                caller=call.caller.arn,
                region=call.region,
            )
            return _error_answer(request, error)
        self._record(
            call.service,
            call.operation,
            "answered",
            status=answer.status,
            caller=call.caller.arn,
            region=call.region,
        )
        return answer

    def _own(self, call: Call) -> Any:
        return {
            ("sts", "AssumeRole"): self._assume_role,
            ("sts", "GetCallerIdentity"): self._get_caller_identity,
            ("sts", "GetWebIdentityToken"): self._get_web_identity_token,
            ("ecr", "GetAuthorizationToken"): self._get_authorization_token,
        }.get((call.service, call.operation))

    def _authenticated(self, request: web.Request, body: bytes) -> Call:
        header = request.headers.get("Authorization", "")
        if not header:
            raise AwsError(
                "MissingAuthenticationTokenException",
                "Missing Authentication Token",
                query="MissingAuthenticationToken",
                status=403,
            )
        found = _AUTHORIZATION.match(header)
        signed = found["headers"].split(";") if found else []
        if found is None or "host" not in signed or "X-Amz-Date" not in request.headers:
            raise AwsError(
                "IncompleteSignatureException",
                "the Authorization header is incomplete",
                query="IncompleteSignature",
            )
        caller = self._caller(found["key"], request.headers.get("X-Amz-Security-Token"))
        self._check_signature(request, body, found, signed, caller)
        params = dict(parse_qsl(body.decode())) if _is_form(request) else {}
        target = request.headers.get("X-Amz-Target", "")
        operation = target.rpartition(".")[2] or params.get("Action") or f"{request.method} {request.path}"
        parsed = json.loads(body) if body and "json" in request.content_type else {}
        return Call(found["service"], found["region"], operation, params, parsed, caller)

    def _caller(self, key: str, token: str | None) -> Caller:
        caller = self._callers.get(key)
        if caller is None or not hmac.compare_digest(caller.token or "", token or ""):
            message = "The security token included in the request is invalid."
            raise AwsError("UnrecognizedClientException", message, query="InvalidClientTokenId", status=403)
        if caller.expires_at is not None and time.time() >= caller.expires_at:
            message = "The security token included in the request is expired"
            raise AwsError("ExpiredTokenException", message, query="ExpiredToken", status=403)
        return caller

    def _check_signature(
        self, request: web.Request, body: bytes, found: re.Match[str], signed: list[str], caller: Caller
    ) -> None:
        stamp = request.headers["X-Amz-Date"]
        headers = {name: request.headers[name] for name in signed if name in request.headers}
        signer = SigV4Auth(
            Credentials(caller.access_key, caller.secret, caller.token), found["service"], found["region"]
        )
        again = AWSRequest(
            method=request.method,
            url=f"http://{request.headers['Host']}{request.raw_path}",
            data=body,
            headers=headers,
        )
        again.context["timestamp"] = stamp
        expected = signer.signature(signer.string_to_sign(again, signer.canonical_request(again)), again)
        claimed_hash = headers.get("x-amz-content-sha256")
        hash_is_right = claimed_hash in {None, "UNSIGNED-PAYLOAD", hashlib.sha256(body).hexdigest()}
        names_complete = len(headers) == len(signed) and (
            caller.token is None or "x-amz-security-token" in signed
        )
        if not (hmac.compare_digest(expected, found["signature"]) and hash_is_right and names_complete):
            message = "The request signature we calculated does not match the signature you provided."
            raise AwsError("InvalidSignatureException", message, query="SignatureDoesNotMatch", status=403)
        sent = dt.datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=dt.UTC).timestamp()
        if abs(time.time() - sent) > MAX_SKEW_SECONDS or not stamp.startswith(found["date"]):
            message = f"Signature expired: {stamp} is not within {MAX_SKEW_SECONDS} seconds of now"
            raise AwsError("InvalidSignatureException", message, query="SignatureDoesNotMatch", status=403)

    async def _apply_fault(self, call: Call) -> None:
        fault = self._faults.get(call.operation)
        if fault is None or fault["times"] <= 0:
            return
        fault["times"] -= 1
        match fault["kind"]:
            case "throttle":
                raise AwsError("ThrottlingException", "Rate exceeded", query="Throttling")
            case "refuse":
                message = (
                    f"User: {call.caller.arn} is not authorized to perform: {call.service}:{call.operation}"
                )
                raise AwsError("AccessDeniedException", message, query="AccessDenied", status=403)
            case "error":
                raise AwsError("ServerException", "an internal error", query="InternalFailure", status=500)
            case "delay":
                await asyncio.sleep(float(fault["seconds"]))

    async def _pass_on(self, request: web.Request, body: bytes) -> web.StreamResponse:
        dropped = {"content-length", "transfer-encoding", "connection"}
        headers = {key: value for key, value in request.headers.items() if key.lower() not in dropped}
        async with self._session.request(
            request.method,
            f"{self._moto}{request.raw_path}",
            headers=headers,
            data=body,
            allow_redirects=False,
        ) as upstream:
            kept = {key: value for key, value in upstream.headers.items() if key.lower() not in dropped}
            return web.Response(status=upstream.status, headers=kept, body=await upstream.read())

    # STS.

    def _assume_role(self, call: Call) -> web.Response:
        params = call.params
        arn, name = params.get("RoleArn", ""), params.get("RoleSessionName", "")
        if not _ROLE_ARN.match(arn):
            raise AwsError("ValidationError", f"{arn} is invalid")
        if not _SESSION_NAME.match(name):
            raise AwsError("ValidationError", "Value at 'roleSessionName' failed to satisfy constraint")
        tags = _tags(params)
        role = self._trusting_role(call, arn, tags)
        seconds = self._session_seconds(call, role)
        policies = [role["policy"], *self._session_policies(params)]
        session = self._new_session(arn, name, seconds, policies, tags=tags)
        return _xml(
            "AssumeRole",
            {
                "Credentials": _credentials(session),
                "AssumedRoleUser": {
                    "AssumedRoleId": f"AROA{_digest(arn)[:17].upper()}:{name}",
                    "Arn": session.arn,
                },
                "PackedPolicySize": str(len(params.get("Policy", "")) * 100 // 2048),
            },
        )

    def _trusting_role(self, call: Call, arn: str, tags: dict[str, str]) -> dict[str, Any]:
        caller = call.caller
        context = {f"aws:RequestTag/{key}": value for key, value in tags.items()}
        context |= {f"aws:PrincipalTag/{key}": value for key, value in caller.tags.items()}
        context |= {"aws:PrincipalArn": caller.principal, "aws:PrincipalAccount": caller.account}
        if "ExternalId" in call.params:
            context["sts:ExternalId"] = call.params["ExternalId"]
        actions = ["sts:AssumeRole", *(["sts:TagSession"] if tags else [])]
        role = self._roles.get(arn)
        account = arn.split(":")[4]
        for action in actions:
            trusted = role is not None and allowed([role["trust"]], action, arn, context, caller.principal)
            # Across accounts the caller's own policy must allow it as well.
            permitted = account == caller.account or allowed(caller.policies, action, arn, context)
            if not (trusted and permitted):
                message = f"User: {caller.arn} is not authorized to perform: {action} on resource: {arn}"
                raise AwsError("AccessDeniedException", message, query="AccessDenied", status=403)
        assert role is not None
        return role

    def _session_seconds(self, call: Call, role: Mapping[str, Any]) -> int:
        seconds = int(call.params.get("DurationSeconds", "3600"))
        if not 900 <= seconds <= 43200:
            raise AwsError(
                "ValidationError",
                "Value at 'durationSeconds' failed to satisfy constraint: between 900 and 43200",
            )
        if call.caller.token and seconds > 3600:
            message = "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining"
            raise AwsError("ValidationError", message)
        if seconds > role["max_session_seconds"]:
            message = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
            raise AwsError("ValidationError", message)
        return seconds

    def _session_policies(self, params: Mapping[str, str]) -> list[dict[str, Any]]:
        text = params.get("Policy")
        if text is None:
            return []
        if len(text) > 2048:
            message = "Value at 'policy' failed to satisfy constraint: Member must have length less than or equal to 2048"
            raise AwsError("ValidationError", message)
        try:
            policy = json.loads(text)
        except ValueError as error:
            raise AwsError("MalformedPolicyDocument", "This policy contains invalid Json") from error
        if reason := malformed(policy):
            raise AwsError("MalformedPolicyDocument", reason)
        return [policy]

    def _new_session(
        self, arn: str, name: str, seconds: float, policies: list[dict[str, Any]], *, tags: dict[str, str]
    ) -> Caller:
        found = _ROLE_ARN.match(arn)
        assert found is not None
        session = Caller(
            access_key=f"ASIA{secrets.token_hex(8).upper()}",
            secret=secrets.token_urlsafe(30),
            token=secrets.token_urlsafe(200),
            arn=f"arn:{arn.split(':')[1]}:sts::{found['account']}:assumed-role/{found['name']}/{name}",
            principal=arn,
            account=found["account"],
            policies=policies,
            expires_at=time.time() + seconds,
            tags=tags,
        )
        self._callers[session.access_key] = session
        self._save()
        remember(self._directory.parent, session.secret, session.token)
        return session

    def _get_caller_identity(self, call: Call) -> web.Response:
        identity = {
            "Arn": call.caller.arn,
            "UserId": _digest(call.caller.arn)[:20].upper(),
            "Account": call.caller.account,
        }
        return _xml("GetCallerIdentity", identity)

    def _get_web_identity_token(self, call: Call) -> web.Response:
        params, caller = call.params, call.caller
        audiences = [value for key, value in sorted(params.items()) if key.startswith("Audience.member.")]
        algorithm = params.get("SigningAlgorithm", "")
        seconds = int(params.get("DurationSeconds", "300"))
        if not 1 <= len(audiences) <= 10 or algorithm not in _ALGORITHMS or not 60 <= seconds <= 3600:
            raise AwsError(
                "ValidationError",
                "Audience, SigningAlgorithm or DurationSeconds failed to satisfy constraint",
            )
        if caller.account in self._settings["outbound_federation_disabled"]:
            message = "Outbound web identity federation is not enabled for this account"
            raise AwsError("OutboundWebIdentityFederationDisabledException", message, status=403)
        now = time.time()
        if caller.expires_at is not None and now + seconds > caller.expires_at:
            message = "The requested token duration exceeds the session's remaining time"
            raise AwsError("SessionDurationEscalationException", message, status=403)
        for audience in audiences:
            context = {"sts:IdentityTokenAudience": audience, "sts:DurationSeconds": str(seconds)}
            _require(call, "sts:GetWebIdentityToken", "*", context)
        own = {
            "aws_account": caller.account,
            "source_region": call.region,
            "principal_id": caller.principal,
            **({"principal_tags": caller.tags} if caller.tags else {}),
            **({"request_tags": _tags(params)} if _tags(params) else {}),
        }
        claims = {
            "iss": issuer(caller.account),
            "aud": audiences[0] if len(audiences) == 1 else audiences,
            "sub": caller.principal,
            "iat": int(now),
            "exp": int(now) + seconds,
            "jti": secrets.token_hex(16),
            "https://sts.amazonaws.com/": own,
        }
        key = self._rsa if algorithm == "RS256" else self._ec
        token = jwt.encode(claims, key, algorithm=algorithm, headers={"kid": algorithm.lower()})
        remember(self._directory.parent, token)
        return _xml("GetWebIdentityToken", {"WebIdentityToken": token, "Expiration": _iso(now + seconds)})

    def _well_known(self, request: web.Request) -> web.Response | None:
        host = request.headers.get("Host", "")
        if request.method != "GET" or not request.path.startswith("/.well-known/"):
            return None
        if request.path == "/.well-known/openid-configuration":
            base = f"https://{host}"
            return web.json_response(
                {
                    "issuer": base,
                    "jwks_uri": f"{base}/.well-known/jwks.json",
                    "response_types_supported": ["id_token"],
                    "subject_types_supported": ["public"],
                    "id_token_signing_alg_values_supported": list(_ALGORITHMS),
                }
            )
        keys = [
            {
                **RSAAlgorithm.to_jwk(self._rsa.public_key(), as_dict=True),
                "kid": "rs256",
                "use": "sig",
                "alg": "RS256",
            },
            {
                **ECAlgorithm.to_jwk(self._ec.public_key(), as_dict=True),
                "kid": "es384",
                "use": "sig",
                "alg": "ES384",
            },
        ]
        return web.json_response({"keys": keys})

    # ECR.

    def _get_authorization_token(self, call: Call) -> web.Response:
        caller = call.caller
        if caller.arn.split(":")[1] != partition(call.region):
            raise AwsError(
                "UnrecognizedClientException", "The security token included in the request is invalid."
            )
        _require(call, "ecr:GetAuthorizationToken", "*", {})
        now = time.time()
        token = EcrToken(
            id=secrets.token_hex(8),
            account=caller.account,
            region=call.region,
            principal=caller.arn,
            policies=caller.policies,
            issued_at=now,
            expires_at=now + float(self._settings["ecr_token_seconds"]),
        )
        password = token.sealed(self._ecr_key)
        remember(self._directory.parent, password)
        login = base64.b64encode(f"AWS:{password}".encode()).decode()
        accounts = call.body.get("registryIds") or [caller.account]
        domain = registry_domain(call.region)
        data = [
            {
                "authorizationToken": login,
                "expiresAt": round(token.expires_at, 3),
                "proxyEndpoint": f"https://{account}.dkr.ecr.{call.region}.{domain}",
            }
            for account in accounts
        ]
        return web.Response(
            body=json.dumps({"authorizationData": data}).encode(), content_type="application/x-amz-json-1.1"
        )

    # The control port.

    async def put_caller(self, request: web.Request) -> web.Response:
        """Create or replace a user's access key."""
        caller = Caller(**await request.json())
        self._callers[caller.access_key] = caller
        self._save()
        return web.json_response({})

    async def put_role(self, request: web.Request) -> web.Response:
        """Create or replace a role."""
        body = await request.json()
        for key in ("trust", "policy"):
            if reason := malformed(body[key]):
                return web.json_response({"message": f"{key}: {reason}"}, status=400)
        self._roles[body["arn"]] = body
        self._save()
        return web.json_response({})

    async def remove_role(self, request: web.Request) -> web.Response:
        """Delete a role."""
        self._roles.pop((await request.json())["arn"], None)
        self._save()
        return web.json_response({})

    async def post_session(self, request: web.Request) -> web.Response:
        """Issue a session of a role, as the Lambda service does for a function's execution role."""
        body = await request.json()
        role = self._roles[body["arn"]]
        session = self._new_session(body["arn"], body["name"], body["seconds"], [role["policy"]], tags={})
        return web.json_response(
            {"access_key": session.access_key, "secret": session.secret, "token": session.token}
        )

    async def put_settings(self, request: web.Request) -> web.Response:
        """Change settings: `ecr_token_seconds`, `outbound_federation_disabled`."""
        self._settings |= await request.json()
        self._save()
        return web.json_response(self._settings)

    async def put_fault(self, request: web.Request) -> web.Response:
        """Make the next calls of an operation fail."""
        self._faults[request.match_info["operation"]] = await request.json()
        return web.json_response({})

    async def delete_faults(self, _: web.Request) -> web.Response:
        """End all faults."""
        self._faults.clear()
        return web.json_response({})

    def _save(self) -> None:
        now = time.time()
        live = {
            key: caller for key, caller in self._callers.items() if (caller.expires_at or now) > now - 86400
        }
        self._callers = live
        content = {
            "callers": {key: asdict(caller) for key, caller in live.items()},
            "roles": self._roles,
            "settings": self._settings,
        }
        pki.write_private(self._stored_path, json.dumps(content))

    def _record(self, service: str, operation: str, outcome: str, **event: Any) -> None:
        line = {"time": time.time(), "service": service, "operation": operation, "outcome": outcome, **event}
        self._events.write(json.dumps(line) + "\n")


def issuer(account: str) -> str:
    """Return the token issuer of an account."""
    digest = _digest(account)
    return f"https://{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}.tokens.sts.global.api.aws"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _needed(call: Call) -> list[tuple[str, str]]:
    """The actions and resources that the caller's policies must allow, for what moto answers without looking at them."""
    match call.service, call.operation:
        case "sqs", _:
            account, name = call.body.get("QueueUrl", "/*/*").rsplit("/", 2)[1:]
            action = call.operation.removesuffix("Batch")
            return [(f"sqs:{action}", f"arn:aws:sqs:{call.region}:{account}:{name}")]
        case "events", "PutEvents":
            buses = {entry.get("EventBusName", "default").split("/")[-1] for entry in call.body["Entries"]}
            where = f"arn:aws:events:{call.region}:{call.caller.account}:event-bus"
            return [("events:PutEvents", f"{where}/{bus}") for bus in sorted(buses)]
    return [(f"{call.service}:{call.operation}", "*")]


def _require(call: Call, action: str, resource: str, context: dict[str, str]) -> None:
    if not allowed(call.caller.policies, action, resource, context):
        message = f"User: {call.caller.arn} is not authorized to perform: {action} on resource: {resource}"
        raise AwsError("AccessDeniedException", message, query="AccessDenied", status=403)


def _tags(params: Mapping[str, str]) -> dict[str, str]:
    numbers = [key.split(".")[2] for key in params if re.match(r"^Tags\.member\.\d+\.Key$", key)]
    return {
        params[f"Tags.member.{number}.Key"]: params.get(f"Tags.member.{number}.Value", "")
        for number in numbers
    }


def _is_form(request: web.Request) -> bool:
    return request.content_type == "application/x-www-form-urlencoded"


def _credentials(session: Caller) -> dict[str, str]:
    assert session.token is not None
    assert session.expires_at is not None
    return {
        "AccessKeyId": session.access_key,
        "SecretAccessKey": session.secret,
        "SessionToken": session.token,
        "Expiration": _iso(session.expires_at),
    }


def _iso(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _xml(operation: str, result: dict[str, Any]) -> web.Response:
    request_id = secrets.token_hex(16)
    text = (
        f'<{operation}Response xmlns="{_STS_NAMESPACE}"><{operation}Result>{_elements(result)}</{operation}Result>'
        f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{operation}Response>"
    )
    return web.Response(text=text, content_type="text/xml")


def _elements(values: dict[str, Any]) -> str:
    return "".join(
        f"<{key}>{_elements(value) if isinstance(value, dict) else escape(value)}</{key}>"
        for key, value in values.items()
    )


def _error_answer(request: web.Request, error: AwsError) -> web.Response:
    if request.headers.get("X-Amz-Target"):
        status = 500 if error.status >= 500 else 400
        body = json.dumps({"__type": error.code, "message": str(error)}).encode()
        return web.Response(status=status, body=body, content_type="application/x-amz-json-1.1")
    kind = "Receiver" if error.status >= 500 else "Sender"
    text = (
        f'<ErrorResponse xmlns="{_STS_NAMESPACE}"><Error><Type>{kind}</Type><Code>{error.query}</Code>'
        f"<Message>{escape(str(error))}</Message></Error><RequestId>{secrets.token_hex(16)}</RequestId></ErrorResponse>"
    )
    return web.Response(status=error.status, text=text, content_type="text/xml")


async def _application(args: argparse.Namespace) -> None:
    front = Front(args.directory, args.moto, args.ecr_key.read_bytes())
    await front.run(args.port, args.control_port)


def main() -> None:
    """Run `python -m realparts.aws_front`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--control-port", type=int, required=True)
    parser.add_argument("--moto", required=True)
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--ecr-key", type=Path, required=True)
    serve(_application(parser.parse_args()))


if __name__ == "__main__":
    main()
