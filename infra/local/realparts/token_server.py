"""In front of the Distribution registry: its token server, and the Basic authentication of ECR host names.

- `GET|POST /auth/token`: the token server (distribution spec, providers.md of the design: 401 only for bad credentials, else
  what is asked cut down to what is allowed). A credential that has expired or was revoked is refused at once; an
  access token lives for 60 s, or for what its credential has left.
- An ECR host name asks for Basic, as the real one does, and takes `AWS:` logins of the ECR stand-in until they expire.
- Everything else goes to Distribution as it is, which checks the access token itself.
- On a second port, for this machine's tests: users, revocation and the list of what was asked.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import fnmatch
import hashlib
import hmac
import json
import re
import secrets
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import jwt
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from multidict import MultiDict

from . import pki
from .aws_policy import allowed, ecr_host, partition
from .ecr_token import EcrToken, InvalidTokenError
from .serving import serve
from .used_secrets import remember

SERVICE = "regcred-local"
ISSUER = "regcred-local-token-server"
ACCESS_SECONDS = 60
_ECR_ACTIONS = {"pull": "ecr:BatchGetImage", "push": "ecr:PutImage", "delete": "ecr:BatchDeleteImage"}
_REPOSITORY = re.compile(r"^/v2/(?P<repository>.+)/(manifests|blobs|tags|referrers)/(?P<reference>.*)$")
_SCOPE = re.compile(r"^repository:(?P<repository>[^:]+(:\d+/[^:]+)?):(?P<actions>[a-z*,]+)$")
_HOP_BY_HOP = {
    "connection",
    "keep-alive",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "host",
    "content-length",
}


class RefusedError(Exception):
    """A credential that is not honoured; the text is the reason, `status` the answer."""

    def __init__(self, reason: str, status: int = 401, code: str = "UNAUTHORIZED") -> None:
        super().__init__(reason)
        self.status = status
        self.code = code


@dataclass
class User:
    """A user of the registry. Times are seconds since the epoch; None: never."""

    name: str
    password_sha256: str
    pull: list[str] = field(default_factory=list)
    push: list[str] = field(default_factory=list)
    hosts: list[str] = field(default_factory=lambda: ["*"])
    expires_at: float | None = None
    revoked: bool = False

    def actions(self, repository: str) -> set[str]:
        """Return what the user may do with a repository."""
        push = any(fnmatch.fnmatchcase(repository, pattern) for pattern in self.push)
        pull = push or any(fnmatch.fnmatchcase(repository, pattern) for pattern in self.pull)
        return ({"pull"} if pull else set()) | ({"push", "delete"} if push else set())


@dataclass(frozen=True)
class Login:
    """Who signed in, and until when at most."""

    user: User | EcrToken
    expires_at: float | None

    @property
    def name(self) -> str:
        """The user's name, or the ARN behind an `AWS:` login."""
        return self.user.name if isinstance(self.user, User) else self.user.principal


class Accounts:
    """The users, the revoked `AWS:` logins and the cross-account grants, kept in a file."""

    def __init__(self, directory: Path, ecr_key: bytes) -> None:
        self._path = directory / "accounts.json"
        self._ecr_key = ecr_key
        stored = json.loads(self._path.read_text()) if self._path.exists() else {}
        self.users = {name: User(**value) for name, value in stored.get("users", {}).items()}
        self.revoked_tokens: list[str] = stored.get("revoked_tokens", [])
        self.cross_account: list[dict[str, str]] = stored.get("cross_account", [])

    def save(self) -> None:
        """Write everything to the file."""
        users = {name: asdict(user) for name, user in self.users.items()}
        content = {"users": users, "revoked_tokens": self.revoked_tokens, "cross_account": self.cross_account}
        pki.write_private(self._path, json.dumps(content, indent=1))

    def login(self, host: str, username: str, password: str, now: float) -> Login:
        """Return who signs in with these.

        Raises:
            RefusedError: nobody does.
        """
        if ecr_host(host):
            return self._ecr_login(username, password, now)
        user = self.users.get(username)
        if user is None or not hmac.compare_digest(user.password_sha256, hashed(password)):
            raise RefusedError("unknown user or wrong password")
        if user.revoked:
            raise RefusedError("the credential was revoked")
        if user.expires_at is not None and now >= user.expires_at:
            raise RefusedError("the credential has expired")
        if not any(fnmatch.fnmatchcase(host, pattern) for pattern in user.hosts):
            raise RefusedError(f"no such user on {host}")
        return Login(user, user.expires_at)

    def actions(self, login: Login, host: str, repository: str) -> set[str]:
        """Return what a login may do with a repository of this host."""
        if isinstance(login.user, User):
            return login.user.actions(repository)
        token, registry = login.user, ecr_host(host)
        if (
            registry is None
            or registry.region != token.region
            or not self._reaches(token.account, registry.account, repository)
        ):
            return set()
        arn = (
            f"arn:{partition(token.region)}:ecr:{registry.region}:{registry.account}:repository/{repository}"
        )
        return {name for name, action in _ECR_ACTIONS.items() if allowed(token.policies, action, arn)}

    def _ecr_login(self, username: str, password: str, now: float) -> Login:
        try:
            token = EcrToken.opened(password, self._ecr_key)
        except InvalidTokenError as error:
            raise RefusedError("Not Authorized") from error
        if username != "AWS" or token.id in self.revoked_tokens:
            raise RefusedError("Not Authorized")
        if token.expired(now):
            message = "Your authorization token has expired. Reauthenticate and try again."
            raise RefusedError(message, status=403, code="DENIED")
        return Login(token, token.expires_at)

    def _reaches(self, caller: str, owner: str, repository: str) -> bool:
        return caller == owner or any(
            grant["owner"] == owner
            and grant["account"] == caller
            and fnmatch.fnmatchcase(repository, grant["repository"])
            for grant in self.cross_account
        )


class TokenServer:
    """The application on the registry's public port, and the one on the control port."""

    def __init__(self, directory: Path, upstream: str, ecr_key: bytes) -> None:
        self._directory = directory
        self._upstream = upstream
        self.accounts = Accounts(directory, ecr_key)
        authority = pki.Authority(directory / "pki", "regcred local registry")
        certificate, key = authority.issue("token", user="token server")
        self._key = key.read_bytes()
        der = x509.load_pem_x509_certificate(certificate.read_bytes()).public_bytes(
            serialization.Encoding.DER
        )
        self._x5c = [base64.b64encode(der).decode()]
        self._events = (directory / "events.jsonl").open("a", buffering=1)
        self._throttled: dict[str, float] = {}
        self._session: aiohttp.ClientSession

    async def run(self, port: int, control_port: int) -> None:
        """Serve both ports until cancelled."""
        public = web.Application(client_max_size=1 << 30)
        public.router.add_route("*", "/auth/token", self.token)
        public.router.add_route("*", "/{path:.*}", self.registry)
        control = web.Application()
        control.router.add_put("/users/{name}", self.put_user)
        control.router.add_post("/users/{name}/revoke", self.revoke_user)
        control.router.add_post("/ecr/revoke", self.revoke_ecr_token)
        control.router.add_put("/ecr/cross-account", self.put_cross_account)
        control.router.add_put("/throttle/{host}", self.put_throttle)
        self._session = aiohttp.ClientSession(auto_decompress=False)
        for application, number in ((public, port), (control, control_port)):
            runner = web.AppRunner(application, access_log=None)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", number).start()

    # The public port.

    async def token(self, request: web.Request) -> web.Response:
        """Answer the token endpoint."""
        host = _host(request)
        form = await request.post() if request.method == "POST" else MultiDict[Any]()
        asked = [*form.getall("scope", []), *request.query.getall("scope", [])]
        scopes = [part for scope in asked for part in str(scope).split()]
        try:
            username, password = self._credential(request, dict(form))
            login = self.accounts.login(host, username, password, time.time()) if username else None
        except RefusedError as error:
            self._record(
                "token",
                host=host,
                user=_claimed_user(request),
                scope=scopes,
                outcome="refused",
                reason=str(error),
            )
            return _error(error.status, error.code, str(error), {"WWW-Authenticate": f'Basic realm="{host}"'})
        access = [granted for scope in scopes if (granted := self._granted(login, host, scope))]
        name = login.name if login else "anonymous"
        self._record("token", host=host, user=name, scope=scopes, access=access, outcome="accepted")
        return web.json_response(self._access_token(name, access, login.expires_at if login else None))

    async def registry(self, request: web.Request) -> web.StreamResponse:
        """Pass a request on to Distribution, after ECR's own Basic authentication where the host is one of ECR."""
        host = _host(request)
        found = _REPOSITORY.match(request.path)
        repository = found["repository"] if found else _upload_repository(request.path)
        if time.time() < self._throttled.get(host, 0):
            self._record("request", host=host, repository=repository, outcome="throttled", status=429)
            return _error(429, "TOOMANYREQUESTS", "too many requests", {"Retry-After": "1"})
        headers = {key: value for key, value in request.headers.items() if key.lower() not in _HOP_BY_HOP}
        user = _bearer_subject(request)
        if ecr_host(host):
            try:
                login = self._ecr_authenticate(request, host, repository)
            except RefusedError as error:
                challenge = {"WWW-Authenticate": f'Basic realm="https://{host}/",service="ecr.amazonaws.com"'}
                user = _claimed_user(request)
                self._record_request(request, host, user, repository, error.status, reason=str(error))
                return _error(error.status, error.code, str(error), challenge if error.status == 401 else {})
            user = login.name
            scope = (
                [{"type": "repository", "name": repository, "actions": ["pull", "push", "delete"]}]
                if repository
                else []
            )
            headers["Authorization"] = f"Bearer {self._access_token(user, scope, login.expires_at)['token']}"
        answer = await self._forward(request, host, headers)
        self._record_request(request, host, user, repository, answer.status)
        return answer

    async def _forward(self, request: web.Request, host: str, headers: dict[str, str]) -> web.StreamResponse:
        local = host.partition(":")[0] in {"127.0.0.1", "localhost"}
        headers |= {"Host": host, "X-Forwarded-Proto": "http" if local else "https"}
        # A HEAD or GET has no body, and an empty one would be sent chunked.
        body = request.content if request.can_read_body else None
        if body is not None and request.content_length is not None:
            headers["Content-Length"] = str(request.content_length)
        async with self._session.request(
            request.method,
            f"{self._upstream}{request.raw_path}",
            headers=headers,
            data=body,
            allow_redirects=False,
        ) as upstream:
            kept = [(key, value) for key, value in upstream.headers.items() if key.lower() not in _HOP_BY_HOP]
            answer = web.StreamResponse(status=upstream.status, headers=dict(kept))
            if (length := upstream.headers.get("Content-Length")) is not None:
                answer.content_length = int(length)
            await answer.prepare(request)
            if request.method != "HEAD":
                async for chunk in upstream.content.iter_chunked(65536):
                    await answer.write(chunk)
            await answer.write_eof()
            return answer

    def _ecr_authenticate(self, request: web.Request, host: str, repository: str) -> Login:
        username, password = self._credential(request, {})
        if not username:
            raise RefusedError("Not Authorized")
        login = self.accounts.login(host, username, password, time.time())
        needed = {"GET": "pull", "HEAD": "pull", "DELETE": "delete"}.get(request.method, "push")
        if repository and needed not in self.accounts.actions(login, host, repository):
            action = _ECR_ACTIONS[needed]
            message = f"User: {login.name} is not authorized to perform: {action} on resource: {repository}"
            raise RefusedError(message, status=403, code="DENIED")
        return login

    def _credential(self, request: web.Request, form: dict[str, Any]) -> tuple[str, str]:
        if form.get("grant_type") == "password":
            return str(form.get("username", "")), str(form.get("password", ""))
        if form:
            raise RefusedError("only grant_type=password is supported", status=400, code="UNSUPPORTED")
        kind, _, value = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() != "basic":
            return "", ""
        try:
            username, _, password = base64.b64decode(value, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError) as error:
            raise RefusedError("the Basic credential is not base64") from error
        return username, password

    def _granted(self, login: Login | None, host: str, scope: str) -> dict[str, Any] | None:
        found = _SCOPE.match(scope)
        if found is None or login is None:
            return None
        asked = set(found["actions"].split(","))
        have = self.accounts.actions(login, host, found["repository"])
        actions = sorted(have if "*" in asked else asked & have)
        return {"type": "repository", "name": found["repository"], "actions": actions} if actions else None

    def _access_token(
        self, subject: str, access: list[dict[str, Any]], limit: float | None
    ) -> dict[str, Any]:
        now = time.time()
        expires = now + ACCESS_SECONDS if limit is None else min(now + ACCESS_SECONDS, limit)
        claims = {
            "iss": ISSUER,
            "sub": subject,
            "aud": SERVICE,
            "exp": int(expires) + 1,
            "nbf": int(now) - 1,
            "iat": int(now),
            "jti": secrets.token_hex(8),
            "access": access,
        }
        token = jwt.encode(claims, self._key, algorithm="ES256", headers={"x5c": self._x5c})
        remember(self._directory.parent, token)
        issued = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
        # The specification wants at least 60 here, however short the token's own life is.
        return {"token": token, "access_token": token, "expires_in": ACCESS_SECONDS, "issued_at": issued}

    # The control port.

    async def put_user(self, request: web.Request) -> web.Response:
        """Create or replace a user."""
        body = await request.json()
        name = request.match_info["name"]
        remember(self._directory.parent, body["password"])
        self.accounts.users[name] = User(name=name, password_sha256=hashed(body.pop("password")), **body)
        self.accounts.save()
        return web.json_response({})

    async def revoke_user(self, request: web.Request) -> web.Response:
        """Refuse a user from now on."""
        name = request.match_info["name"]
        if name not in self.accounts.users:
            return _error(404, "UNKNOWN", f"no user {name}")
        self.accounts.users[name].revoked = True
        self.accounts.save()
        return web.json_response({})

    async def revoke_ecr_token(self, request: web.Request) -> web.Response:
        """Refuse one `AWS:` login from now on."""
        body = await request.json()
        token = EcrToken.opened(body["password"], self.accounts._ecr_key)  # noqa: SLF001 - the one reader of the key
        self.accounts.revoked_tokens.append(token.id)
        self.accounts.save()
        return web.json_response({})

    async def put_cross_account(self, request: web.Request) -> web.Response:
        """Let another account into repositories, as a repository policy does."""
        self.accounts.cross_account.append(await request.json())
        self.accounts.save()
        return web.json_response({})

    async def put_throttle(self, request: web.Request) -> web.Response:
        """Answer 429 on a host for some seconds."""
        self._throttled[request.match_info["host"]] = time.time() + float((await request.json())["seconds"])
        return web.json_response({})

    def _record_request(
        self, request: web.Request, host: str, user: str, repository: str, status: int, *, reason: str = ""
    ) -> None:
        found = _REPOSITORY.match(request.path)
        outcome = "refused" if status in {401, 403} else "accepted"
        self._record(
            "request",
            host=host,
            user=user,
            method=request.method,
            path=request.path,
            repository=repository,
            reference=found["reference"] if found else "",
            agent=request.headers.get("User-Agent", ""),
            status=status,
            outcome=outcome,
            reason=reason,
        )

    def _record(self, kind: str, **event: Any) -> None:
        self._events.write(json.dumps({"time": time.time(), "kind": kind, **event}) + "\n")


def hashed(password: str) -> str:
    """Return what is stored of a password. The passwords here are random, so no slow hash is needed."""
    return hashlib.sha256(password.encode()).hexdigest()


def _host(request: web.Request) -> str:
    return request.headers.get("Host", "")


def _upload_repository(path: str) -> str:
    found = re.match(r"^/v2/(?P<repository>.+)/blobs/uploads/", path)
    return found["repository"] if found else ""


def _claimed_user(request: web.Request) -> str:
    kind, _, value = request.headers.get("Authorization", "").partition(" ")
    try:
        return base64.b64decode(value).decode().partition(":")[0] if kind.lower() == "basic" else ""
    except ValueError:
        return ""


def _bearer_subject(request: web.Request) -> str:
    kind, _, value = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "bearer":
        return ""
    try:
        return str(jwt.decode(value, options={"verify_signature": False}).get("sub", ""))
    except jwt.PyJWTError:
        return ""


def _error(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> web.Response:
    body = {"errors": [{"code": code, "message": message, "detail": None}]}
    return web.json_response(body, status=status, headers=headers)


async def _application(args: argparse.Namespace) -> None:
    server = TokenServer(args.directory, args.upstream, args.ecr_key.read_bytes())
    await server.run(args.port, args.control_port)


def main() -> None:
    """Run `python -m realparts.token_server`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--control-port", type=int, required=True)
    parser.add_argument("--upstream", required=True)
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--ecr-key", type=Path, required=True)
    serve(_application(parser.parse_args()))


if __name__ == "__main__":
    main()
