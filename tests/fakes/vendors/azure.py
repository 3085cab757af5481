"""Azure: Entra's token endpoint for federated assertions, and a registry's token exchange.

Sources: https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow (third case: a
federated credential), github.com/Azure/acr, docs/AAD-OAuth.md, and for the lifetimes
https://learn.microsoft.com/azure/container-registry/container-registry-authentication. The exchange is also
compared with the models of azure-containerregistry (described.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import jwt
from fakes.vendors.network import Request, Response
from fakes.vendors.oci import OciRegistry, Rights
from fakes.vendors.vendor import PROJECT_ROLE, Vendor

TENANT = "11111111-2222-3333-4444-555555555555"
CLIENT = "66666666-7777-8888-9999-000000000000"
HOST = "example.azurecr.io"
USER = "00000000-0000-0000-0000-000000000000"
_KEY = "a key of the stand-in, at least 32 bytes long"


class AcrFederated(Vendor):
    """The definition names every repository, so the password is a pull token, which lives for 75 minutes."""

    provider = "acr"
    variant = "federated"
    lifetime = timedelta(minutes=75)
    keyless = True
    calls = rf"POST {HOST}/oauth2/"
    repositories = ("team/app",)
    host = HOST
    service = HOST
    """The ``service`` of its token service; a regional endpoint uses the registry's login server."""
    login = "login.microsoftonline.com"
    audience = "api://AzureADTokenExchange"
    scope = "https://containerregistry.azure.net/.default"

    def install(self) -> None:
        self.may_push = False
        self.network.add(self.login, self.entra)
        self.registry = OciRegistry(
            self.clock,
            realm=f"https://{self.host}/oauth2/token",
            service=self.service,
            check=self.check,
            repositories=("team/app",),
        )
        self.network.add(self.host, self.answer)

    @property
    def definition(self) -> Mapping[str, Any]:
        return {
            "provider": "acr",
            "hosts": [self.host],
            "tenant_id": TENANT,
            "client_id": CLIENT,
            "repositories": list(self.repositories),
            "probe": "team/app:1",
        }

    @property
    def hosts(self) -> tuple[str, ...]:
        return (self.host,)

    def widen(self) -> None:
        self.may_push = True

    def entra(self, request: Request) -> Response:
        if request.path == f"/{TENANT}/v2.0/.well-known/openid-configuration":
            base = f"https://{self.login}/{TENANT}"
            return Response(
                200,
                {
                    "issuer": f"{base}/v2.0",
                    "token_endpoint": f"{base}/oauth2/v2.0/token",
                    "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                    "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
                },
            )
        if (request.method, request.path) != ("POST", f"/{TENANT}/oauth2/v2.0/token"):
            return Response(404)
        form = request.form
        assertion = form.get("client_assertion", "")
        if (
            form.get("grant_type") != "client_credentials"
            or form.get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
            or form.get("scope") != self.scope
        ):
            return self._refused(400, "invalid_request", "AADSTS900144")
        if form.get("client_id") != CLIENT:
            return self._refused(400, "unauthorized_client", "AADSTS700016")
        if not self.aws.check_identity_token(assertion, audience=self.audience, subject=PROJECT_ROLE):
            return self._refused(
                401, "invalid_client", f"AADSTS70021: No matching federated identity record found {assertion}"
            )
        return Response(
            200, {"token_type": "Bearer", "expires_in": 3599, "access_token": self._jwt("entra", 3599)}
        )

    @staticmethod
    def _refused(status: int, code: str, text: str) -> Response:
        return Response(status, {"error": code, "error_description": text, "error_codes": [1]})

    def _jwt(self, kind: str, seconds: float, **claims: Any) -> str:
        return jwt.encode(
            {"kind": kind, "exp": int(self.clock.time() + seconds), **claims}, _KEY, algorithm="HS256"
        )

    def _claims(self, token: str, kind: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = jwt.decode(
                token, _KEY, algorithms=["HS256"], options={"verify_exp": False}
            )
        except jwt.PyJWTError:
            return None
        return found if found["kind"] == kind and found["exp"] > self.clock.time() else None

    def answer(self, request: Request) -> Response:
        if request.method == "POST" and request.path == "/oauth2/exchange":
            return self.exchange(request)
        if request.method == "POST" and request.path == "/oauth2/token":
            return self.pull_token(request)
        return self.registry.handle(request)

    def exchange(self, request: Request) -> Response:
        form = request.form
        if (
            form.get("grant_type") != "access_token"
            or form.get("service") != self.service
            or form.get("tenant") != TENANT
        ):
            return Response(400, {"errors": [{"code": "BAD_REQUEST"}]})
        if self._claims(form["access_token"], "entra") is None:
            return Response(401, {"errors": [{"code": "UNAUTHORIZED"}]})
        return Response(200, {"refresh_token": self._jwt("refresh", 10800)})

    def pull_token(self, request: Request) -> Response:
        form = request.form
        if form.get("grant_type") != "refresh_token" or form.get("service") != self.service:
            return Response(400, {"errors": [{"code": "BAD_REQUEST"}]})
        if self._claims(form["refresh_token"], "refresh") is None:
            return Response(401, {"errors": [{"code": "UNAUTHORIZED"}]})
        scopes = [value for name, value in request.form_items if name == "scope"]
        assert all("*" not in scope for scope in scopes), "ACR accepts no wildcard"
        access = [scope.split(":")[1] for scope in scopes]
        return Response(200, {"access_token": self._jwt("access", 4500, access=access)})

    def check(self, host: str, username: str, password: str) -> Rights | None:
        if username != USER:
            return None
        if claims := self._claims(password, "access"):
            return Rights(pull=claims["access"], push=["*"] if self.may_push else [])
        if self._claims(password, "refresh"):
            return Rights(push=["*"] if self.may_push else [])  # a condition limits its role to team/
        return None


class AcrPrefix(AcrFederated):
    """A pull token can't contain a prefix, so the password is the refresh token, which lives for three
    hours."""

    variant = "federated with a prefix"
    lifetime = timedelta(hours=3)
    repositories = ("team/",)


class AcrUsGovernment(AcrFederated):
    """Azure Government: its Entra has another audience and another scope for management tokens."""

    variant = "US government"
    host = service = "example.azurecr.us"
    calls = r"POST example\.azurecr\.us/oauth2/"
    login = "login.microsoftonline.us"
    audience = "api://AzureADTokenExchangeUSGov"
    scope = "https://management.usgovcloudapi.net/.default"


class AcrChina(AcrFederated):
    """Azure operated by 21Vianet."""

    variant = "China"
    host = service = "example.azurecr.cn"
    calls = r"POST example\.azurecr\.cn/oauth2/"
    login = "login.chinacloudapi.cn"
    audience = "api://AzureADTokenExchangeChina"
    scope = "https://management.chinacloudapi.cn/.default"


class AcrRegional(AcrFederated):
    """A regional endpoint, whose token service names the registry by its login server."""

    variant = "regional endpoint"
    host = "example.eastus.geo.azurecr.io"
    calls = r"POST example\.eastus\.geo\.azurecr\.io/oauth2/"
