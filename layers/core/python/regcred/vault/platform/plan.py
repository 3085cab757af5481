"""Decides what Vault must contain for a platform, and the steps to get there. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from regcred.vault.login import sts_host
from regcred.vault.platform.declaration import (
    POLICIES,
    PROJECT_POLICIES,
    ClusterTrust,
    LambdaIamTrust,
    LambdaTrust,
    Platform,
)
from regcred.vault.platform.resource import Resource, ResourceKind, State
from regcred.vault.platform.undeclared import undeclared_values

PREFIX = "regcred-"
"""The prefix of the names of our resources outside the mount."""

CLUSTER = f"{PREFIX}cluster-"
"""The prefix of a cluster's entity and of its sign-in method."""

LAMBDA_JWT = f"{PREFIX}lambda"
"""The sign-in method with which Lambdas sign in by JWT."""

LAMBDA_IAM = f"{PREFIX}lambda-iam"
"""The sign-in method with which Lambdas sign in by IAM."""

SYNC_ROLE = "sync"
"""The role of sync in a cluster's sign-in method."""

CONSOLE_ROLE = "console"
"""The console's role, in a cluster or on Lambda."""

TOKEN_ROLE = "token"  # noqa: S105 - the name of a role
"""The role of the system registry's token server, in a cluster or on Lambda."""


class ChangeKind(StrEnum):
    """The kind of change that a step makes."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class PlatformStep:
    """One change of a resource in Vault."""

    verb: ChangeKind
    resource: Resource
    values: Mapping[str, Any]
    """All values to set; empty for a deletion."""
    changed: tuple[str, ...] = ()
    """For an update, the names of the values that differ."""

    def __str__(self) -> str:
        changed = f" ({', '.join(self.changed)})" if self.changed else ""
        return f"{self.verb} {self.resource}{changed}"


def plan(current: State, desired: State) -> list[PlatformStep]:
    """The steps from ``current`` to ``desired``, in a working order; empty if nothing differs.

    Args:
        current: Our resources in Vault.
        desired: The declared resources. Values that are not declared are compared too, see
            :func:`regcred.vault.platform.undeclared.undeclared_values`.
    """
    steps: list[PlatformStep] = []
    for resource in sorted(desired, key=_rank):
        wanted, found = desired[resource], current.get(resource)
        if found is None:
            steps.append(PlatformStep(ChangeKind.CREATE, resource, wanted))
            continue
        resets = undeclared_values(resource.kind, found, wanted)
        changed = [name for name, value in wanted.items() if found.get(name) != value]
        if changed or resets:
            names = tuple(sorted({*changed, *resets}))
            steps.append(PlatformStep(ChangeKind.UPDATE, resource, {**wanted, **resets}, names))
    extra = [resource for resource in current if resource not in desired]
    steps.extend(
        PlatformStep(ChangeKind.DELETE, resource, {}) for resource in sorted(extra, key=_rank, reverse=True)
    )
    return steps


def _rank(resource: Resource) -> tuple[int, str]:
    return list(ResourceKind).index(resource.kind), resource.name


def desired(platform: Platform, readers: Mapping[str, Iterable[str]]) -> State:
    """Everything that Vault must contain.

    Args:
        platform: The declaration.
        readers: By project, the clusters that may read its credentials (``platform/projects/P``).
    """
    state: dict[Resource, Mapping[str, Any]] = dict(_base(platform))
    for cluster in platform.declaration.clusters:
        state |= desired_cluster(platform, cluster)
    for project, clusters in readers.items():
        state |= desired_project(platform, project, clusters)
    return state


def desired_project(platform: Platform, project: str, readers: Iterable[str]) -> State:
    """What Vault must contain for a project: a policy and a group for its admins, and both for its readers.

    Only clusters are added as members, and only to the group of readers. They must have an entity. People are
    added elsewhere, and stay.
    """
    state: dict[Resource, Mapping[str, Any]] = {}
    for policy in PROJECT_POLICIES:
        name = project_group(project, policy)
        state[Resource(ResourceKind.POLICY, name)] = {"policy": platform.policy(policy, project=project)}
        state[Resource(ResourceKind.GROUP, name)] = {"policies": [name]}
    if platform.declaration.events:
        events = f"{PREFIX}reader-events-{project}"
        state[Resource(ResourceKind.POLICY, events)] = {
            "policy": platform.policy("project-reader-events", project=project)
        }
        readers_name = project_group(project, "project-reader")
        state[Resource(ResourceKind.GROUP, readers_name)] = {"policies": sorted([events, readers_name])}
    members = sorted(f"{CLUSTER}{cluster}" for cluster in readers)
    readers_group = Resource(ResourceKind.GROUP, project_group(project, "project-reader"))
    state[readers_group] = {**state[readers_group], "members": members}
    return state


def readers_of(state: State, project: str) -> list[str]:
    """The clusters that may read a project's credentials: the reverse of :func:`desired_project`."""
    group = state.get(Resource(ResourceKind.GROUP, project_group(project, "project-reader"))) or {}
    return [str(member).removeprefix(CLUSTER) for member in group.get("members") or ()]


def project_group(project: str, policy: str) -> str:
    """The name of a project's group and of its policy: ``regcred-admins-P``, ``regcred-readers-P``."""
    return f"{PREFIX}{policy.removeprefix('project-')}s-{project}"


def desired_cluster(platform: Platform, cluster: str) -> State:
    """What Vault must contain for a cluster: its sign-in method, and the entity of its sync."""
    trust, name = platform.declaration.clusters[cluster], f"{CLUSTER}{cluster}"
    role = _jwt_role(platform, "sync", audience=trust.audience) | {"bound_subject": trust.subject}
    if platform.declaration.events:
        role["token_policies"] = [f"{PREFIX}sync", f"{PREFIX}sync-events"]
    return {
        Resource(ResourceKind.METHOD, name): {
            "type": "jwt",
            "description": f"sync of the cluster {cluster} (Regcred)",
        },
        Resource(ResourceKind.METHOD_CONFIG, name): _jwt_config(trust),
        Resource(ResourceKind.ROLE, f"{name}/{SYNC_ROLE}"): role,
        Resource(ResourceKind.ENTITY, name): {"metadata": {"cluster": cluster}},
        Resource(ResourceKind.ALIAS, name): {"method": name, "name": trust.subject},
        **_web_roles(platform, name, trust),
        **_sign_in_quota(platform, name),
    }


def _web_roles(platform: Platform, method: str, trust: ClusterTrust) -> State:
    accounts = {CONSOLE_ROLE: trust.console_service_account, TOKEN_ROLE: trust.token_service_account}
    return {
        Resource(ResourceKind.ROLE, f"{method}/{role}"): _jwt_role(platform, role, audience=trust.audience)
        | {"bound_subject": trust.subject_of(account)}
        for role, account in accounts.items()
        if account
    }


def _lambda_roles(trust: LambdaTrust | LambdaIamTrust) -> dict[str, list[str]]:
    """By role, the IAM roles that may sign in. Roles of parts that are not deployed are left out."""
    roles = {
        "dispatch": trust.dispatch,
        "rotate": trust.rotate,
        CONSOLE_ROLE: trust.console,
        TOKEN_ROLE: trust.token,
    }
    return {role: sorted(arns) for role, arns in roles.items() if arns}


def _base(platform: Platform) -> State:
    declaration = platform.declaration
    mount = declaration.mount
    state: dict[Resource, Mapping[str, Any]] = {
        Resource(ResourceKind.MOUNT, mount.path): {"type": "kv", "options": {"version": "2"}},
        Resource(ResourceKind.MOUNT_CONFIG, mount.path): {"max_versions": 1, "cas_required": True},
        **_quota(platform, "requests", mount.path, declaration.quotas.requests_per_second),
    }
    for policy in (*POLICIES, *(["sync-events"] if declaration.events else [])):
        state[Resource(ResourceKind.POLICY, f"{PREFIX}{policy}")] = {"policy": platform.policy(policy)}
    if declaration.lambda_jwt:
        state |= _lambda_jwt(platform, declaration.lambda_jwt)
    if declaration.lambda_iam:
        state |= _lambda_iam(platform, declaration.lambda_iam)
    return state


def _lambda_jwt(platform: Platform, trust: LambdaTrust) -> State:
    state: dict[Resource, Mapping[str, Any]] = {
        Resource(ResourceKind.METHOD, LAMBDA_JWT): {
            "type": "jwt",
            "description": "dispatch and rotate (Regcred)",
        },
        Resource(ResourceKind.METHOD_CONFIG, LAMBDA_JWT): _jwt_config(trust),
        **_sign_in_quota(platform, LAMBDA_JWT),
    }
    for role, subjects in _lambda_roles(trust).items():
        state[Resource(ResourceKind.ROLE, f"{LAMBDA_JWT}/{role}")] = _jwt_role(
            platform, role, audience=trust.audience
        ) | {"bound_claims": {"sub": subjects}}
    return state


def _lambda_iam(platform: Platform, trust: LambdaIamTrust) -> State:
    config = {
        "iam_server_id_header_value": trust.server_id,
        "sts_endpoint": trust.sts_endpoint or _sts_endpoint(trust.sts_region),
        "sts_region": trust.sts_region,
        "iam_endpoint": trust.iam_endpoint,
    }
    state: dict[Resource, Mapping[str, Any]] = {
        Resource(ResourceKind.METHOD, LAMBDA_IAM): {
            "type": "aws",
            "description": "dispatch and rotate (Regcred)",
        },
        Resource(ResourceKind.METHOD_CONFIG, LAMBDA_IAM): config,
        **_sign_in_quota(platform, LAMBDA_IAM),
    }
    for role, arns in _lambda_roles(trust).items():
        state[Resource(ResourceKind.ROLE, f"{LAMBDA_IAM}/{role}")] = _token(platform, role) | {
            "auth_type": "iam",
            "bound_iam_principal_arn": arns,
            "resolve_aws_unique_ids": trust.resolve_unique_ids,
        }
    return state


def _jwt_config(trust: ClusterTrust | LambdaTrust) -> dict[str, Any]:
    return {
        "jwt_validation_pubkeys": [key.strip() for key in trust.public_keys],
        "bound_issuer": trust.issuer,
        "jwks_url": trust.jwks_url,
        "jwks_ca_pem": trust.jwks_ca_pem,
    }


def _jwt_role(platform: Platform, policy: str, *, audience: str) -> dict[str, Any]:
    return _token(platform, policy) | {
        "role_type": "jwt",
        "user_claim": "sub",
        "bound_audiences": [audience],
    }


def _token(platform: Platform, policy: str) -> dict[str, Any]:
    """Batch tokens: Vault does not store them. An entity that leaves a group loses its rights at once."""
    ttl = platform.declaration.tokens.ttl_seconds
    return {
        "token_type": "batch",
        "token_ttl": ttl,
        "token_max_ttl": ttl,
        "token_policies": [f"{PREFIX}{policy}"],
        "token_no_default_policy": True,
    }


def _sts_endpoint(region: str) -> str:
    """The endpoint of a region, for which its clients sign.

    Without it, Vault uses the global endpoint, which refuses such a signature.
    """
    return f"https://{sts_host(region)}" if region else ""


def _sign_in_quota(platform: Platform, method: str) -> State:
    rate = platform.declaration.quotas.sign_ins_per_second
    return _quota(platform, f"sign-ins-{method}", f"auth/{method}", rate)


def _quota(platform: Platform, name: str, path: str, rate: int) -> State:
    """A quota. It is in the root namespace, and its path begins with the namespace that it limits."""
    if not platform.has_quotas:
        return {}
    namespace = f"{platform.namespace}/" if platform.namespace else ""
    name = f"{quota_prefix(platform.namespace)}{name}"
    return {Resource(ResourceKind.QUOTA, name): {"path": f"{namespace}{path}/", "rate": rate}}


def quota_prefix(namespace: str) -> str:
    """The prefix of the names of a namespace's quotas. All quotas of a server are in one list."""
    return f"regcred.{namespace.replace('/', '.')}." if namespace else PREFIX
