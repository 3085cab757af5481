"""Quay (quay.io and your own server): a robot that trusts the project's role, or a robot's static token.

Contract: keyless robot federation, ``GET /oauth2/federation/robot/token`` (github.com/quay/quay,
util/security/federated_robot_auth.py; https://docs.projectquay.io/manage_quay.html). A refusal is a 400, not
a 401. Quay checks the audience only if the federation lists ``audiences``, which its API does not support yet
(endpoints/api/robot.py stores only ``issuer`` and ``subject``). It supports several subjects for one issuer.
"""

from __future__ import annotations

import json
from datetime import timedelta
from shlex import quote
from typing import Annotated, ClassVar, Literal

from pydantic import Field, SecretStr, model_validator

from regcred.credential import Credential, Login
from regcred.registry import transport
from regcred.registry.definition import (
    Audience,
    BaseDefinition,
    Host,
    matching,
    require,
    require_own_audience,
)
from regcred.registry.interface import IssuedCredential, MintContext, Revoked
from regcred.registry.token_expiry import jwt_expiry
from regcred.registry.transport import Basic
from regcred.registry.trust import SUBJECT_NOTE, ProjectRole
from regcred.registry.upstream_secret import described, logins

ASSERTION_LIFETIME = timedelta(minutes=10)


class QuayDefinition(BaseDefinition):
    """The images that a robot account may pull."""

    summary: ClassVar[str] = (
        "Quay (quay.io or your own server): a robot that trusts the project's role, or a robot's static token"
    )

    provider: Literal["quay"]

    host: Host = Field(default="quay.io", description="The registry's host in image names.")

    auth: Literal["federated", "static"] = Field(
        default="federated",
        description=(
            "'federated': keyless, because the robot trusts the project's role. 'static': the robot's token."
        ),
    )

    # The pattern of both names is Quay's (util/validation.py, VALID_USERNAME_REGEX).
    robot: Annotated[
        str,
        matching(
            r"(?=[^+]{2,255}\+[^+]{2,255}$)[a-z0-9]+(?:[._-][a-z0-9]+)*\+[a-z0-9]+(?:[._-][a-z0-9]+)*",
            "a robot's name, as in organisation+robot",
        ),
    ] = Field(default="", description="The robot, as in organisation+robot, for 'auth: federated'.")

    audience: Audience = Field(
        default="",
        description=(
            "The audience of the identity token, on the host. Empty: https:// and the host. Quay checks it "
            "only if the robot's federation lists audiences."
        ),
    )

    @model_validator(mode="after")
    def _complete(self) -> QuayDefinition:
        if self.auth == "federated":
            require(self, "robot", by="auth: federated")
        require_own_audience(self.audience, self.host)
        return self

    def typed_hosts(self) -> tuple[str, ...]:
        """The registry's host."""
        return (self.host,)

    def trust(self, role: ProjectRole) -> str:
        """The command that sets the robot's federation."""
        if self.auth == "static":
            return ""
        organisation, _, robot = self.robot.partition("+")
        audience = self.audience or f"https://{self.host}"
        url = f"https://{self.host}/api/v1/organization/{organisation}/robots/{robot}/federation"
        body = json.dumps([{"issuer": role.issuer_or_name, "subject": subject} for subject in role.subjects])
        return f"""curl --fail --request POST {quote(url)} --header 'Content-Type: application/json' \\
  --header "Authorization: Bearer $ORGANISATION_ADMIN_TOKEN" --data {quote(body)}
# Let the robot read only the repositories that it is for. This replaces the robot's other federations.
# Quay checks the token's issuer, subject, signature and expiry. It does not check the audience, because its
# API takes no audiences for a robot. It accepts every token of this role, for any receiver, until it expires.
{SUBJECT_NOTE}{role.identity_note(audience)}"""

    def upstream_fields(self) -> dict[str, str]:
        """The robot's login, if it is static."""
        return (
            described("the robot's name, as in organisation+robot", "its token")
            if self.auth == "static"
            else {}
        )


class QuayProvider:
    """Mints a robot's token."""

    name = "quay"
    model = QuayDefinition

    def mint(self, definition: QuayDefinition, context: MintContext) -> Credential:
        """Exchange the project's identity; see :class:`regcred.registry.interface.Provider`."""
        keys = definition.keys([definition.host])
        if definition.auth == "static":
            return Credential(provider=self.name, logins=logins(context, keys), issued_at=context.now())
        what = f"{definition.host}: creating a token for {definition.robot}"
        audience = definition.audience or f"https://{definition.host}"
        identity = context.identity.web_identity_token(audience, ASSERTION_LIFETIME)
        answer = transport.send(
            "GET",
            f"{transport.origin(definition.host)}/oauth2/federation/robot/token",
            auth=Basic(definition.robot, identity),
        )
        remedy = (
            "give the robot a federation with this project's issuer and role; Quay returns 400 for an "
            "unknown robot, issuer or subject"
        )
        fields = transport.expect(answer, what=what, remedy=remedy).fields(what=what)
        token = SecretStr(transport.text_field(fields, "token", what=what))
        return Credential(
            provider=self.name,
            logins=(Login(definition.robot, token, keys),),
            issued_at=context.now(),
            expires_at=jwt_expiry(token, what=what),
        )

    def revoke(self, definition: QuayDefinition, issued: IssuedCredential, context: MintContext) -> Revoked:
        """Do nothing: Quay can't revoke a federated token. An owner regenerates a robot's static token."""
        return Revoked.UNSUPPORTED
