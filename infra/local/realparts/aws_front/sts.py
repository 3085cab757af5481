"""STS: AssumeRole, GetCallerIdentity, GetWebIdentityToken."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from realparts.aws_policy import allowed, malformed

from .answers import AwsError, access_denied, iso, xml_answer
from .permissions import require
from .signature import Call
from .store import ROLE_ARN, Caller, Store, digest
from .web_identity import ALGORITHMS, WebIdentity

_SESSION_NAME = re.compile(r"^[\w+=,.@-]{2,64}$")


class Sts:
    """The operations. The store contains the roles and their trust policies."""

    def __init__(self, store: Store, identity: WebIdentity) -> None:
        self._store = store
        self._identity = identity

    def assume_role(self, call: Call) -> web.Response:
        """Issue a session of a role that trusts the caller."""
        params = call.params
        arn, name = params.get("RoleArn", ""), params.get("RoleSessionName", "")
        if not ROLE_ARN.match(arn):
            raise AwsError("ValidationError", f"{arn} is invalid")
        if not _SESSION_NAME.match(name):
            raise AwsError("ValidationError", "Value at 'roleSessionName' failed to satisfy constraint")
        tags = _tags(params)
        role = self._trusting_role(call, arn, tags)
        seconds = _session_seconds(call, role)
        policies = [role["policy"], *_session_policies(params)]
        session = self._store.new_session(arn, name, seconds, policies, tags=tags)
        return xml_answer(
            "AssumeRole",
            {
                "Credentials": _credentials(session),
                "AssumedRoleUser": {
                    "AssumedRoleId": f"AROA{digest(arn)[:17].upper()}:{name}",
                    "Arn": session.arn,
                },
                "PackedPolicySize": str(len(params.get("Policy", "")) * 100 // 2048),
            },
        )

    def get_caller_identity(self, call: Call) -> web.Response:
        """Return the identity of the caller."""
        identity = {
            "Arn": call.caller.arn,
            "UserId": digest(call.caller.arn)[:20].upper(),
            "Account": call.caller.account,
        }
        return xml_answer("GetCallerIdentity", identity)

    def get_web_identity_token(self, call: Call) -> web.Response:
        """Issue a JWT that names the caller's role."""
        params, caller = call.params, call.caller
        audiences = [value for key, value in sorted(params.items()) if key.startswith("Audience.member.")]
        algorithm = params.get("SigningAlgorithm", "")
        seconds = int(params.get("DurationSeconds", "300"))
        if not 1 <= len(audiences) <= 10 or algorithm not in ALGORITHMS or not 60 <= seconds <= 3600:
            raise AwsError(
                "ValidationError",
                "Audience, SigningAlgorithm or DurationSeconds failed to satisfy constraint",
            )
        if caller.account in self._store.settings["outbound_federation_disabled"]:
            message = "Outbound web identity federation is not enabled for this account"
            raise AwsError("OutboundWebIdentityFederationDisabledException", message, status=403)
        now = time.time()
        if caller.expires_at is not None and now + seconds > caller.expires_at:
            message = "The requested token duration exceeds the session's remaining time"
            raise AwsError("SessionDurationEscalationException", message, status=403)
        for audience in audiences:
            context = {"sts:IdentityTokenAudience": audience, "sts:DurationSeconds": str(seconds)}
            require(call, "sts:GetWebIdentityToken", "*", context)
        token = self._identity.token(
            caller, audiences, algorithm, region=call.region, tags=_tags(params), now=now, seconds=seconds
        )
        self._store.remember(token)
        answer = {"WebIdentityToken": token, "Expiration": iso(now + seconds)}
        return xml_answer("GetWebIdentityToken", answer)

    def _trusting_role(self, call: Call, arn: str, tags: dict[str, str]) -> dict[str, Any]:
        caller = call.caller
        context: dict[str, str | list[str]] = {f"aws:RequestTag/{key}": value for key, value in tags.items()}
        context |= {"aws:TagKeys": list(tags)} if tags else {}
        context |= {f"aws:PrincipalTag/{key}": value for key, value in caller.tags.items()}
        context |= {"aws:PrincipalArn": caller.principal, "aws:PrincipalAccount": caller.account}
        if "ExternalId" in call.params:
            context["sts:ExternalId"] = call.params["ExternalId"]
        actions = ["sts:AssumeRole", *(["sts:TagSession"] if tags else [])]
        role = self._store.roles.get(arn)
        account = arn.split(":")[4]
        for action in actions:
            trust = [role["trust"]] if role else []
            trusted = allowed(trust, action, arn, context, caller.principal, principal_id=caller.role_id)
            # The caller's own policy must allow the call too, if the role is in another account or the trust
            # policy names only the account.
            named = account == caller.account and allowed(
                trust, action, arn, context, caller.principal, principal_id=caller.role_id, named=True
            )
            permitted = named or allowed(caller.policies, action, arn, context)
            if not (trusted and permitted):
                raise access_denied(caller.arn, f"{action} on resource: {arn}")
        assert role is not None
        return role


def _session_seconds(call: Call, role: Mapping[str, Any]) -> int:
    seconds = int(call.params.get("DurationSeconds", "3600"))
    if not 900 <= seconds <= 43200:
        raise AwsError(
            "ValidationError",
            "Value at 'durationSeconds' failed to satisfy constraint: between 900 and 43200",
        )
    if call.caller.token and seconds > 3600:
        message = (
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role "
            "chaining"
        )
        raise AwsError("ValidationError", message)
    if seconds > role["max_session_seconds"]:
        message = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
        raise AwsError("ValidationError", message)
    return seconds


def _session_policies(params: Mapping[str, str]) -> list[dict[str, Any]]:
    text = params.get("Policy")
    if text is None:
        return []
    if len(text) > 2048:
        message = (
            "Value at 'policy' failed to satisfy constraint: Member must have length less than or equal to "
            "2048"
        )
        raise AwsError("ValidationError", message)
    try:
        policy = json.loads(text)
    except ValueError as error:
        raise AwsError("MalformedPolicyDocument", "This policy contains invalid Json") from error
    if reason := malformed(policy):
        raise AwsError("MalformedPolicyDocument", reason)
    return [policy]


def _tags(params: Mapping[str, str]) -> dict[str, str]:
    numbers = [key.split(".")[2] for key in params if re.match(r"^Tags\.member\.\d+\.Key$", key)]
    return {
        params[f"Tags.member.{number}.Key"]: params.get(f"Tags.member.{number}.Value", "")
        for number in numbers
    }


def _credentials(session: Caller) -> dict[str, str]:
    assert session.token is not None
    assert session.expires_at is not None
    return {
        "AccessKeyId": session.access_key,
        "SecretAccessKey": session.secret,
        "SessionToken": session.token,
        "Expiration": iso(session.expires_at),
    }
