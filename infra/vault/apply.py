"""Set up Vault or OpenBao from this folder; what `regcred platform apply` does, as a function for the local stack."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import SecretStr

from regcred.vault.http import Server
from regcred.vault.kv2 import signed_in
from regcred.vault.login import TokenLogin
from regcred.vault.platform import (
    Action,
    ClusterTrust,
    LambdaIamTrust,
    LambdaTrust,
    apply_platform,
    ensure_project,
    load,
)

__all__ = ["ClusterTrust", "LambdaIamTrust", "LambdaTrust", "apply"]


def apply(
    addr: str,
    token: str,
    *,
    clusters: Mapping[str, ClusterTrust],
    lambda_trust: LambdaTrust | None = None,
    lambda_iam: LambdaIamTrust | None = None,
    projects: tuple[str, ...] = (),
) -> list[Action]:
    """Make the server as declared here, with these clusters and Lambdas beside those of `platform.yaml`.

    Args:
        addr: The server's address.
        token: A token that may do so: the root token, or one with the policy `regcred-platform-operator`.
        clusters: Whom to trust as each cluster's sync.
        lambda_trust: Whom to trust as dispatch and rotate, by JWT.
        lambda_iam: The same by AWS IAM (HashiCorp Vault only).
        projects: Projects to set up though `platform/projects` does not name them yet.

    Returns:
        What was done; empty if all was so already.
    """
    vault = signed_in(Server(addr), TokenLogin(lambda: SecretStr(token)))
    platform = load(Path(__file__).parent)
    declared = platform.declaration
    platform = platform.with_declaration(
        clusters={**declared.clusters, **clusters},
        lambda_jwt=lambda_trust or declared.lambda_jwt,
        lambda_iam=lambda_iam or declared.lambda_iam,
    )
    done = apply_platform(vault, platform)
    for project in projects:
        done += ensure_project(vault, platform, project)
    return done
