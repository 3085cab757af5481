"""Converts what is set up in Vault to its declaration: the reverse of ``plan.desired``. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from regcred.vault.platform.declaration import (
    POLICIES,
    ClusterTrust,
    Declaration,
    LambdaIamTrust,
    LambdaTrust,
    MountSettings,
    Platform,
    Quotas,
    TokenSettings,
)
from regcred.vault.platform.plan import (
    CLUSTER,
    CONSOLE_ROLE,
    LAMBDA_IAM,
    LAMBDA_JWT,
    PREFIX,
    SYNC_ROLE,
    TOKEN_ROLE,
    desired_cluster,
    quota_prefix,
)
from regcred.vault.platform.resource import Resource, ResourceKind, State
from regcred.vault.records.system import CLIENT_ID

M = TypeVar("M", bound=BaseModel)

_SIGN_IN_KINDS = frozenset(
    {
        ResourceKind.METHOD,
        ResourceKind.METHOD_CONFIG,
        ResourceKind.ROLE,
        ResourceKind.ENTITY,
        ResourceKind.ALIAS,
    }
)
_SUBJECT_PARTS = 4
"""The parts of a subject ``system:serviceaccount:NAMESPACE:NAME``."""

_EXAMPLE = ClusterTrust.model_construct(console_service_account="console", token_service_account="token")  # noqa: S106 - an account's name


def cluster_of(resource: Resource, platform: Platform) -> str | None:
    """The cluster that a resource belongs to; None if it belongs to none."""
    name = resource.name
    if resource.kind is ResourceKind.QUOTA:
        name = name.removeprefix(f"{quota_prefix(platform.namespace)}sign-ins-")
    elif resource.kind not in _SIGN_IN_KINDS:
        return None
    return name.partition("/")[0].removeprefix(CLUSTER) if name.startswith(CLUSTER) else None


def is_of_project(resource: Resource) -> bool:
    """Whether a resource is a policy or a group of a project."""
    prefixes = ("admins-", "readers-", "reader-events-")
    return resource.kind in {ResourceKind.POLICY, ResourceKind.GROUP} and resource.name.startswith(
        tuple(f"{PREFIX}{prefix}" for prefix in prefixes)
    )


def cluster_resources(platform: Platform, cluster: str) -> frozenset[Resource]:
    """All resources that a cluster can have."""
    return frozenset(desired_cluster(platform.with_declaration(clusters={cluster: _EXAMPLE}), cluster))


def base_resources() -> frozenset[Resource]:
    """The resources from which a platform's declaration is derived, without clusters, projects and quotas."""
    return frozenset(
        {
            Resource(ResourceKind.METHOD_CONFIG, LAMBDA_JWT),
            Resource(ResourceKind.METHOD_CONFIG, LAMBDA_IAM),
            Resource(ResourceKind.IDENTITY_ROLE, CLIENT_ID),
            *(Resource(ResourceKind.POLICY, f"{PREFIX}{name}") for name in (*POLICIES, "sync-events")),
        }
    )


def trust_of(state: State, cluster: str) -> ClusterTrust | None:
    """Who may sign in as a cluster; None if Regcred did not set up the sign-in method in this way."""
    method = f"{CLUSTER}{cluster}"
    config = state.get(Resource(ResourceKind.METHOD_CONFIG, method))
    sync = state.get(Resource(ResourceKind.ROLE, f"{method}/{SYNC_ROLE}"))
    if config is None or sync is None:
        return None
    namespace, account = _account(sync)
    extra = {
        field: _account(state.get(Resource(ResourceKind.ROLE, f"{method}/{role}"), {}))[1]
        for role, field in ((CONSOLE_ROLE, "console_service_account"), (TOKEN_ROLE, "token_service_account"))
    }
    audiences = sync.get("bound_audiences") or ["vault"]
    return _model(
        ClusterTrust,
        {
            **_keys(config),
            "issuer": config.get("bound_issuer") or "",
            "audience": audiences[0],
            "namespace": namespace,
            "service_account": account,
            **extra,
        },
    )


def declared_of(state: State, platform: Platform, projects: Iterable[str]) -> tuple[Declaration, list[str]]:
    """The declaration of what is set up, without clusters, and notes about what it can't express.

    Args:
        state: Our resources in Vault.
        platform: The mount's path and namespace, and the policies that come with Regcred.
        projects: The projects that platform admins have added.
    """
    groups = {
        resource.name.removeprefix(f"{PREFIX}admins-")
        for resource in state
        if resource.kind is ResourceKind.GROUP and resource.name.startswith(f"{PREFIX}admins-")
    }
    lambda_jwt, lambda_iam = _lambda_jwt(state), _lambda_iam(state)
    declaration = Declaration(
        events=Resource(ResourceKind.POLICY, f"{PREFIX}sync-events") in state,
        prepared_projects=sorted(groups - set(projects)),
        mount=MountSettings(path=platform.declaration.mount.path),
        tokens=TokenSettings(ttl_seconds=_ttl(state)),
        quotas=_quotas(state, platform),
        system_registry=any(resource.kind is ResourceKind.IDENTITY_ROLE for resource in state),
        lambda_jwt=lambda_jwt,
        lambda_iam=lambda_iam,
    )
    return declaration, _notes(state, platform)


def _notes(state: State, platform: Platform) -> list[str]:
    own = [
        name
        for name in POLICIES
        if (policy := state.get(Resource(ResourceKind.POLICY, f"{PREFIX}{name}")))
        and str(policy.get("policy", "")).strip() != platform.policy(name).strip()
    ]
    if not own:
        return []
    text = f"the policies {', '.join(own)} in Vault are not those that come with this version of Regcred"
    return [f"{text}; to keep them, write 'policies: own' and put them into policies/ next to the file"]


def _ttl(state: State) -> int:
    found = {
        int(values["token_ttl"])
        for resource, values in state.items()
        if resource.kind is ResourceKind.ROLE and values.get("token_ttl")
    }
    return min(found) if found else TokenSettings().ttl_seconds


def _quotas(state: State, platform: Platform) -> Quotas:
    prefix = quota_prefix(platform.namespace)
    rates = {
        resource.name.removeprefix(prefix): int(float(values["rate"]))
        for resource, values in state.items()
        if resource.kind is ResourceKind.QUOTA and values.get("rate")
    }
    usual = Quotas()
    enabled = bool(rates)
    sign_ins = [rate for name, rate in rates.items() if name.startswith("sign-ins-")]
    return Quotas(
        # The default is left out.
        enabled=None if enabled is not bool(platform.namespace) else enabled,
        requests_per_second=rates.get("requests", usual.requests_per_second),
        sign_ins_per_second=min(sign_ins) if sign_ins else usual.sign_ins_per_second,
    )


def _lambda_jwt(state: State) -> LambdaTrust | None:
    config = state.get(Resource(ResourceKind.METHOD_CONFIG, LAMBDA_JWT))
    roles = _roles(state, LAMBDA_JWT)
    if config is None or not roles:
        return None
    audiences = next(iter(roles.values())).get("bound_audiences") or [""]
    subjects = {role: (values.get("bound_claims") or {}).get("sub") or [] for role, values in roles.items()}
    return _model(
        LambdaTrust,
        {**_keys(config), "issuer": config.get("bound_issuer") or "", "audience": audiences[0], **subjects},
    )


def _lambda_iam(state: State) -> LambdaIamTrust | None:
    config = state.get(Resource(ResourceKind.METHOD_CONFIG, LAMBDA_IAM))
    roles = _roles(state, LAMBDA_IAM)
    if config is None or not roles:
        return None
    region = config.get("sts_region") or ""
    return _model(
        LambdaIamTrust,
        {
            "server_id": config.get("iam_server_id_header_value") or "",
            "sts_region": region,
            "sts_endpoint": "" if region else config.get("sts_endpoint") or "",
            "iam_endpoint": config.get("iam_endpoint") or "",
            "resolve_unique_ids": any(values.get("resolve_aws_unique_ids") for values in roles.values()),
            **{role: values.get("bound_iam_principal_arn") or [] for role, values in roles.items()},
        },
    )


def _roles(state: State, method: str) -> dict[str, Mapping[str, Any]]:
    known = ("dispatch", "rotate", CONSOLE_ROLE, TOKEN_ROLE)
    found = {role: state.get(Resource(ResourceKind.ROLE, f"{method}/{role}")) for role in known}
    return {role: values for role, values in found.items() if values is not None}


def _keys(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "public_keys": config.get("jwt_validation_pubkeys") or [],
        "jwks_url": config.get("jwks_url") or "",
        "jwks_ca_pem": config.get("jwks_ca_pem") or "",
    }


def _account(role: Mapping[str, Any]) -> tuple[str, str]:
    parts = str(role.get("bound_subject") or "").split(":")
    return (parts[2], parts[3]) if len(parts) == _SUBJECT_PARTS else ("", "")


def _model(model: type[M], values: Mapping[str, Any]) -> M | None:
    try:
        return model.model_validate(values)
    except ValidationError:
        return None
