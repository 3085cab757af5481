"""The settings of each function, from its environment. None is a secret.

Plain pydantic on purpose: pydantic-settings would add a sixth to rotate's cold start for what is one mapping.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from regcred.errors import MalformedError
from regcred.wording import worded

PREFIX = "REGCRED_"
"""All settings are environment variables of this prefix."""


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
            "must divide an hour, as 1, 5, 10 or 15 do, so that each definition is checked once in it"
        )
    return minutes


class Settings(BaseModel):
    """What every function needs to reach Vault."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    vault_addr: str = Field(pattern=r"^https?://")
    """The address, as in https://vault.example.com:8200."""
    vault_namespace: str = ""
    vault_mount: str = "regcred"
    """The KV v2 mount."""
    vault_auth: VaultAuth = VaultAuth.JWT
    vault_auth_mount: str = ""
    """Where the auth method is mounted; empty: where ``regcred platform apply`` mounts it."""
    vault_role: str
    """The role to sign in to."""
    vault_audience: str = "vault"
    """The audience of the JWT, which the role binds."""
    vault_server_id: str = ""
    """The value of X-Vault-AWS-IAM-Server-ID that the AWS auth mount wants."""
    vault_sts_region: str = "us-east-1"
    """The ``sts_region`` of the AWS auth mount."""
    vault_ca_file: str = ""
    """A file of PEM certificates of a private authority."""
    vault_ca_pem: str = ""
    """The certificates themselves, where a file is hard to bring along."""

    @property
    def auth_mount(self) -> str:
        """Where the auth method is mounted."""
        return self.vault_auth_mount or MOUNTS[self.vault_auth]

    @classmethod
    def load(cls, environment: Mapping[str, str]) -> Self:
        """Read the settings.

        Args:
            environment: Such as ``os.environ``. Empty variables count as not set.

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
    """How often the schedule starts it."""
    chunk: int = Field(default=20, ge=1, le=100)
    """Registries in one message."""
    messages: int = Field(default=150, ge=1, le=10_000)
    """Messages of one project in one sweep, at most."""
    workers: int = Field(default=8, ge=1, le=64)
    """Projects read side by side."""

    @property
    def interval(self) -> timedelta:
        """How often the schedule starts it."""
        return timedelta(minutes=self.interval_minutes)


class RotateSettings(Settings):
    """The settings of rotate."""

    event_bus: str
    """The name of the EventBridge bus to announce at."""
    workers: int = Field(default=16, ge=1, le=64)
    """Registries of a message that are rotated side by side."""
    per_vendor: int = Field(default=10, ge=1, le=64)
    """Of these, those of one vendor and host."""
    lease_seconds: int = Field(default=120, ge=10)
    """How long a claim holds if its owner dies; longer than the function's time-out."""

    @property
    def lease(self) -> timedelta:
        """How long a claim holds if its owner dies."""
        return timedelta(seconds=self.lease_seconds)


class TokenServerSettings(Settings):
    """The settings of the token server of the system registry."""

    vault_role: str = "token"
    vault_token_file: str = ""
    """In a cluster: the file of the projected ServiceAccount token to sign in with, at
    ``vault_auth_mount``."""
    transit_mount: str = "regcred-transit"
    """Where the transit engine is mounted."""


def malformed(error: ValidationError, *, remedy: str = "") -> MalformedError:
    """Turn pydantic's error into one line that names each wrong variable; values are never repeated.

    Args:
        error: What a model of settings raised.
        remedy: What to do, where that is the same for all of them.
    """
    problems = []
    for item in error.errors(include_url=False, include_input=False):
        name = PREFIX + str(item["loc"][0]).upper()
        problems.append(
            f"{name} is not set" if item["type"] == "missing" else f"{name}: {worded(dict(item))}"
        )
    return MalformedError(
        "; ".join([*problems, remedy] if remedy else problems),
        field=PREFIX + str(error.errors()[0]["loc"][0]).upper(),
    )
