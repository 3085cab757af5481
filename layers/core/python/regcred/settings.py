"""The settings of each function, from its environment variables. No setting is a secret.

It uses plain pydantic, because pydantic-settings would make rotate's cold start a sixth longer.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from regcred.errors import MalformedError
from regcred.wording import problem_text

PREFIX = "REGCRED_"
"""The prefix of the environment variables."""


class VaultAuth(StrEnum):
    """How a function signs in to Vault."""

    JWT = "jwt"
    """By a JWT that AWS STS signs for the function's role (GetWebIdentityToken); OpenBao and Vault."""
    AWS = "aws"
    """By a signed GetCallerIdentity request; HashiCorp Vault's AWS auth method."""


MOUNTS = {VaultAuth.JWT: "regcred-lambda", VaultAuth.AWS: "regcred-lambda-iam"}
"""Where ``regcred platform apply`` mounts the auth methods of the functions."""


def _divides_an_hour(minutes: int) -> int:
    if minutes < 1 or 60 % minutes:
        raise ValueError(
            "must divide an hour, as in 5, 10 or 15, so that each definition is checked once an hour"
        )
    return minutes


class Settings(BaseModel):
    """The settings of all functions: how to reach Vault."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    vault_addr: str = Field(pattern=r"^https?://")
    """The address, as in https://vault.example.com:8200."""
    vault_namespace: str = ""
    vault_mount: str = "regcred"
    """The KV v2 mount."""
    vault_auth: VaultAuth = VaultAuth.JWT
    vault_auth_mount: str = ""
    """The path of the auth method; empty for the path that ``regcred platform apply`` uses."""
    vault_role: str
    """The role to sign in to."""
    vault_audience: str = "vault"
    """The audience of the JWT. The role in Vault must require the same."""
    vault_server_id: str = ""
    """The value of X-Vault-AWS-IAM-Server-ID that the AWS auth mount requires."""
    vault_sts_region: str = "us-east-1"
    """The ``sts_region`` of the AWS auth mount."""
    vault_ca_file: str = ""
    """A file with the PEM certificates of a private authority."""
    vault_ca_pem: str = ""
    """The certificates themselves, if a file is hard to provide."""

    @property
    def auth_mount(self) -> str:
        """Where the auth method is mounted."""
        return self.vault_auth_mount or MOUNTS[self.vault_auth]

    @classmethod
    def load(cls, environment: Mapping[str, str]) -> Self:
        """Read the settings.

        Args:
            environment: The variables, such as ``os.environ``. Empty ones count as not set.

        Raises:
            MalformedError: names each variable that is missing or wrong, and what it must be.
        """
        given = {
            name: environment[PREFIX + name.upper()]
            for name in cls.model_fields
            if environment.get(PREFIX + name.upper())
        }
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            raise malformed(error, remedy="set it in the function's environment (template.yaml)") from None


class DispatchSettings(Settings):
    """The settings of dispatch."""

    queue_url: str = Field(pattern=r"^https?://.*\.fifo$")
    interval_minutes: Annotated[int, AfterValidator(_divides_an_hour)] = 5
    """The minutes between two sweeps of the schedule."""
    chunk: int = Field(default=20, ge=1, le=100)
    """The maximum number of registries in one message."""
    messages: int = Field(default=150, ge=1, le=10_000)
    """The maximum number of messages of one project in one sweep."""
    workers: int = Field(default=8, ge=1, le=64)
    """The number of projects that are read in parallel."""

    @property
    def interval(self) -> timedelta:
        """The time between two sweeps of the schedule."""
        return timedelta(minutes=self.interval_minutes)


class RotateSettings(Settings):
    """The settings of rotate."""

    event_bus: str
    """The name of the EventBridge bus for rotate's events."""
    workers: int = Field(default=16, ge=1, le=64)
    """The maximum number of registries of a message that are rotated in parallel."""
    per_vendor: int = Field(default=10, ge=1, le=64)
    """The maximum for one vendor and host."""
    lease_seconds: int = Field(default=120, ge=10)
    """How long a claim is valid if its owner dies. It must be longer than the function's timeout."""

    @property
    def lease(self) -> timedelta:
        """How long a claim is valid if its owner dies."""
        return timedelta(seconds=self.lease_seconds)


class TokenServerSettings(Settings):
    """The settings of the token server of the system registry."""

    vault_role: str = "token"
    vault_token_file: str = ""
    """In a cluster: the file with the projected ServiceAccount token for the sign-in at
    ``vault_auth_mount``."""
    transit_mount: str = "regcred-transit"
    """Where the transit engine is mounted."""


def malformed(error: ValidationError, *, remedy: str = "") -> MalformedError:
    """Turn pydantic's error into one line that names each wrong variable, but no value.

    Args:
        error: The error of a settings model.
        remedy: What to do, if it is the same for all variables.
    """
    problems = []
    for item in error.errors(include_url=False, include_input=False):
        name = PREFIX + str(item["loc"][0]).upper()
        problems.append(
            f"{name} is not set" if item["type"] == "missing" else f"{name}: {problem_text(dict(item))}"
        )
    return MalformedError(
        "; ".join([*problems, remedy] if remedy else problems),
        field=PREFIX + str(error.errors()[0]["loc"][0]).upper(),
    )
