"""A registry's definition: the document that its owner writes, without secrets.

The field ``provider`` selects the model. Models validate what a person typed, and every error names the
field, the problem and the right form. Contracts of hosts and image names: the OCI distribution specification,
RFC 1123, and the kubelet's matching rules (k8s.io/kubernetes pkg/credentialprovider).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import timedelta
from ipaddress import IPv6Address
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from regcred.image_name import HUB, HUB_HOSTS
from regcred.registry.trust import ProjectRole

_HOST_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_PORT_MAX = 65535
_BASE_PATH = re.compile(r"[A-Za-z0-9_~-][A-Za-z0-9._~-]*(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*){0,7}")
_REPOSITORY = re.compile(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
ROLE_ARN = r"arn:aws[a-z-]*:iam::(\d{12}):role/[\w+=,.@/-]{1,512}"

LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1"})
"""Hosts that may be used without TLS, as in container runtimes."""


def _check_host(value: str) -> str:
    if "://" in value:
        raise ValueError(f"{value!r} has a scheme; write only the host, as in registry.example.com")
    if "/" in value:
        raise ValueError(f"{value!r} has a path; write only the host here, and the path under 'repositories'")
    if "@" in value:
        raise ValueError("contains '@'; enter a user name or password in the upstream secret, never here")
    if "*" in value:
        raise ValueError(f"{value!r} is a pattern; write each host out")
    if value != value.strip() or value != value.lower():
        raise ValueError(f"{value!r} has capital letters or white space; write {value.strip().lower()!r}")
    if value.startswith("["):
        return _check_ipv6(value)
    name, colon, port = value.partition(":")
    if colon and not (port.isascii() and port.isdecimal() and 0 < int(port) <= _PORT_MAX):
        raise ValueError(
            f"{value!r} has no valid port after ':'; use 1 to {_PORT_MAX}, as in registry.example.com:5000"
        )
    labels = name.split(".")
    if not all(_HOST_LABEL.fullmatch(label) for label in labels):
        raise ValueError(
            f"{value!r} is not a host name; write one as in registry.example.com or registry.example.com:5000"
        )
    if len(labels) == 1 and not colon and name not in LOCAL_HOSTS:
        raise ValueError(
            f"{value!r} has neither a dot nor a port, so image names can't name it; write its full name or "
            "add its port"
        )
    return value


def _check_server(value: str) -> str:
    host, slash, path = value.partition("/")
    if "://" in value:
        raise ValueError(f"{value!r} has a scheme; write only the host and its path, as in example.com/nexus")
    _check_host(host)
    if slash and not _BASE_PATH.fullmatch(path):
        raise ValueError(
            f"{value!r} has no valid path after the host; write it without '/' at its end, as in {host}/nexus"
        )
    return value


def server_host(server: str) -> str:
    """The host of a :data:`Server`, with its port."""
    return server.partition("/")[0]


def _check_ipv6(value: str) -> str:
    """Require a port for an IPv6 address.

    Without one, the kubelet reads the brackets as a pattern, which matches nothing.
    """
    address, _, port = value[1:].partition("]:")
    if not (port.isascii() and port.isdecimal() and 0 < int(port[:6]) <= _PORT_MAX):
        raise ValueError(
            f"{value!r} has no valid port; the kubelet needs one for IPv6 addresses, as in [2001:db8::1]:5000"
        )
    try:
        # A zone is refused, because it differs on each node.
        right = f"[{IPv6Address(address.replace('%', ' ')).compressed}]:{port}"
    except ValueError:
        raise ValueError(f"{value!r} is not an IPv6 address; write one as in [2001:db8::1]:5000") from None
    if right != value:
        raise ValueError(
            f"{value!r} is not in the short form, which image names must use too; write {right!r}"
        )
    return value


def _check_scope(value: str) -> str:
    if _REPOSITORY.fullmatch(value.removesuffix("/")):
        return value
    raise ValueError(
        f"{value!r} is not a repository path; write one repository (team/app) or a prefix that ends in '/' "
        "(team/), in lower case, without host, tag or '*'"
    )


def _check_probe(value: str) -> str:
    if value:
        split_image(value)
    return value


def _check_nonempty(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value:
        raise ValueError("is empty; name at least one")
    return value


def matching(pattern: str, what: str) -> AfterValidator:
    """Validate that a string matches a pattern.

    Args:
        pattern: A regular expression for the whole text.
        what: The kind of value and its form, for the error text ("a project of Harbor, as in team").
    """
    form = re.compile(pattern, re.ASCII)

    def check(value: str) -> str:
        if not form.fullmatch(value):
            raise ValueError(f"{value[:80]!r} is not {what}")
        return value

    return AfterValidator(check)


def require(definition: BaseModel, *fields: str, by: str) -> None:
    """Check that the fields which another field requires are set.

    Raises:
        ValueError: Names the first missing field.
    """
    for field in fields:
        if not getattr(definition, field):
            raise ValueError(f"{field}: is missing; {by!r} needs it")


def require_own_audience(audience: str, *hosts: str) -> None:
    """Check that the audience of an identity token is its receiver, which could otherwise use it elsewhere.

    Args:
        audience: The token's audience, or empty.
        hosts: The receivers of the token. The audience must be one of these, with or without ``https://`` and
            a path.

    Raises:
        ValueError: The audience is another host.
    """
    if audience and audience.removeprefix("https://").partition("/")[0] not in hosts:
        raise ValueError(
            f"audience: {audience[:80]!r} is not {hosts[0]}, the receiver of the token, which could use the "
            f"token elsewhere; leave it out, or write https://{hosts[0]}, and set the same at the vendor"
        )


Host = Annotated[str, AfterValidator(_check_host)]
"""``registry.example.com`` or ``registry.example.com:5000``: lower case, no scheme, no path, no pattern."""

Server = Annotated[str, AfterValidator(_check_server)]
"""A server's host, with the server's base path if it has one: ``nexus.example.com/nexus``."""

Scope = Annotated[str, AfterValidator(_check_scope)]
"""One repository (``team/app``), or a prefix of repositories that ends in ``/`` (``team/``)."""

RoleArn = Annotated[
    str,
    matching(
        ROLE_ARN,
        "the ARN of an IAM role, as in arn:aws:iam::123456789012:role/regcred-pull/regcred-pull-payments",
    ),
]
"""The ARN of an IAM role."""

AccountId = Annotated[
    str, matching(r"\d{12}", "an AWS account id: 12 digits, in quotes so that YAML keeps leading zeros")
]
"""An AWS account ID of 12 digits."""

User = Annotated[
    str, matching(r"[A-Za-z0-9][A-Za-z0-9._+$-]{0,127}", "a name: letters, digits and . _ + $ - only")
]
"""A user or robot name without characters that would change a URL or a Basic login."""

Digits = Annotated[str, matching(r"\d+", "a number")]
"""An identifier of digits, as text."""

Audience = Annotated[
    str,
    matching(
        r"[A-Za-z0-9._~:/?@%+=,-]{0,255}",
        "an audience: a URL or a name, without spaces, quotes and other characters",
    ),
]
"""The audience of an identity token, or empty. Its characters are limited, because a vendor's administrator
pastes commands that contain it."""

NonEmpty = AfterValidator(_check_nonempty)
"""Marks a list that needs at least one item."""

Probe = Annotated[str, AfterValidator(_check_probe)]
"""``team/app:1.0``, ``team/app@sha256:…`` or ``team/app`` (tag ``latest``), without host."""


class BaseDefinition(BaseModel):
    """The fields that every provider's definition has."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    summary: ClassVar[str] = ""
    """What the provider is for, in one line without a full stop, as people see it."""

    provider: str = Field(description="The provider, which decides what the other fields are.")

    description: str = Field(default="", description="A note for people.")

    probe: Probe = Field(
        default="", description="An image for test pulls, without the host, as in team/app:1.0."
    )

    allow_unverified: bool = Field(
        default=False,
        description=(
            "Accept a credential that could not be verified because the registry requires no login, or "
            "because the rotate function can't reach it."
        ),
    )

    repositories: tuple[Scope, ...] = Field(
        default=(),
        description=(
            "The repositories (team/app) or prefixes (team/) that the credential may pull. Empty: the whole "
            "registry."
        ),
    )

    @model_validator(mode="after")
    def _probe_inside(self) -> Self:
        scopes = self.scopes()
        if self.probe and scopes and not inside(split_image(self.probe)[0], scopes):
            raise ValueError(
                f"probe: {self.probe!r} is not in {', '.join(scopes)}; name an image that the credential "
                "can pull"
            )
        return self

    @classmethod
    def describe(cls, field: str) -> str:
        """The text for people about a field; empty if there is none."""
        return getattr(cls.model_fields.get(field), "description", "") or ""

    def content(self) -> dict[str, Any]:
        """The definition as a plain mapping without defaults."""
        return self.model_dump(mode="json", exclude_defaults=True) | {"provider": self.provider}

    def needs_credential(self) -> bool:
        """Whether a credential is needed. A public registry needs none."""
        return True

    def typed_hosts(self) -> tuple[str, ...]:
        """The hosts that a platform admin must allow to the project.

        A federated login may leave them out: the vendor accepts only the project's own role, whatever the
        definition names.
        """
        return ()

    def accounts(self) -> tuple[str, ...]:
        """The AWS accounts, Google projects or Azure tenants that a platform admin must allow."""
        return ()

    def upstream_fields(self) -> dict[str, str]:
        """The required fields of the upstream secret, each with a description; empty if none is needed."""
        return {}

    def trust(self, role: ProjectRole) -> str:
        """The settings for the vendor to trust this project's role, ready to paste; empty if not keyless."""
        return ""

    def realms(self) -> tuple[str, ...]:
        """Other hosts that may receive the registry's credentials in exchange for pull tokens."""
        return ()

    def pull_tokens_outlive(self) -> timedelta:
        """How long pull tokens still work after their credential is revoked; zero if they don't."""
        return timedelta(0)

    def replaces_passwords(self) -> tuple[str, ...]:
        """The existing users whose passwords a mint replaces; empty if earlier logins stay valid."""
        return ()

    def scopes(self) -> tuple[str, ...]:
        """The repositories and prefixes of the credential; empty means the whole registry."""
        return self.repositories

    def limits(self) -> tuple[str, ...]:
        """The repositories and prefixes that verification checks the credential against; empty: no check."""
        return self.scopes() if self.repositories else ()

    def keys(self, hosts: Iterable[str]) -> tuple[str, ...]:
        """The keys of the ``auths`` map for these hosts, restricted to :meth:`scopes`.

        The kubelet compares a key with a path as a plain string prefix. So it also tries the key of one
        repository ``team/app`` for ``team/app2`` of the same host, and the registry refuses it there. The
        kubelet names Docker Hub's images ``docker.io/…``, even if they are written as ``index.docker.io/…``.
        """
        named = dict.fromkeys(hosts)
        if HUB_HOSTS & {*named} - {"registry-1.docker.io"}:
            named |= {HUB: None}
        return tuple(f"{host}/{path}" if path else host for host in named for path in self.scopes() or ("",))


def split_image(image: str) -> tuple[str, str]:
    """Split ``team/app:1.0`` into repository and tag or digest (``latest`` by default).

    Raises:
        ValueError: It is not an image name without a host.
    """
    repository, at, reference = image.partition("@")
    if not at:
        repository, colon, reference = image.partition(":")
        reference = reference if colon else "latest"
    if _REPOSITORY.fullmatch(repository) and (_DIGEST if at else _TAG).fullmatch(reference):
        return repository, reference
    raise ValueError(
        f"{image!r} is not an image name without a host; write it as in team/app:1.0 or team/app@sha256:…"
    )


def inside(scope: str, scopes: Iterable[str]) -> bool:
    """Whether a repository or prefix is in the list, or inside one of the prefixes in the list."""
    return any(scope == other or (other.endswith("/") and scope.startswith(other)) for other in scopes)


def require_inside(definition: BaseDefinition, prefix: str, *, by: str) -> None:
    """Check that all repositories are below a prefix, because the vendor's token reaches only this prefix.

    Raises:
        ValueError: Names the first repository that is not.
    """
    for scope in definition.repositories:
        if not inside(scope, [prefix]):
            raise ValueError(f"repositories: {scope!r} is not in {prefix}, so no token of {by!r} can pull it")


def split_key(key: str) -> tuple[str, str]:
    """Split a key of the ``auths`` map into host and path prefix (``""`` for the whole host)."""
    host, _, path = key.removeprefix("https://").partition("/")
    return host, path
