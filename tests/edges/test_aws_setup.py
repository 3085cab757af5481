"""``regcred rotate --local`` without an AWS region or without AWS credentials."""

from __future__ import annotations

import os

import boto3
import pytest

from regcred.adapters.aws_clients import own_client
from regcred.adapters.sts import ProjectIdentities
from regcred.errors import MissingError
from regcred.vault.records.declared import ProjectPolicy

POLICY = ProjectPolicy(role_arn="arn:aws:iam::123456789012:role/regcred/payments")


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without AWS settings."""
    for name in os.environ:
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    return monkeypatch


def assume() -> None:
    ProjectIdentities().of("payments", POLICY).aws()


def test_an_error_about_a_missing_region_names_the_variable_to_set(bare: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingError, match="set AWS_DEFAULT_REGION"):
        own_client("events")


@pytest.mark.parametrize(
    ("variables", "what"),
    [({}, "NoCredentialsError"), ({"AWS_PROFILE": "nobody"}, "ProfileNotFound")],
)
def test_an_error_about_missing_credentials_says_how_to_sign_in(
    bare: pytest.MonkeyPatch, variables: dict[str, str], what: str
) -> None:
    bare.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    for name, value in variables.items():
        bare.setenv(name, value)
    with pytest.raises(MissingError, match=rf"no AWS credentials .*{what}.*sign in"):
        assume()
