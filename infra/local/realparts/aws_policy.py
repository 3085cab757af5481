"""The part of IAM that the stand-ins check: policy documents, and the names in AWS's partitions. Pure."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

# Every private ECR host, as Kubernetes' own ECR credential provider recognises them.
_ECR_HOST = re.compile(
    r"^(?P<account>\d{12})\.dkr[.-]ecr(-fips)?\.(?P<region>[a-z0-9-]+)\."
    r"(?P<domain>amazonaws\.(com(\.cn)?|eu)|on\.(aws|amazonwebservices\.com\.cn)|sc2s\.sgov\.gov|c2s\.ic\.gov"
    r"|cloud\.adc-e\.uk|csp\.hci\.ic\.gov)$"
)
# Region prefix: partition and the domain of the registry host (botocore's partitions.json).
_PARTITIONS = (
    ("cn-", "aws-cn", "amazonaws.com.cn"),
    ("us-gov-", "aws-us-gov", "amazonaws.com"),
    ("us-iso-", "aws-iso", "c2s.ic.gov"),
    ("us-isob-", "aws-iso-b", "sc2s.sgov.gov"),
    ("eu-isoe-", "aws-iso-e", "cloud.adc-e.uk"),
    ("us-isof-", "aws-iso-f", "csp.hci.ic.gov"),
    ("eusc-", "aws-eusc", "amazonaws.eu"),
)


class EcrHost(NamedTuple):
    """The account and region that a private ECR host name names."""

    account: str
    region: str


def ecr_host(host: str) -> EcrHost | None:
    """Return what a host name says, or None when it is no private ECR host."""
    found = _ECR_HOST.match(host)
    return EcrHost(found["account"], found["region"]) if found else None


def partition(region: str) -> str:
    """Return the partition of a region, `aws` for the commercial ones."""
    return next((name for prefix, name, _ in _PARTITIONS if region.startswith(prefix)), "aws")


def registry_domain(region: str) -> str:
    """Return the domain of the ECR host that `proxyEndpoint` names in this region."""
    return next((domain for prefix, _, domain in _PARTITIONS if region.startswith(prefix)), "amazonaws.com")


def allowed(
    policies: Iterable[Mapping[str, Any]],
    action: str,
    resource: str,
    context: Mapping[str, str] | None = None,
    principal: str | None = None,
) -> bool:
    """Whether every one of the policies allows the action: a session policy narrows its role's.

    Args:
        policies: IAM policy documents; with none, nothing is allowed.
        action: as in `ecr:BatchGetImage`.
        resource: the ARN acted on.
        context: condition keys and their values.
        principal: the caller's ARN, for a resource or trust policy.
    """
    documents = list(policies)
    return bool(documents) and all(
        _decision(document, action, resource, context or {}, principal) for document in documents
    )


def malformed(policy: Any) -> str | None:
    """Return what is wrong with a policy document, or None."""
    if not isinstance(policy, dict):
        return "not a JSON object"
    if policy.get("Version") != "2012-10-17":
        return "Version must be 2012-10-17"
    for statement in _listed(policy.get("Statement", [])):
        if not isinstance(statement, dict) or statement.get("Effect") not in {"Allow", "Deny"}:
            return "each Statement needs an Effect of Allow or Deny"
        if "Action" not in statement and "NotAction" not in statement:
            return "each Statement needs an Action"
    return None if policy.get("Statement") else "Statement is missing"


def _decision(
    document: Mapping[str, Any], action: str, resource: str, context: Mapping[str, str], principal: str | None
) -> bool:
    effects = {
        statement["Effect"]
        for statement in _listed(document.get("Statement", []))
        if _matches(statement, action, resource, context, principal)
    }
    return effects == {"Allow"}


def _matches(
    statement: Mapping[str, Any],
    action: str,
    resource: str,
    context: Mapping[str, str],
    principal: str | None,
) -> bool:
    return (
        _any_like(statement.get("Action", []), action, fold=True)
        and ("Resource" not in statement or _any_like(statement["Resource"], resource))
        and ("Principal" not in statement or _is_principal(statement["Principal"], principal))
        and all(_holds(operator, keys, context) for operator, keys in statement.get("Condition", {}).items())
    )


def _is_principal(stated: Any, principal: str | None) -> bool:
    if stated == "*":
        return True
    named = _listed(stated.get("AWS", []))
    account = (principal or "::::").split(":")[4]
    return principal in named or account in named or f"arn:aws:iam::{account}:root" in named


def _holds(operator: str, keys: Mapping[str, Any], context: Mapping[str, str]) -> bool:
    name = operator.removeprefix("ForAllValues:").removeprefix("ForAnyValue:").removesuffix("IfExists")
    lowered = {key.lower(): value for key, value in context.items()}
    return all(
        _compare(name, _listed(wanted), lowered.get(key.lower()), optional=operator.endswith("IfExists"))
        for key, wanted in keys.items()
    )


def _compare(name: str, wanted: list[str], actual: str | None, *, optional: bool) -> bool:
    if actual is None:
        return optional or "Not" in name
    match name:
        case "StringEquals" | "ArnEquals":
            return actual in wanted
        case "StringNotEquals":
            return actual not in wanted
        case "StringLike" | "ArnLike":
            return any(fnmatch.fnmatchcase(actual, pattern) for pattern in wanted)
        case "NumericLessThanEquals":
            return int(actual) <= int(wanted[0])
    raise ValueError(f"the stand-in does not know the condition operator {name}")


def _any_like(patterns: Any, value: str, *, fold: bool = False) -> bool:
    value = value.lower() if fold else value
    return any(
        fnmatch.fnmatchcase(value, pattern.lower() if fold else pattern) for pattern in _listed(patterns)
    )


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]
