"""What the contract suite needs to know of a vendor's stand-in."""

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
"""The role of another project, which they do not trust."""


class ProjectIdentity:
    """The identity of a project whose role is `role_arn`, in the AWS stand-in."""

    def __init__(self, aws: Aws, role_arn: str = PROJECT_ROLE) -> None:
        self._aws = aws
        self._role_arn = role_arn

    def aws(self) -> AwsCredentials:
        return self._aws.session(self._role_arn)

    def web_identity_token(self, audience: str, lifetime: timedelta) -> SecretStr:
        return self._aws.web_identity_token(self._role_arn, audience, lifetime)


class Vendor(ABC):
    """One registry at one vendor, ready to be minted for."""

    provider: ClassVar[str]
    variant: ClassVar[str] = ""
    lifetime: ClassVar[timedelta | None] = None
    """How long the vendor lets a credential live; None: it has no expiry."""
    revocable: ClassVar[bool] = False
    keyless: ClassVar[bool] = False
    calls: ClassVar[str] = ""
    """A regular expression over `METHOD host/path` of the requests that mint; empty: minting asks nobody."""
    dies: ClassVar[bool] = True
    """Whether the vendor itself ends it at `lifetime`; else its own next turn does."""
    keeps_tokens: ClassVar[bool] = False
    """Whether it keeps named tokens, so that nothing may be left over."""

    def __init__(self, network: Network, aws: Aws) -> None:
        self.network = network
        self.aws = aws
        self.clock = network.clock
        self.install()

    @abstractmethod
    def install(self) -> None:
        """Answer for the vendor's hosts."""

    @property
    @abstractmethod
    def definition(self) -> Mapping[str, Any]:
        """A definition whose probe image exists and whose every option that narrows is used."""

    @property
    def upstream(self) -> Mapping[str, str]:
        """The upstream secret."""
        return {}

    @property
    @abstractmethod
    def hosts(self) -> tuple[str, ...]:
        """Every host under which an image of this registry can be named."""

    @abstractmethod
    def widen(self) -> None:
        """Let what is minted from now on push as well."""

    def refuse(self) -> None:
        """Refuse the upstream secret from now on; keyless vendors are asked by another project instead."""
        raise NotImplementedError
