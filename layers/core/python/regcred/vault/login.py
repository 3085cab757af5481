"""Signs in to Vault: one class for each method, and a token that is kept until shortly before it expires.

No method imports an SDK. The wiring passes functions that return the credentials of a cloud or a cluster.
"""

from __future__ import annotations

import json
import threading
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import hvac
import requests
from hvac.aws_utils import SigV4Auth
from pydantic import SecretStr

from regcred.errors import MalformedError, MissingError, RefusedError, RegcredError, TransientError

RENEW_SHARE = 1 / 3
"""The last share of a token's life, in which the client fetches a new one."""

TRUSTED = timedelta(seconds=30)
"""If a token is younger than this, a refusal is due to a missing permission and not to the token."""

RETRY = timedelta(seconds=10)
"""How long to wait before another sign-in, if one has failed and the old token is still valid."""


@dataclass(frozen=True, slots=True)
class VaultToken:
    """A client token."""

    value: SecretStr
    issued_at: datetime
    expires_at: datetime | None = None
    """None if Vault reports no expiry (a person's token)."""


class VaultLogin(Protocol):
    """One way to sign in.

    All methods raise:
        RefusedError: Vault does not accept the identity.
        TransientError: Vault, or the issuer of the identity, can't be reached.
        MissingError: There are no credentials to sign in with. The text has the remedy.
    """

    def login(self, client: hvac.Client, now: datetime) -> VaultToken:
        """Sign in with a client that has no token."""


@dataclass(frozen=True, slots=True)
class JwtLogin:
    """Sign in with a signed JWT at an ``auth/jwt`` mount.

    In a cluster the JWT is the projected ServiceAccount token (:func:`token_file`). In a Lambda it is the
    token from AWS STS GetWebIdentityToken for the function's role. Contract:
    https://developer.hashicorp.com/vault/api-docs/auth/jwt#jwt-login
    """

    mount: str
    role: str
    jwt: Callable[[], SecretStr]
    """Called at each sign-in, because such tokens live only for minutes."""

    def login(self, client: hvac.Client, now: datetime) -> VaultToken:
        """See :class:`VaultLogin`."""
        jwt = self.jwt().get_secret_value()
        answer = client.auth.jwt.jwt_login(self.role, jwt, use_token=False, path=self.mount)
        return signed_in_token(answer, now)


@dataclass(frozen=True, slots=True)
class AwsKeys:
    """Credentials of an IAM role's session."""

    access_key_id: str
    secret_access_key: SecretStr
    session_token: SecretStr | None = None


@dataclass(frozen=True, slots=True)
class AwsIamLogin:
    """Sign in with a signed GetCallerIdentity request at an ``auth/aws`` mount, which OpenBao does not have.

    Contract: https://developer.hashicorp.com/vault/api-docs/auth/aws#login
    """

    mount: str
    role: str
    keys: Callable[[], AwsKeys]
    """Called at each sign-in. Only the signature is sent, and never the keys."""
    server_id: str = ""
    """The value of X-Vault-AWS-IAM-Server-ID that the mount requires. It is signed, so no other server
    accepts the signature."""
    region: str = "us-east-1"
    """Must be the ``sts_region`` of the mount. us-east-1 means the global endpoint, as in Vault."""

    def login(self, client: hvac.Client, now: datetime) -> VaultToken:
        """See :class:`VaultLogin`."""
        request = self._signed()
        headers = json.dumps({name: [value] for name, value in request.headers.items()})
        body = {
            "role": self.role,
            "iam_http_request_method": "POST",
            "iam_request_url": _base64(str(request.url)),
            "iam_request_headers": _base64(headers),
            "iam_request_body": _base64(str(request.body)),
        }
        return signed_in_token(client.adapter.post(f"/v1/auth/{self.mount}/login", json=body), now)

    def _signed(self) -> requests.PreparedRequest:
        host = sts_host(self.region)
        headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8", "Host": host}
        if self.server_id:
            headers["X-Vault-AWS-IAM-Server-ID"] = self.server_id
        request = requests.Request(
            "POST", f"https://{host}/", headers=headers, data="Action=GetCallerIdentity&Version=2011-06-15"
        ).prepare()
        keys = self.keys()
        session = keys.session_token.get_secret_value() if keys.session_token else None
        SigV4Auth(
            keys.access_key_id, keys.secret_access_key.get_secret_value(), session, self.region
        ).add_auth(request)
        return request


@dataclass(frozen=True, slots=True)
class TokenLogin:
    """Use an existing token, such as that of a person at the command line."""

    value: Callable[[], SecretStr]

    def login(self, client: hvac.Client, now: datetime) -> VaultToken:  # noqa: ARG002 - no request is needed
        """See :class:`VaultLogin`."""
        return VaultToken(self.value(), issued_at=now)


def token_file(path: Path) -> Callable[[], SecretStr]:
    """A function that reads a projected token at each call. The kubelet replaces it before it expires.

    The function raises MissingError if the file can't be read, and MalformedError if it is empty.
    """

    def read() -> SecretStr:
        try:
            text = path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise MissingError(
                f"the token file {path} can't be read ({type(error).__name__}); does the Pod project a "
                "ServiceAccount token with audience vault there?"
            ) from None
        if not text:
            raise MalformedError(f"the token file {path} is empty", field="token_file")
        return SecretStr(text)

    return read


def cli_token(environ: Mapping[str, str], home: Path) -> Callable[[], SecretStr]:
    """A function that finds a person's token like the ``vault`` command: VAULT_TOKEN, then ~/.vault-token.

    The function raises MissingError if there is none, and MalformedError if it is invalid. It does not use
    token helpers.
    """

    def find() -> SecretStr:
        text = environ.get("VAULT_TOKEN", "").strip()
        path = home / ".vault-token"
        if not text and path.is_file():
            text = token_file(path)().get_secret_value()
        if not text:
            raise MissingError(
                "you are not signed in to Vault; run 'vault login' or 'bao login', or set VAULT_TOKEN"
            )
        if not (text.isascii() and text.isprintable()) or " " in text:
            raise MalformedError(
                "the Vault token contains characters that no token has; set VAULT_TOKEN again, or run "
                "'vault login' or 'bao login'",
                field="VAULT_TOKEN",
            )
        return SecretStr(text)

    return find


class Tokens:
    """The token of one identity.

    It is fetched at the first use, kept during warm invocations, and replaced before it expires.

    Thread-safe: one thread signs in while the others wait for it.
    """

    def __init__(self, login: VaultLogin, client: hvac.Client, now: Callable[[], datetime]) -> None:
        self._login = login
        self._client = client
        self._now = now
        self._lock = threading.Lock()
        self._token: VaultToken | None = None
        self._next_try: datetime | None = None
        self._throttled: TransientError | None = None

    def token(self) -> SecretStr:
        """The token to send.

        Raises:
            RegcredError: the errors of :class:`VaultLogin`, if no valid token is left.
        """
        with self._lock:
            now = self._now()
            if self._token is None or _has_expired(self._token, now):
                self._token = self._sign_in(now)
            elif _expires_soon(self._token, now) and (self._next_try is None or now >= self._next_try):
                self._replace(now)
            return self._token.value

    def renew_refused(self, token: SecretStr) -> bool:
        """Sign in again if the token may be the cause of a refusal. Return whether there is a new token.

        Raises:
            RegcredError: the errors of :class:`VaultLogin`.
        """
        with self._lock:
            now = self._now()
            current = self._token
            if current is not None and current.value == token:
                if current.expires_at is not None and now - current.issued_at < TRUSTED:
                    return False
                self._token = self._login.login(self._client, now)
            return self._token is None or self._token.value != token

    def _sign_in(self, now: datetime) -> VaultToken:
        """Sign in, but not before the end of a wait that the server requires. Many threads may call this."""
        if self._throttled and self._next_try and now < self._next_try:
            raise TransientError(str(self._throttled), retry_after=self._next_try - now)
        self._throttled = self._next_try = None
        try:
            return self._login.login(self._client, now)
        except TransientError as error:
            if error.retry_after:
                self._throttled, self._next_try = error, now + error.retry_after
            raise

    def _replace(self, now: datetime) -> None:
        try:
            self._token = self._login.login(self._client, now)
            self._next_try = None
        except RegcredError as error:
            # The old token is still valid. Use it until it expires.
            retry_after = error.retry_after if isinstance(error, TransientError) else None
            self._next_try = now + max(RETRY, retry_after or RETRY)


def _has_expired(token: VaultToken, now: datetime) -> bool:
    return token.expires_at is not None and now >= token.expires_at


def _expires_soon(token: VaultToken, now: datetime) -> bool:
    if token.expires_at is None:
        return False
    return token.expires_at - now < (token.expires_at - token.issued_at) * RENEW_SHARE


def signed_in_token(answer: Any, now: datetime) -> VaultToken:
    """The token in a response to a sign-in.

    Contract for the second factor: https://developer.hashicorp.com/vault/docs/auth/login-mfa (OpenBao too).

    Raises:
        RefusedError: Vault asks for a second factor, so the response contains no token yet.
        TransientError: the response is not from Vault.
    """
    try:
        auth = answer["auth"]
        if auth.get("mfa_requirement"):
            raise RefusedError(
                "Vault asks for a second factor at this sign-in, and Regcred can't give one; use another "
                "sign-in method, or sign in with the vault or bao command and use its token"
            )
        lifetime = int(auth["lease_duration"])
        value = SecretStr(str(auth["client_token"]))
    except (AttributeError, KeyError, TypeError, ValueError):
        value = SecretStr("")
    if not value.get_secret_value():
        raise TransientError("Vault: the answer to the sign-in contains no token; try again")
    return VaultToken(
        value, issued_at=now, expires_at=now + timedelta(seconds=lifetime) if lifetime else None
    )


def sts_host(region: str) -> str:
    """The host of a region's STS. us-east-1 means the global endpoint, as in Vault."""
    if region == "us-east-1":
        return "sts.amazonaws.com"
    return f"sts.{region}.amazonaws.com{'.cn' if region.startswith('cn-') else ''}"


def _base64(text: str) -> str:
    return b64encode(text.encode()).decode()
