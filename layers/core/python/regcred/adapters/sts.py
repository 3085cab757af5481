"""The identities of the function and of the projects, over AWS STS."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING

from pydantic import SecretStr

from regcred.adapters.aws_clients import own_client
from regcred.clock import utc_now
from regcred.errors import MalformedError, MissingError, RegcredError
from regcred.registry import aws
from regcred.registry.interface import AwsCredentials
from regcred.vault.records.declared import ProjectPolicy

if TYPE_CHECKING:
    from mypy_boto3_sts import STSClient

TOKEN_SECONDS = 300
"""The life of a JWT for the sign-in to Vault. It is used immediately."""

EARLY = timedelta(minutes=5)
"""How long before its end a role's session is replaced."""

EXTERNAL_ID_MIN = 2
"""The minimum length of an external ID in characters (STS AssumeRole)."""

ALGORITHM = "RS256"
"""The algorithm with which STS signs JWTs. Every party that accepts AWS JWTs supports it (Azure supports only
this one)."""


def own_jwt(audience: str) -> SecretStr:
    """A JWT of the function's role for one audience.

    Raises:
        RefusedError, TransientError: See :func:`regcred.registry.aws.translated`.
    """
    return _jwt(own_client("sts"), audience, timedelta(seconds=TOKEN_SECONDS), who="the function's role")


def _jwt(sts: STSClient, audience: str, lifetime: timedelta, *, who: str) -> SecretStr:
    remedy = (
        f"allow {who} sts:GetWebIdentityToken, and switch on outbound web identity federation in the AWS "
        "account"
    )
    with aws.translated(f"getting an identity token for {audience}", remedy=remedy):
        answer = sts.get_web_identity_token(
            Audience=[audience], SigningAlgorithm=ALGORITHM, DurationSeconds=int(lifetime.total_seconds())
        )
    return SecretStr(answer["WebIdentityToken"])


@dataclass
class ProjectIdentities:
    """Each project's own IAM role. It is assumed at the first use, and kept until its session ends."""

    _kept: dict[tuple[str, str], ProjectIdentity] = field(default_factory=dict, repr=False)
    _lock: Lock = field(default_factory=Lock, repr=False)

    def of(self, project: str, policy: ProjectPolicy) -> ProjectIdentity:
        """See :class:`regcred.rotate.Identities`."""
        with self._lock:
            return self._kept.setdefault(
                (project, policy.role_arn), ProjectIdentity(project, policy.role_arn)
            )


@dataclass
class ProjectIdentity:
    """:class:`regcred.registry.interface.Identity` by AssumeRole. ExternalId and tag are the project."""

    project: str
    role_arn: str
    _credentials: AwsCredentials | None = field(default=None, repr=False)
    _failed: tuple[datetime, RegcredError] | None = field(default=None, repr=False)
    _lock: Lock = field(default_factory=Lock, repr=False)

    @cached_property
    def _sts(self) -> STSClient:
        """A client with the function's own role. The first thread that holds the lock creates it."""
        client: STSClient = own_client("sts")
        return client

    def aws(self) -> AwsCredentials:
        """See :class:`Identity`.

        If another thread's request fails while this one waits, both get the same error. The request is not
        repeated.
        """
        since = utc_now()
        with self._lock:
            if self._failed and self._failed[0] >= since:
                raise self._failed[1]
            if self._credentials is None or self._credentials.expires_at - EARLY <= utc_now():
                try:
                    self._credentials = self._assume()
                except RegcredError as error:
                    self._failed = (utc_now(), error)
                    raise
            return self._credentials

    def web_identity_token(self, audience: str, lifetime: timedelta) -> SecretStr:
        """See :class:`Identity`."""
        sts = aws.client("sts", self.aws(), region=self._sts.meta.region_name)
        return _jwt(sts, audience, lifetime, who=self.role_arn)

    def _assume(self) -> AwsCredentials:
        if not self.role_arn:
            raise MissingError(
                f"project {self.project} has no IAM role; ask a platform admin to set "
                f"'role_arn' in platform/projects/{self.project}"
            )
        if len(self.project) < EXTERNAL_ID_MIN:
            raise MalformedError(
                f"project {self.project}: an external ID needs 2 characters or more; give the project a "
                "longer name",
                field="project",
            )
        remedy = (
            f"check that its trust policy names rotate's role, the external id {self.project!r} and "
            "sts:TagSession"
        )
        with aws.translated(f"assuming {self.role_arn}", remedy=remedy):
            answer = self._sts.assume_role(
                RoleArn=self.role_arn,
                RoleSessionName=f"regcred-{self.project}"[:64],
                ExternalId=self.project,
                Tags=[{"Key": "project", "Value": self.project}],
            )["Credentials"]
        return AwsCredentials(
            access_key_id=answer["AccessKeyId"],
            secret_access_key=SecretStr(answer["SecretAccessKey"]),
            session_token=SecretStr(answer["SessionToken"]),
            expires_at=answer["Expiration"],
        )
