"""The documents that people write: permissions of projects and clusters, definitions, and requests."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from fnmatch import fnmatchcase
from ipaddress import IPv6Address
from typing import Any, Self

from pydantic import AwareDatetime, ConfigDict, Field, field_validator, model_validator

from regcred.registry_reference import LABEL_MAX
from regcred.vault.records.document import DOCUMENT, Declared, Label, Record, Traceparent

_GLOB = re.compile(r"[a-z0-9*]([-a-z0-9*]*[a-z0-9*])?")
_HOST_LABEL = r"[a-z0-9*]([-a-z0-9*]*[a-z0-9*])?"
_HOST = re.compile(rf"{_HOST_LABEL}(\.{_HOST_LABEL})*(:[1-9][0-9]{{0,4}})?")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_PREFIX = re.compile(r"[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)*/?")
_ROLE_ARN = re.compile(r"arn:aws[-a-z]*:iam::[0-9]{12}:role/regcred/[\w+=,.@/-]+")


REGISTRIES_MAX = 10_000
"""The default maximum number of registries of a project. So many always fit into one index."""


class ProjectPolicy(Declared):
    """``platform/projects/P``: what a project may use. Empty lists allow nothing of that kind."""

    hosts: list[str] = Field(
        default=[],
        description=(
            "Registry hosts that a definition may type (registry.example.com:5000, *.jfrog.io: one glob per "
            "label)."
        ),
    )
    paths: dict[str, list[str]] = Field(
        default={},
        description=(
            "The allowed repository path prefixes for each host. A host that is not named here is allowed "
            "completely."
        ),
    )
    accounts: list[str] = Field(
        default=[], description="Cloud accounts: AWS account IDs, Google project IDs, Azure tenant IDs."
    )
    clusters: list[Label] = Field(
        default=[], description="Clusters whose Vault identity may read this project's credentials."
    )
    max_registries: int = Field(
        default=REGISTRIES_MAX,
        ge=0,
        le=1_000_000,
        description=(
            "The maximum number of registries. New ones over this limit wait until others are removed."
        ),
    )
    role_arn: str = Field(
        default="",
        description=(
            "The project's IAM role (path /regcred/), which rotate assumes before each federated call."
        ),
    )

    @field_validator("hosts")
    @classmethod
    def _hosts_are_hosts(cls, hosts: list[str]) -> list[str]:
        for host in hosts:
            _check_host(host)
        return hosts

    @field_validator("paths")
    @classmethod
    def _paths_limit_hosts(cls, paths: dict[str, list[str]]) -> dict[str, list[str]]:
        for host, prefixes in paths.items():
            _check_host(host)  # a misspelt host would limit nothing
            for prefix in prefixes:
                if not _PREFIX.fullmatch(prefix):
                    raise ValueError(
                        f"{prefix[:80]!r} of {host} is not a path; write it as in team/ or team/app, "
                        "without '*'"
                    )
        return paths

    @field_validator("role_arn")
    @classmethod
    def _role_is_under_our_path(cls, arn: str) -> str:
        if arn and not _ROLE_ARN.fullmatch(arn):
            raise ValueError(
                "write arn:aws:iam::<account id>:role/regcred/<name>; rotate may assume no other role"
            )
        return arn


def _check_host(host: str) -> None:
    if "@" in host:
        raise ValueError("a host contains '@'; a user name or password never belongs here")
    if not (_HOST.fullmatch(host) or _is_ipv6(host)):
        raise ValueError(
            f"{host[:80]!r} is not a host; write host[:port] in lower case, without scheme or path"
        )


def _is_ipv6(host: str) -> bool:
    """Whether a host is an IPv6 address as in ``[2001:db8::1]:5000``, the form that definitions use."""
    address, colon, port = host[1:].partition("]:")
    try:
        is_short = IPv6Address(address.replace("%", " ")).compressed == address  # a zone differs on each node
    except ValueError:
        return False
    return host.startswith("[") and bool(colon) and is_short and bool(_PORT.fullmatch(port))


CONFIRMED_FOR = timedelta(hours=1)
"""How long a confirmation of held removals is valid."""


class Confirmation(Declared):
    """A platform admin's confirmation of removals that the brake of sync holds."""

    count: int = Field(ge=1)
    """How many removals the admin has seen. If the brake holds more than that, sync removes none."""
    until: AwareDatetime
    """When the confirmation ends."""


class ClusterGrants(Declared):
    """``platform/clusters/C``: which namespaces may use which projects, and the confirmed removals."""

    grants: dict[Label, list[str]] = {}
    """By project, the namespaces that may use it: names, or globs (``team-a-*``) if ``globs`` is on."""
    globs: bool = False
    confirmed: dict[Label, Confirmation] = {}
    """By project, the confirmation of the removals that the brake holds."""
    delegated: dict[Label, list[str]] = {}
    """By project, the namespaces that the project's admins may grant by themselves (``delegated/C/P``):
    names, or globs."""

    @model_validator(mode="after")
    def _namespaces_are_names(self) -> Self:
        for project, names in self.delegated.items():
            for name in names:
                if len(name) > LABEL_MAX or not _GLOB.fullmatch(name):
                    raise ValueError(f"delegated.{project}: {name[:80]!r} is not the name of a namespace")
        for project, namespaces in self.grants.items():
            for name in namespaces:
                if "*" in name and not self.globs:
                    raise ValueError(
                        f"grants.{project}: {name[:80]!r} is a glob; name the namespace, or set globs to true"
                    )
                if len(name) > LABEL_MAX or not _GLOB.fullmatch(name):
                    raise ValueError(f"grants.{project}: {name[:80]!r} is not the name of a namespace")
        return self

    def allows(self, namespace: str, project: str) -> bool:
        """Whether a namespace may use a project.

        ``*`` matches any characters, but only if ``globs`` is on.
        """
        return any(
            name == namespace or (self.globs and fnmatchcase(namespace, name))
            for name in self.grants.get(project, ())
        )

    def may_delegate(self, namespace: str, project: str) -> bool:
        """Whether the project's admins may grant it to a namespace by themselves."""
        return any(fnmatchcase(namespace, name) for name in self.delegated.get(project, ()))

    def with_delegated(self, found: Mapping[str, DelegatedGrants]) -> Self:
        """The grants together with those that project admins have made within their bounds.

        Args:
            found: The grants of the admins of each project.
        """
        merged = {project: list(names) for project, names in self.grants.items()}
        for project, own in found.items():
            inside = [name for name in own.namespaces if self.may_delegate(name, project)]
            if inside:
                merged[project] = sorted({*merged.get(project, ()), *inside})
        return self.model_copy(update={"grants": merged})

    def confirming(self, held: Mapping[str, int], now: datetime) -> Self:
        """The document with a confirmation for the held removals of some projects.

        Confirmations that have ended are left out.

        Args:
            held: How many removals of each project the brake holds.
            now: The current time.
        """
        valid = {project: one for project, one in self.confirmed.items() if one.until > now}
        new = {
            project: Confirmation(count=count, until=now + CONFIRMED_FOR) for project, count in held.items()
        }
        return self.model_copy(update={"confirmed": valid | new})


DELEGATED_MAX = 10_000
"""The maximum number of namespaces that a project's admins may grant in one cluster."""


class DelegatedGrants(Declared):
    """``delegated/C/P``: the namespaces of a cluster that the admins of a project have granted by themselves.

    Only those within the bounds of ``platform/clusters/C`` count.
    """

    namespaces: list[Label] = Field(default=[], max_length=DELEGATED_MAX)


class Action(StrEnum):
    """What a user can request."""

    ROTATE = "rotate"
    VERIFY = "verify"
    REVOKE = "revoke"


class Request(Declared):
    """``requests/P/R``: written by a user with the user's own token. That right is the authority."""

    action: Action
    requested_at: AwareDatetime
    traceparent: Traceparent = ""
    """The trace that begins with the request."""


class Definition(Record):
    """``registries/P/R`` as it was written. ``regcred.registry.definition`` parses its other fields."""

    model_config = ConfigDict(extra="allow", frozen=True)

    provider: str

    def content(self) -> dict[str, Any]:
        """The definition as a plain mapping."""
        return self.model_dump(mode="json")

    def fields(self) -> dict[str, str]:
        """The complete document to write, with all fields."""
        return {DOCUMENT: self.model_dump_json()}
