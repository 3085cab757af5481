"""The shared parts of the instructions that make a vendor or account trust a project's role. Pure.

Each keyless definition has its own instructions (``BaseDefinition.trust``), with text to paste.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ISSUER_UNKNOWN = "ISSUER"
"""The placeholder for an unknown issuer."""

SUBJECT_NOTE = (
    "# The 'sub' of the identity token is the role's ARN. AWS documents it only for roles without a path.\n"
    "# If the vendor refuses the token, compare its log with both forms above.\n"
)
"""The hint about the two possible subjects of an identity token."""

ISSUER_HOW = (
    "ISSUER is the issuer of your AWS account: switch it on once by "
    "'aws iam enable-outbound-web-identity-federation', and read it by "
    "'aws iam get-outbound-web-identity-federation-info'."
)


@dataclass(frozen=True, slots=True)
class ProjectRole:
    """The IAM role of a project, which a vendor or an AWS account must trust.

    Args:
        project: The project, which is also the external ID.
        role_arn: The project's own IAM role.
        issuer: The issuer of the AWS account's signed identity tokens, or empty if unknown.
    """

    project: str
    role_arn: str
    issuer: str = ""

    @property
    def issuer_or_name(self) -> str:
        """The issuer, or its placeholder."""
        return self.issuer or ISSUER_UNKNOWN

    @property
    def account(self) -> str:
        """The AWS account of the role."""
        return self.role_arn.split(":")[4]

    @property
    def account_arn(self) -> str:
        """The account of the role, in the form for ``Principal``.

        AWS converts a role's own ARN in ``Principal`` to the role's unique ID when it saves the policy. If
        the role is deleted and created again, it is then refused. So policies name the account, and the role
        by ``aws:PrincipalArn``.
        https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html#principal-roles
        """
        return f"arn:{self.partition}:iam::{self.account}:root"

    @property
    def role_name(self) -> str:
        """The role's name without its path."""
        return self.role_arn.rpartition("/")[2]

    @property
    def plain_role_arn(self) -> str:
        """The role's ARN without its path.

        A role's name is unique in its account, so this is still the same role.
        """
        return f"arn:{self.partition}:iam::{self.account}:role/{self.role_name}"

    @property
    def subjects(self) -> tuple[str, ...]:
        """The possible values of ``sub`` in the role's identity token: its ARN with and without the path.

        AWS documents ``sub`` as the role's ARN, but its examples only show roles without a path
        (https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_outbound_token_claims.html).
        """
        return tuple(dict.fromkeys((self.role_arn, self.plain_role_arn)))

    @property
    def partition(self) -> str:
        """The AWS partition of the role."""
        return self.role_arn.split(":")[1]

    @property
    def assumed_role_arn(self) -> str:
        """The role's name in STS after it is assumed, without its path and session."""
        return f"arn:{self.partition}:sts::{self.account}:assumed-role/{self.role_name}"

    def identity_note(self, audience: str) -> str:
        """The permissions of the project's role to sign its identity, and how to find an unknown issuer.

        Args:
            audience: The audience of the token.
        """
        may = {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Action": "sts:GetWebIdentityToken",
                    "Resource": "*",
                    "Condition": {"ForAllValues:StringEquals": {"sts:IdentityTokenAudience": audience}},
                }
            ],
        }
        issuer = "" if self.issuer else f"{ISSUER_HOW}\n"
        return (
            f"\nPermissions of {self.role_arn}, to sign its identity (the parameter Audiences of "
            f"infra/aws/project-role.yaml):\n{document(may)}\n{issuer}"
        )


def document(value: Mapping[str, Any]) -> str:
    """A JSON document to paste."""
    return json.dumps(value, indent=2)


def assume_role_policy(role: ProjectRole) -> dict[str, Any]:
    """The trust policy of a role that the project's role may assume, with the project as external ID."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"AWS": role.account_arn},
                "Action": "sts:AssumeRole",
                "Condition": {
                    "ArnEquals": {"aws:PrincipalArn": role.role_arn},
                    "StringEquals": {
                        "sts:ExternalId": role.project,
                        "aws:PrincipalTag/project": role.project,
                    },
                },
            }
        ],
    }


def role_to_assume(role: ProjectRole, role_arn: str, permissions: Mapping[str, Any]) -> str:
    """The policies for the project's role to assume another role. AWS checks the policies of both roles."""
    may = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": role_arn}],
    }
    return f"""Trust policy of {role_arn}:
{document(assume_role_policy(role))}

Its permissions:
{document(permissions)}

Permissions of {role.role_arn}:
{document(may)}
"""
