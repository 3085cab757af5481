"""Checks a project's identity by the token of its IAM role."""

from __future__ import annotations

import hashlib
from datetime import datetime

from pydantic import SecretStr

from regcred.errors import RefusedError
from regcred.registry_reference import check_label
from regcred.token.interface import Issuers, Records
from regcred.vault.records.system import SystemConfig


def check_project(
    project: str,
    identity_token: SecretStr,
    config: SystemConfig,
    *,
    records: Records,
    issuers: Issuers,
    now: datetime,
) -> None:
    """Refuse every caller except the IAM role that the project's document names.

    Args:
        project: The project that the caller claims to be.
        identity_token: A JWT of the role for this server. Each works once.
        config: The settings of the system registry.
        records: The documents of the system registry.
        issuers: Checks the token.
        now: The time.

    Raises:
        RefusedError: the token is not valid, was used before, or is not of the project's role.
    """
    policy = records.project(check_label(project, field="project"))
    token = identity_token.get_secret_value()
    identity = issuers.subject(token, config, audience=config.token_url)
    if (
        policy is None
        or not policy.role_arn
        or _without_path(policy.role_arn) != _without_path(identity.subject)
    ):
        raise RefusedError(
            f"project {project} does not exist, or {identity.subject[:200]} is not its IAM role; a "
            f"platform admin sets role_arn in platform/projects/{project}"
        )
    digest = hashlib.sha256(token.encode()).hexdigest()
    if not records.remember_once(project, digest, until=identity.expires_at, now=now.timestamp()):
        raise RefusedError("this identity token was used before; each works once")


def _without_path(arn: str) -> str:
    """A role's ARN without its path, as STS names it in sessions and may name it in tokens."""
    head, _, name = arn.partition(":role/")
    return f"{head}:role/{name.rpartition('/')[2]}"
