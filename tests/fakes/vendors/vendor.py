"""The interface of a vendor's stand-in to the contract tests."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar

from fakes.vendors.aws import Aws
from fakes.vendors.network import Network
from pydantic import SecretStr

from regcred.registry.interface import AwsCredentials

PROJECT_ROLE = "arn:aws:iam::111122223333:role/regcred/payments"
"""The role of the project `payments`, which vendors trust."""

OTHER_ROLE = "arn:aws:iam::111122223333:role/regcred/ads"
"""The role of another project, which vendors do not trust."""


class ProjectIdentity:
    """A project's identity: signs in to the AWS stand-in as `role_arn`."""

    def __init__(self, aws: Aws, role_arn: str = PROJECT_ROLE) -> None:
        self._aws = aws
        self._role_arn = role_arn

    def aws(self) -> AwsCredentials:
        return self._aws.session(self._role_arn)

    def web_identity_token(self, audience: str, lifetime: timedelta) -> SecretStr:
        return self._aws.web_identity_token(self._role_arn, audience, lifetime)


class Vendor(ABC):
    """A registry at a vendor, ready to issue credentials."""

    provider: ClassVar[str]
    variant: ClassVar[str] = ""
    lifetime: ClassVar[timedelta | None] = None
    """How long the vendor lets a credential live; None: it has no expiry."""
    revocable: ClassVar[bool] = False
    keyless: ClassVar[bool] = False
    calls: ClassVar[str] = ""
    """A regular expression over `METHOD host/path` of the requests that create a credential; empty if there
    are none."""
    dies: ClassVar[bool] = True
    """Whether the vendor ends a credential at `lifetime`; otherwise its slot's next renewal does."""
    keeps_tokens: ClassVar[bool] = False
    """Whether the vendor stores named tokens, so that tests can check that none is left over."""

    def __init__(self, network: Network, aws: Aws) -> None:
        self.network = network
        self.aws = aws
        self.clock = network.clock
        self.install()

    @abstractmethod
    def install(self) -> None:
        """Add the handlers of the vendor's hosts to the network."""

    @property
    @abstractmethod
    def definition(self) -> Mapping[str, Any]:
        """A definition with a probe image that exists, and with every option that limits rights."""

    @property
    def upstream(self) -> Mapping[str, str]:
        """The upstream secret."""
        return {}

    @property
    @abstractmethod
    def hosts(self) -> tuple[str, ...]:
        """Every host that an image name of this registry can have."""

    @abstractmethod
    def widen(self) -> None:
        """Let credentials that are created from now on push as well."""

    def refuse(self) -> None:
        """Refuse the upstream secret from now on. For keyless vendors, tests use another project's role
        instead."""
        raise NotImplementedError
