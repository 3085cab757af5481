"""STS, ECR and ECR Public: they check signatures, session tokens, trust and session policies.

Sources: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html (SigV4 and
SigV4A), https://docs.aws.amazon.com/STS/latest/APIReference/ (AssumeRole, GetWebIdentityToken) and
https://docs.aws.amazon.com/AmazonECR/latest/userguide/registry_auth.html. Requests and answers are also
compared with botocore's models (described.py).
"""

from __future__ import annotations

import fnmatch
import functools
import hashlib
import hmac
import json
import re
import secrets
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import escape

import jwt
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.kdf.kbkdf import KBKDFHMAC, CounterLocation, Mode
from fakes.vendors.network import Clock, Network, Request, Response
from fakes.vendors.oci import Rights
from pydantic import SecretStr

from regcred.registry.interface import AwsCredentials

ISSUER = "https://0f1e2d3c.tokens.sts.global.api.aws"
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 "
    r"Credential=(?P<key>[^/]+)/(?P<day>\d{8})/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request, ?"
    r"SignedHeaders=(?P<headers>[^,]+), ?Signature=(?P<signature>[0-9a-f]{64})"
)
_AUTHORIZATION_4A = re.compile(
    r"AWS4-ECDSA-P256-SHA256 Credential=(?P<key>[^/]+)/(?P<day>\d{8})/sts/aws4_request, "
    r"SignedHeaders=(?P<headers>host;x-amz-date;x-amz-region-set;x-amz-security-token), "
    r"Signature=(?P<signature>[0-9a-f]+)"
)


@dataclass
class Session:
    """Temporary credentials of a role."""

    secret: str
    token: str
    arn: str
    expires_at: float
    policy: dict[str, Any] | None = None

    @property
    def account(self) -> str:
        return self.arn.split(":")[4]


@dataclass
class Role:
    """A role: which role may assume it, with which external ID, and what it may do."""

    arn: str
    trusts: str
    external_id: str
    actions: list[str] = field(default_factory=list)


@functools.cache
def signing_key() -> rsa.RSAPrivateKey:
    """An RSA key. A run of the tests has only one, because creating one is slow."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class Aws:
    """One AWS for all accounts."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.sessions: dict[str, Session] = {}
        self.roles: dict[str, Role] = {}
        self.subject_has_path = True
        """Whether the ``sub`` of identity tokens contains the role's path, which AWS does not document."""
        self.ecr_tokens: dict[str, tuple[Session, str, float]] = {}
        self.public_tokens: dict[str, float] = {}
        self.public_may_push = False
        self.ecr_lifetime = timedelta(hours=12)
        self.ecr_push_ignores_session_policy = False
        """AWS does not document whether a session policy limits a registry token; True is the worse case."""
        self._role_of: dict[str, str] = {}
        self.key = signing_key()

    def install(self, network: Network) -> None:
        for pattern in ("sts.*", "sts-fips.*"):
            network.add(pattern, self.sts)
        for pattern in ("api.ecr.*", "ecr-fips.*"):
            network.add(pattern, self.ecr)
        network.add("api.ecr-public.us-east-1.amazonaws.com", self.ecr_public)

    def session(self, role_arn: str, *, policy: dict[str, Any] | None = None) -> AwsCredentials:
        """Sign in as a role, as the Lambda's AssumeRole of the project's role does."""
        key = "ASIA" + secrets.token_hex(8).upper()
        expires_at = self.clock.time() + 3600
        assumed = (
            role_arn.replace(":iam:", ":sts:").replace(":role/", ":assumed-role/").replace("/regcred/", "/")
        )
        session = Session(
            secrets.token_hex(20), secrets.token_hex(32), assumed + "/regcred", expires_at, policy
        )
        self.sessions[key] = session
        self._role_of[key] = role_arn
        return AwsCredentials(
            key, SecretStr(session.secret), SecretStr(session.token), datetime.fromtimestamp(expires_at, UTC)
        )

    def web_identity_token(self, role_arn: str, audience: str, lifetime: timedelta) -> SecretStr:
        """The token that GetWebIdentityToken returns: an RS256 JWT whose subject is the role."""
        now = int(self.clock.time())
        claims = {
            "iss": ISSUER,
            "sub": role_arn if self.subject_has_path else _without_path(role_arn),
            "aud": audience,
            "iat": now,
            "nbf": now,
            "exp": now + int(lifetime.total_seconds()),
            "jti": secrets.token_hex(8),
        }
        return SecretStr(jwt.encode(claims, self.key, algorithm="RS256", headers={"kid": "RSA_0"}))

    def check_identity_token(self, token: str, *, audience: str, subject: str) -> bool:
        """Whether a relying party that trusts this issuer accepts the token."""
        return self.identity_of(token, audience=audience) == subject

    def identity_of(self, token: str, *, audience: str | None = None) -> str | None:
        """The subject of an identity token, to a relying party that trusts this issuer.

        Args:
            token: The token.
            audience: The audience that the party requires; None if it checks none.
        """
        options = {
            "verify_exp": False,
            "verify_nbf": False,
            "verify_iat": False,
            "verify_aud": audience is not None,
            "require": ["exp", "aud", "sub"],
        }
        try:
            claims = jwt.decode(
                token,
                self.key.public_key(),
                algorithms=["RS256"],
                audience=audience,
                issuer=ISSUER,
                options=options,
            )
        except jwt.PyJWTError:
            return None
        return claims["sub"] if claims["nbf"] <= self.clock.time() < claims["exp"] else None

    def role_of_proof(self, headers: Mapping[str, str]) -> str | None:
        """The role, without its path, that a signed GetCallerIdentity proves, or None.

        It takes only what JFrog's own client sends: SigV4A, all regions, four signed headers
        (github.com/jfrog/jfrog-registry-operator, internal/sign/signer.go).
        """
        found = {name.lower(): value for name, value in headers.items()}
        match = _AUTHORIZATION_4A.fullmatch(found.get("authorization", ""))
        if match is None or found.get("x-amz-region-set") != "*":
            return None
        session = self.sessions.get(match["key"])
        if session is None or found.get("x-amz-security-token") != session.token:
            return None
        moment = datetime.strptime(found["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        if abs((moment - self.clock.now()).total_seconds()) > 900 or session.expires_at <= self.clock.time():
            return None
        if not _verified_4a(match, session, found):
            return None
        return _without_path(self._role_of[match["key"]])

    # STS: the query protocol.

    def sts(self, request: Request) -> Response:
        caller = self.authenticated(request, "sts")
        if caller not in self.sessions:
            return _xml_error(403, caller)
        form = request.form
        if form["Action"] == "AssumeRole":
            return self._assume_role(caller, form)
        return _xml_error(400, "InvalidAction")

    def _assume_role(self, caller: str, form: dict[str, str]) -> Response:
        role = self.roles.get(form["RoleArn"])
        if role is None or role.trusts != self._role_of[caller] or role.external_id != form.get("ExternalId"):
            return _xml_error(403, "AccessDenied")
        if not 900 <= int(form["DurationSeconds"]) <= 3600:  # role chaining allows an hour at most
            return _xml_error(400, "ValidationError")
        if not re.fullmatch(r"[\w+=,.@-]{2,64}", form["RoleSessionName"]):
            return _xml_error(400, "ValidationError")
        policy = form.get("Policy")
        if policy is not None and len(policy) > 2048:
            return _xml_error(400, "PackedPolicyTooLarge")
        found = self.session(role.arn, policy=json.loads(policy) if policy else None)
        body = f"""<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>
<Credentials><AccessKeyId>{found.access_key_id}</AccessKeyId>
<SecretAccessKey>{found.secret_access_key.get_secret_value()}</SecretAccessKey>
<SessionToken>{found.session_token.get_secret_value()}</SessionToken>
<Expiration>{found.expires_at.strftime("%Y-%m-%dT%H:%M:%SZ")}</Expiration></Credentials>
<AssumedRoleUser><Arn>{role.arn}</Arn><AssumedRoleId>AROA:regcred</AssumedRoleId></AssumedRoleUser>
</AssumeRoleResult></AssumeRoleResponse>"""
        return Response(200, body, {"Content-Type": "text/xml"})

    # ECR: JSON 1.1.

    def ecr(self, request: Request) -> Response:
        caller = self.authenticated(request, "ecr")
        if caller not in self.sessions:
            return _json_error(400, caller)
        if request.header("X-Amz-Target") != "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken":
            return _json_error(400, "UnknownOperationException")
        if not self.may(caller, "ecr:GetAuthorizationToken", "*"):
            return _json_error(400, "AccessDeniedException")
        region = _AUTHORIZATION.match(request.header("Authorization"))["region"]
        session = self.sessions[caller]
        password = secrets.token_urlsafe(60)
        expires_at = self.clock.time() + self.ecr_lifetime.total_seconds()
        self.ecr_tokens[password] = (session, caller, expires_at)
        suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
        data = {
            "authorizationToken": b64encode(f"AWS:{password}".encode()).decode(),
            "expiresAt": expires_at,
            "proxyEndpoint": f"https://{session.account}.dkr.ecr.{region}.{suffix}",
        }
        return Response(200, {"authorizationData": [data]}, {"Content-Type": "application/x-amz-json-1.1"})

    def ecr_login(self, host: str, username: str, password: str) -> Rights | None:
        """The rights of an `AWS:` login at a registry's host: those of its principal in that account."""
        found = self.ecr_tokens.get(password)
        if username != "AWS" or found is None:
            return None
        _, caller, expires_at = found
        labels = host.split(".")
        account, region = labels[0], labels[3 if labels[1] == "dkr" else 2]
        arn = f"arn:aws:ecr:{region}:{account}:repository/team/app"
        pull = all(
            self.may(caller, f"ecr:{action}", arn) for action in ("BatchGetImage", "GetDownloadUrlForLayer")
        )
        push = self.may(
            caller, "ecr:InitiateLayerUpload", arn, session=not self.ecr_push_ignores_session_policy
        )
        return Rights(pull=["*"] if pull else [], push=["*"] if push else [], expires_at=expires_at)

    def ecr_public(self, request: Request) -> Response:
        caller = self.authenticated(request, "ecr-public")
        if caller not in self.sessions:
            return _json_error(400, caller)
        for action in ("ecr-public:GetAuthorizationToken", "sts:GetServiceBearerToken"):
            if not self.may(caller, action, "*"):
                return _json_error(400, "AccessDeniedException")
        password = secrets.token_urlsafe(60)
        expires_at = self.clock.time() + self.ecr_lifetime.total_seconds()
        self.public_tokens[password] = expires_at
        data = {"authorizationToken": b64encode(f"AWS:{password}".encode()).decode(), "expiresAt": expires_at}
        return Response(200, {"authorizationData": data}, {"Content-Type": "application/x-amz-json-1.1"})

    def public_login(self, host: str, username: str, password: str) -> Rights | None:
        expires_at = self.public_tokens.get(password)
        if username != "AWS" or expires_at is None:
            return None
        return Rights(pull=["*"], push=["*"] if self.public_may_push else [], expires_at=expires_at)

    # IAM.

    def may(self, caller: str, action: str, resource: str, *, session: bool = True) -> bool:
        """Whether both the role's policy and the session policy allow an action."""
        policy = self.sessions[caller].policy
        role = self.roles.get(self._role_of[caller])
        if role is None or not any(fnmatch.fnmatchcase(action, pattern) for pattern in role.actions):
            return False
        if policy is None or not session:
            return True
        return any(
            action in _listed(item["Action"])
            and any(fnmatch.fnmatchcase(resource, p) for p in _listed(item["Resource"]))
            for item in policy["Statement"]
        )

    def role_of(self, caller: str) -> str | None:
        """The role of an access key; None if it is an error code of `authenticated`."""
        return self._role_of.get(caller)

    def authenticated(self, request: Request, service: str) -> str:
        """The access key of the caller, or an error code if the request is not signed correctly."""
        match = _AUTHORIZATION.match(request.header("Authorization"))
        if match is None or match["service"] != service:
            return "MissingAuthenticationToken"
        session = self.sessions.get(match["key"])
        if session is None or request.header("X-Amz-Security-Token") != session.token:
            return "UnrecognizedClientException"
        if session.expires_at <= self.clock.time():
            return "ExpiredTokenException"
        moment = datetime.strptime(request.header("X-Amz-Date"), "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        if abs((moment - self.clock.now()).total_seconds()) > 300:
            return "RequestExpired"
        if not hmac.compare_digest(_signature(request, match, session.secret), match["signature"]):
            return "SignatureDoesNotMatch"
        return match["key"]


def _signature(request: Request, match: re.Match[str], secret: str) -> str:
    """The correct signature of a request (AWS Signature Version 4)."""
    names = match["headers"].split(";")
    headers = {
        **{key.lower(): value for key, value in request.headers.items()},
        "host": request.header("Host"),
    }
    query = "&".join(
        sorted(f"{quote(key, safe='-_.~')}={quote(value, safe='-_.~')}" for key, value in request.query)
    )
    canonical = "\n".join(
        [
            request.method,
            request.path or "/",
            query,
            *(f"{name}:{' '.join(headers[name].split())}" for name in names),
            "",
            match["headers"],
            hashlib.sha256(request.body).hexdigest(),
        ]
    )
    scope = f"{match['day']}/{match['region']}/{match['service']}/aws4_request"
    to_sign = "\n".join(
        [
            "AWS4-HMAC-SHA256",
            request.header("X-Amz-Date"),
            scope,
            hashlib.sha256(canonical.encode()).hexdigest(),
        ]
    )
    key = f"AWS4{secret}".encode()
    for part in (match["day"], match["region"], match["service"], "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.new(key, to_sign.encode(), "sha256").hexdigest()


def _without_path(role_arn: str) -> str:
    account, _, role = role_arn.partition(":role/")
    return f"{account}:role/{role.rpartition('/')[2]}"


def _verified_4a(match: re.Match[str], session: Session, headers: Mapping[str, str]) -> bool:
    """Whether the session's derived key verifies the signature (AWS Signature Version 4A)."""
    derived = KBKDFHMAC(
        algorithm=hashes.SHA256(),
        mode=Mode.CounterMode,
        length=32,
        rlen=4,
        llen=4,
        location=CounterLocation.BeforeFixed,
        label=b"AWS4-ECDSA-P256-SHA256",
        context=match["key"].encode() + b"\x01",
        fixed=None,
    ).derive(b"AWS4A" + session.secret.encode())
    key = ec.derive_private_key(int.from_bytes(derived) + 1, ec.SECP256R1()).public_key()
    signed = {**headers, "host": "sts.amazonaws.com"}
    canonical = "\n".join(
        [
            "GET",
            "/",
            "Action=GetCallerIdentity&Version=2011-06-15",
            *(f"{name}:{signed[name]}" for name in match["headers"].split(";")),
            "",
            match["headers"],
            hashlib.sha256(b"").hexdigest(),
        ]
    )
    text = "\n".join(
        [
            "AWS4-ECDSA-P256-SHA256",
            headers["x-amz-date"],
            f"{match['day']}/sts/aws4_request",
            hashlib.sha256(canonical.encode()).hexdigest(),
        ]
    )
    try:
        key.verify(bytes.fromhex(match["signature"]), text.encode(), ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _xml_error(status: int, code: str) -> Response:
    error = f"<Error><Type>Sender</Type><Code>{escape(code)}</Code><Message>no</Message></Error>"
    return Response(status, f"<ErrorResponse>{error}</ErrorResponse>", {"Content-Type": "text/xml"})


def _json_error(status: int, code: str) -> Response:
    return Response(status, {"__type": code, "message": "no"}, {"Content-Type": "application/x-amz-json-1.1"})
