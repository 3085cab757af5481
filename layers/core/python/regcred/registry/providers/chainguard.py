"""Chainguard's registry cgr.dev: keyless, by an assumable identity that trusts the project's role.

Contract:
https://edu.chainguard.dev/chainguard/administration/assumable-ids/identity-examples/aws-identity-oidc/ (the
identity and the audience) and Chainguard's own pull secret updater
(github.com/chainguard-dev/platform-examples, aws-auth): a POST to ``/sts/exchange`` with the identity token
as Bearer returns a token for cgr.dev. The user name of the login is ``_token``.
"""

from __future__ import annotations

from datetime import timedelta
from shlex import quote
from typing import Annotated, ClassVar, Literal

from pydantic import Field, SecretStr

from regcred.credential import Credential, Login
from regcred.registry import transport
from regcred.registry.definition import BaseDefinition, matching
from regcred.registry.interface import IssuedCredential, MintContext, Revoked
from regcred.registry.token_expiry import jwt_expiry
from regcred.registry.transport import Bearer
from regcred.registry.trust import SUBJECT_NOTE, ProjectRole

HOST = "cgr.dev"
ISSUER = "https://issuer.enforce.dev"
USERNAME = "_token"
ASSERTION_LIFETIME = timedelta(minutes=10)


class ChainguardDefinition(BaseDefinition):
    """The images of one organisation at cgr.dev."""

    summary: ClassVar[str] = (
        "Chainguard's registry cgr.dev: keyless with an assumable identity that trusts the project's role"
    )

    provider: Literal["chainguard"]

    identity: Annotated[
        str,
        matching(
            r"[0-9a-f]{40}(/[0-9a-f]{16})+",
            "the ID of an assumable identity, as in <40 hexadecimal digits>/<16 hexadecimal digits>",
        ),
    ] = Field(
        description="The ID of the assumable identity (its UIDP), as 'chainctl iam identities list' shows it."
    )

    def trust(self, role: ProjectRole) -> str:
        """The command that creates the assumable identity with its role."""
        name = f"regcred-{role.project}"
        subjects = "^(" + "|".join(_escaped(subject) for subject in role.subjects) + ")$"
        return f"""chainctl iam identities create {quote(name)} --parent=ORGANISATION --role=registry.pull \\
  --identity-issuer={quote(role.issuer_or_name)} --subject-pattern={quote(subjects)} \\
  --audience={quote(ISSUER)}
# ORGANISATION: the organisation whose images to pull. The command prints the ID for 'identity'.
{SUBJECT_NOTE}{role.identity_note(ISSUER)}"""


class ChainguardProvider:
    """Mints a token of the assumable identity."""

    name = "chainguard"
    model = ChainguardDefinition

    def mint(self, definition: ChainguardDefinition, context: MintContext) -> Credential:
        """Exchange the project's identity; see :class:`regcred.registry.interface.Provider`."""
        what = "Chainguard: exchanging the identity token"
        answer = transport.send(
            "POST",
            f"{ISSUER}/sts/exchange",
            auth=Bearer(context.identity.web_identity_token(ISSUER, ASSERTION_LIFETIME)),
            query=(("aud", HOST), ("identity", definition.identity)),
        )
        remedy = (
            f"check that the identity {definition.identity} trusts this project's issuer and role, and has "
            "registry.pull"
        )
        fields = transport.expect(answer, what=what, remedy=remedy).fields(what=what)
        token = SecretStr(transport.text_field(fields, "token", what=what))
        return Credential(
            provider=self.name,
            logins=(Login(USERNAME, token, definition.keys([HOST])),),
            issued_at=context.now(),
            expires_at=jwt_expiry(token, what=what),
        )

    def revoke(
        self, definition: ChainguardDefinition, issued: IssuedCredential, context: MintContext
    ) -> Revoked:
        """Do nothing: a token can't be revoked. It lives for about an hour."""
        return Revoked.UNSUPPORTED


def _escaped(subject: str) -> str:
    """An ARN as a regular expression. Only these of its characters have a special meaning there."""
    return "".join(f"\\{char}" if char in ".+" else char for char in subject)
