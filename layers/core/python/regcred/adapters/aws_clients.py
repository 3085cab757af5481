"""Clients with the function's own AWS role.

boto3 is imported here at the top, because every invocation needs it and an import costs least in Lambda's
init phase.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import boto3
from botocore.config import Config
from pydantic import SecretStr

from regcred.errors import MissingError
from regcred.registry import aws, aws_http
from regcred.vault.login import AwsKeys

T = TypeVar("T")

BATCH = 10
"""The maximum number of entries in one SendMessageBatch or PutEvents call."""


def own_client(service: Any) -> Any:
    """A client with the function's own role, in the function's region.

    It sends through our transport, so a call ends after 30 seconds in total, even if a response arrives
    slowly. The function then still has time to report which service did not respond.
    """
    config = Config(connect_timeout=3, read_timeout=5, retries={"mode": "standard", "total_max_attempts": 3})
    aws.silence()
    with aws.CREATING, aws.own_setup():
        return aws_http.bind(boto3.client(service, config=config))


def own_keys() -> AwsKeys:
    """The session keys of the function's role."""
    credentials = boto3.Session().get_credentials()
    if credentials is None:
        raise MissingError("no AWS credentials for the sign-in to Vault; run this under an IAM role")
    frozen = credentials.get_frozen_credentials()
    return AwsKeys(
        str(frozen.access_key),
        SecretStr(str(frozen.secret_key)),
        SecretStr(frozen.token) if frozen.token else None,
    )


def batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Split items into batches for one call each."""
    for start in range(0, len(items), BATCH):
        yield items[start : start + BATCH]
