"""The part of IAM that the stand-ins implement: policy documents, and the names of partitions. Pure."""

from __future__ import annotations

import copy
import fnmatch
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

Context = Mapping[str, str | list[str]]
"""Condition keys and their values."""

# All private ECR hosts, as in Kubernetes' ECR credential provider.
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
    """The account and region in the name of a private ECR host."""

    account: str
    region: str


def ecr_host(host: str) -> EcrHost | None:
    """Return the account and region in a host name; None if it is not a private ECR host."""
    found = _ECR_HOST.match(host)
    return EcrHost(found["account"], found["region"]) if found else None


def partition(region: str) -> str:
    """Return the partition of a region, `aws` for the commercial ones."""
    return next((name for prefix, name, _ in _PARTITIONS if region.startswith(prefix)), "aws")


def registry_domain(region: str) -> str:
    """Return the domain of the ECR host in `proxyEndpoint` for this region."""
    return next((domain for prefix, _, domain in _PARTITIONS if region.startswith(prefix)), "amazonaws.com")


def allowed(
    policies: Iterable[Mapping[str, Any]],
    action: str,
    resource: str,
    context: Context | None = None,
    principal: str | None = None,
    *,
    principal_id: str = "",
    named: bool = False,
) -> bool:
    """Whether all policies allow the action, because a session policy restricts its role's policy.

    Args:
        policies: IAM policy documents. Without any, nothing is allowed.
        action: as in `ecr:BatchGetImage`.
        resource: the ARN of the resource.
        context: condition keys and their values. A key with several values has a list.
        principal: the caller's ARN, for a resource or trust policy.
        principal_id: the caller's unique ID, which a stored trust policy contains instead of a role's ARN.
        named: whether to count only statements that name the caller, and not just its account.
    """
    documents = list(policies)
    caller = _Caller(principal, principal_id, named=named)
    return bool(documents) and all(
        _decision(document, action, resource, context or {}, caller) for document in documents
    )


def malformed(policy: Any) -> str | None:
    """Return what is wrong with a policy document; None if it is valid."""
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


def pinned(trust: Mapping[str, Any], ids: Mapping[str, str]) -> dict[str, Any]:
    """Return a trust policy as AWS stores it: a role's ARN in Principal becomes the role's unique ID.

    So a role that is deleted and created again is another principal with the same ARN.
    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html#principal-roles

    Args:
        trust: the policy in the request.
        ids: by ARN, the unique IDs of the existing roles. Other ARNs stay; AWS would refuse them.
    """
    saved: dict[str, Any] = copy.deepcopy(dict(trust))
    for statement in _listed(saved.get("Statement", [])):
        principal = statement.get("Principal")
        if isinstance(principal, dict) and "AWS" in principal:
            principal["AWS"] = [ids.get(arn, arn) for arn in _listed(principal["AWS"])]
    return saved


class _Caller(NamedTuple):
    arn: str | None
    unique_id: str
    named: bool


def _decision(
    document: Mapping[str, Any], action: str, resource: str, context: Context, caller: _Caller
) -> bool:
    effects = {
        statement["Effect"]
        for statement in _listed(document.get("Statement", []))
        if _matches(statement, action, resource, context, caller)
    }
    return effects == {"Allow"}


def _matches(
    statement: Mapping[str, Any],
    action: str,
    resource: str,
    context: Context,
    caller: _Caller,
) -> bool:
    return (
        _any_like(statement.get("Action", []), action, fold=True)
        and ("Resource" not in statement or _any_like(statement["Resource"], resource))
        and ("Principal" not in statement or _is_principal(statement["Principal"], caller))
        and all(_holds(operator, keys, context) for operator, keys in statement.get("Condition", {}).items())
    )


def _is_principal(stated: Any, caller: _Caller) -> bool:
    stated = {"AWS": "*"} if stated == "*" else stated
    listed = _listed(stated.get("AWS", []))
    if caller.arn in listed or (caller.unique_id and caller.unique_id in listed):
        return True
    partition, account = ((caller.arn or "::::").split(":")[i] for i in (1, 4))
    whole = {"*", account, f"arn:{partition}:iam::{account}:root"}
    return not caller.named and not whole.isdisjoint(listed)


def _holds(operator: str, keys: Mapping[str, Any], context: Context) -> bool:
    """Whether the conditions of one operator are fulfilled.

    Contracts:
    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html and
    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-single-vs-multi-valued-context-keys.html
    """
    quantifier, _, name = operator.rpartition(":")
    optional = name.endswith("IfExists")
    lowered = {key.lower(): value for key, value in context.items()}
    return all(
        _quantified(
            quantifier,
            name.removesuffix("IfExists"),
            _listed(wanted),
            lowered.get(key.lower()),
            optional=optional,
        )
        for key, wanted in keys.items()
    )


def _quantified(
    quantifier: str, name: str, wanted: list[str], actual: str | list[str] | None, *, optional: bool
) -> bool:
    values = [] if actual is None else _listed(actual)
    if quantifier == "ForAllValues":  # also true if the request has no such key
        return all(_compare(name, wanted, value) for value in values)
    if not values:
        return quantifier != "ForAnyValue" and (optional or "Not" in name)
    return any(_compare(name, wanted, value) for value in values)


def _compare(name: str, wanted: list[str], actual: str) -> bool:
    match name:
        case "StringEquals":
            return actual in wanted
        case "StringNotEquals":
            return actual not in wanted
        case "StringLike":
            return any(fnmatch.fnmatchcase(actual, pattern) for pattern in wanted)
        case "ArnEquals" | "ArnLike":  # these two are the same
            return any(_arn_like(actual, pattern) for pattern in wanted)
        case "ArnNotEquals" | "ArnNotLike":
            return not any(_arn_like(actual, pattern) for pattern in wanted)
        case "NumericLessThanEquals":
            return int(actual) <= int(wanted[0])
    raise ValueError(f"the stand-in does not know the condition operator {name}")


def _arn_like(arn: str, pattern: str) -> bool:
    """Compare the six parts of an ARN separately. ``*`` and ``?`` are wildcards within a part."""
    parts, wanted = arn.split(":", 5), pattern.split(":", 5)
    return len(parts) == len(wanted) == 6 and all(map(fnmatch.fnmatchcase, parts, wanted))


def _any_like(patterns: Any, value: str, *, fold: bool = False) -> bool:
    value = value.lower() if fold else value
    return any(
        fnmatch.fnmatchcase(value, pattern.lower() if fold else pattern) for pattern in _listed(patterns)
    )


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]
