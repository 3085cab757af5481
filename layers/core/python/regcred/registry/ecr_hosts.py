"""The host names of Amazon ECR by account and region. Pure.

Source: https://docs.aws.amazon.com/AmazonECR/latest/userguide/ecr-requests.html, the partitions of botocore,
and the host pattern of AWS's own kubelet credential provider (kubernetes/cloud-provider-aws,
cmd/ecr-credential-provider).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum


class Endpoint(StrEnum):
    """The kinds of host names of one private registry."""

    STANDARD = "standard"
    """``ID.dkr.ecr.REGION.amazonaws.com``; the only one that AWS PrivateLink supports."""
    DUAL_STACK = "dual-stack"
    """``ID.dkr-ecr.REGION.on.aws``, IPv4 and IPv6."""
    FIPS = "fips"
    """``ID.dkr.ecr-fips.REGION.amazonaws.com``."""
    FIPS_DUAL_STACK = "fips-dual-stack"
    """``ID.dkr-ecr-fips.REGION.on.aws``."""


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition of AWS, and the suffixes of host names in its regions."""

    name: str
    regions: re.Pattern[str]
    suffix: str
    dual_stack_suffix: str = ""
    """Empty if AWS's own pattern has no dual-stack host name of ECR."""


PARTITIONS = (
    Partition("aws-cn", re.compile(r"cn-[a-z]+-[0-9]"), "amazonaws.com.cn", "on.amazonwebservices.com.cn"),
    Partition("aws-us-gov", re.compile(r"us-gov-[a-z]+-[0-9]"), "amazonaws.com", "on.aws"),
    Partition("aws-iso", re.compile(r"us-iso-[a-z]+-[0-9]"), "c2s.ic.gov"),
    Partition("aws-iso-b", re.compile(r"us-isob-[a-z]+-[0-9]"), "sc2s.sgov.gov"),
    Partition("aws-iso-e", re.compile(r"eu-isoe-[a-z]+-[0-9]"), "cloud.adc-e.uk"),
    Partition("aws-iso-f", re.compile(r"(us|eu)-isof-[a-z]+-[0-9]"), "csp.hci.ic.gov"),
    Partition("aws-eusc", re.compile(r"eusc-[a-z]+-[a-z]+-[0-9]"), "amazonaws.eu"),
    Partition("aws", re.compile(r"[a-z]{2}-[a-z]+-[0-9]"), "amazonaws.com", "on.aws"),
)

FIPS_REGIONS = frozenset(
    {"us-east-1", "us-east-2", "us-west-1", "us-west-2", "us-gov-east-1", "us-gov-west-1"},
)
"""Regions with FIPS endpoints of ECR (botocore 1.44 data/endpoints.json)."""

_SUFFIXES = "|".join(
    sorted(
        {re.escape(s) for p in PARTITIONS for s in (p.suffix, p.dual_stack_suffix) if s},
        key=len,
        reverse=True,
    )
)
_HOST = re.compile(rf"([0-9]{{12}})\.dkr[.-]ecr(?:-fips)?\.([a-z0-9-]+)\.(?:{_SUFFIXES})")


def partition_of(region: str) -> Partition | None:
    """The partition of a region, or None if no AWS region can have this name."""
    return next((partition for partition in PARTITIONS if partition.regions.fullmatch(region)), None)


def hosts(account: str, region: str, endpoints: frozenset[Endpoint]) -> tuple[str, ...]:
    """The host names of a private registry that exist in the region, the standard one first.

    Args:
        account: The 12-digit ID of the registry's account.
        region: An AWS region.
        endpoints: The kinds of host names to return.
    """
    partition = partition_of(region)
    if partition is None:
        return ()
    found = []
    for endpoint in Endpoint:
        fips = "-fips" if endpoint in {Endpoint.FIPS, Endpoint.FIPS_DUAL_STACK} else ""
        dual = endpoint in {Endpoint.DUAL_STACK, Endpoint.FIPS_DUAL_STACK}
        suffix = partition.dual_stack_suffix if dual else partition.suffix
        if endpoint in endpoints and suffix and (not fips or region in FIPS_REGIONS):
            found.append(f"{account}.dkr{'-' if dual else '.'}ecr{fips}.{region}.{suffix}")
    return tuple(found)


def split(host: str) -> tuple[str, str] | None:
    """The account and region in an ECR host name, or None for other hosts."""
    match = _HOST.fullmatch(host)
    return (match[1], match[2]) if match else None
