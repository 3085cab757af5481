"""ECR: GetAuthorizationToken."""

from __future__ import annotations

import base64
import secrets
import time

from aiohttp import web

from realparts.aws_policy import partition, registry_domain
from realparts.ecr_token import EcrToken

from .answers import AwsError, json_answer
from .permissions import require
from .signature import Call
from .store import Store


class Ecr:
    """The operation. The registry verifies the logins with the same `key`."""

    def __init__(self, store: Store, key: bytes) -> None:
        self._store = store
        self._key = key

    def get_authorization_token(self, call: Call) -> web.Response:
        """Issue a login for the registries of the caller's account, or of the accounts in the request."""
        if call.caller.arn.split(":")[1] != partition(call.region):
            message = "The security token included in the request is invalid."
            raise AwsError("UnrecognizedClientException", message)
        require(call, "ecr:GetAuthorizationToken", "*")
        token = self._new_token(call)
        password = token.sealed(self._key)
        self._store.remember(password)
        login = base64.b64encode(f"AWS:{password}".encode()).decode()
        domain = registry_domain(call.region)
        data = [
            {
                "authorizationToken": login,
                "expiresAt": round(token.expires_at, 3),
                "proxyEndpoint": f"https://{account}.dkr.ecr.{call.region}.{domain}",
            }
            for account in call.body.get("registryIds") or [call.caller.account]
        ]
        return json_answer({"authorizationData": data})

    def _new_token(self, call: Call) -> EcrToken:
        now = time.time()
        return EcrToken(
            id=secrets.token_hex(8),
            account=call.caller.account,
            region=call.region,
            principal=call.caller.arn,
            policies=call.caller.policies,
            issued_at=now,
            expires_at=now + float(self._store.settings["ecr_token_seconds"]),
        )
