"""Plans files and annotations that replace pull secrets, and reports secrets that it can't replace. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from regcred.cluster.annotations import REQUEST_PREFIX
from regcred.declare.kinds import API
from regcred.declare.pull_secrets import Maker, ObjectName, Puller, PullSecret, StoredLogin
from regcred.errors import MalformedError
from regcred.image_name import matching_keys
from regcred.registry import ecr_hosts
from regcred.registry.parsing import parse
from regcred.registry_reference import Reference

NAME_LENGTH_MAX = 50
"""The maximum length of a new registry's name, before a number is added."""

_PROVIDERS = (
    (r".*\.pkg\.dev|(.*\.)?gcr\.io", "gar"),
    (r".*\.azurecr\.(io|cn|us)", "acr"),
    (r"docker\.io", "dockerhub"),
    (r"ghcr\.io", "ghcr"),
    (r"registry\.gitlab\.com", "gitlab"),
    (r"quay\.io", "quay"),
    (r".*\.jfrog\.io", "artifactory"),
    (r"registry\.digitalocean\.com", "digitalocean"),
    (r"docker\.cloudsmith\.io", "cloudsmith"),
    (r".*\.aliyuncs\.com", "alibaba"),
    (r".*\.tencentcloudcr\.com", "tencent"),
    (r"cgr\.dev", "chainguard"),
)
"""Forms of hosts, and the provider that renews their credentials automatically."""


@dataclass(frozen=True, slots=True)
class ClusterPulls:
    """The observations in the cluster."""

    secrets: Sequence[PullSecret]
    accounts: Mapping[ObjectName, frozenset[str]]
    """By ServiceAccount: the names in its ``imagePullSecrets``."""
    pullers: Sequence[Puller]
    makers: Sequence[Maker] = ()
    notes: Sequence[str] = ()
    """Notes for people about objects that could not be read."""


@dataclass(frozen=True, slots=True)
class NewRegistry:
    """A registry that replaces logins in Secrets."""

    reference: Reference
    hosts: tuple[str, ...]
    spec: Mapping[str, Any]
    sources: tuple[ObjectName, ...]
    """The Secrets that contain the login now."""
    vault: tuple[str, str] | None = None
    """The mount and path in Vault of the login, if known."""
    hint: str = ""
    """Advice: the provider that would renew this login automatically."""

    @property
    def needs_secret(self) -> bool:
        """Whether a person must enter an upstream secret."""
        return bool(self.spec["provider"] == "basic")


@dataclass(frozen=True, slots=True)
class NewAnnotation:
    """The annotations of one workload."""

    puller: Puller
    references: tuple[Reference, ...]
    replaces: tuple[ObjectName, ...]
    """The Secrets that the workload or its ServiceAccount names now."""


@dataclass(slots=True)
class Migration:
    """The files and annotations that replace the pull secrets, and a report."""

    project: str
    cluster: str
    registries: list[NewRegistry] = field(default_factory=list)
    annotations: list[NewAnnotation] = field(default_factory=list)
    clear: list[str] = field(default_factory=list)
    """The logins that Secrets contain now, in plain text."""
    not_possible: list[str] = field(default_factory=list)
    """What can't be replaced, and why."""
    notes: list[str] = field(default_factory=list)

    def documents(self) -> Iterator[tuple[str, dict[str, Any], str]]:
        """The files for ``regcred apply``: each path, content, and comment for the first lines."""
        if not self.registries:
            return
        hosts = sorted({host for new in self.registries if new.needs_secret for host in new.hosts})
        accounts = sorted({new.spec["account"] for new in self.registries if new.spec.get("account")})
        bounds = {"hosts": hosts, "accounts": accounts, "clusters": [self.cluster]}
        yield (
            f"projects/{self.project}.yaml",
            _object(
                "Project", {"name": self.project}, {name: value for name, value in bounds.items() if value}
            ),
            "",
        )
        for new in self.registries:
            path = f"registries/{self.project}/{new.reference.registry}.yaml"
            metadata = {"name": new.reference.registry, "project": self.project}
            content = _object("Registry", metadata, dict(new.spec))
            if new.needs_secret:
                source = (
                    {"vault": {"mount": new.vault[0], "path": new.vault[1]}} if new.vault else {"stdin": True}
                )
                content["secretFrom"] = source
            yield path, content, _comment(new)
        namespaces = sorted({one.puller.object_name.namespace for one in self.annotations})
        if namespaces:
            yield (
                f"grants/{self.cluster}/{self.project}.yaml",
                _object("Grant", {"name": self.project, "cluster": self.cluster}, {"namespaces": namespaces}),
                "",
            )


def migrate(found: ClusterPulls, *, project: str, cluster: str) -> Migration:
    """Plan the files and annotations that replace the pull secrets.

    Args:
        found: The observations in the cluster.
        project: The project of the new registries.
        cluster: The cluster's name.
    """
    made = Migration(project, cluster, notes=list(found.notes))
    makers = {maker.makes: maker for maker in found.makers}
    secrets = [_with_maker(secret, makers.get(secret.object_name)) for secret in found.secrets]
    used = _used(found)
    by_login: dict[str, list[tuple[PullSecret, StoredLogin]]] = defaultdict(list)
    for secret in secrets:
        if secret.of_platform:
            continue
        if secret.logins:
            made.clear.append(_in_the_clear(secret))
        made.not_possible += [f"Secret {secret.object_name}: {problem}" for problem in secret.problems]
        if secret.object_name not in used:
            made.notes.append(f"Secret {secret.object_name} is named by no workload and no ServiceAccount")
        for login in secret.logins:
            by_login[login.fingerprint].append((secret, login))
    names: set[str] = set()
    keys: dict[tuple[ObjectName, str], Reference] = {}
    for logins in sorted(by_login.values(), key=lambda logins: (logins[0][1].host, logins[0][0].object_name)):
        for new in _registries(logins, project, names, made):
            made.registries.append(new)
            for secret, login in logins:
                if login.host.partition("/")[0] in new.hosts:
                    keys[secret.object_name, login.host] = new.reference
    by_place = {secret.object_name: secret for secret in secrets}
    made.annotations = [
        one for puller in found.pullers if (one := _annotation(puller, found.accounts, by_place, keys, made))
    ]
    known = {secret.object_name for secret in secrets}
    made.not_possible += [
        f"{one.what}: creates a pull secret that could not be read"
        for one in found.makers
        if one.makes not in known
    ]
    return made


def _with_maker(secret: PullSecret, maker: Maker | None) -> PullSecret:
    return replace(secret, maker=maker.what, vault=maker.vault) if maker else secret


def _used(found: ClusterPulls) -> set[ObjectName]:
    by_account = {
        ObjectName(object_name.namespace, name)
        for object_name, names in found.accounts.items()
        for name in names
    }
    return by_account | {
        ObjectName(one.object_name.namespace, name) for one in found.pullers for name in one.names
    }


def _in_the_clear(secret: PullSecret) -> str:
    hosts = ", ".join(sorted({login.host for login in secret.logins}))
    kinds = sorted({login.short_lived or "a password or token without an expiry" for login in secret.logins})
    by = f", written by {secret.maker}" if secret.maker else ""
    return f"Secret {secret.object_name} contains for {hosts}: {'; '.join(kinds)}{by}"


def _registries(
    logins: Sequence[tuple[PullSecret, StoredLogin]], project: str, names: set[str], made: Migration
) -> Iterator[NewRegistry]:
    """The registries for one login. It may be valid for several hosts."""
    sources = tuple(sorted({secret.object_name for secret, _ in logins}))
    hosts = sorted({login.host.partition("/")[0] for _, login in logins})
    ecr: dict[str, set[str]] = defaultdict(set)
    for host in hosts:
        if parts := ecr_hosts.split(host):
            ecr[parts[0]].add(parts[1])
    for account, regions in sorted(ecr.items()):
        spec = {"provider": "ecr", "account": account, "regions": sorted(regions)}
        own = tuple(host for host in hosts if (ecr_hosts.split(host) or ("",))[0] == account)
        yield NewRegistry(_name(f"ecr-{account}", project, names), own, spec, sources)
    rest = [host for host in hosts if not ecr_hosts.split(host)]
    if not rest:
        return
    where = ", ".join(str(object_name) for object_name in sources[:5])
    providers = sorted({name for host in rest if (name := _provider(host))})
    if short := next((login.short_lived for _, login in logins if login.short_lived), ""):
        better = f"; define it with provider {providers[0]}" if providers else ""
        made.not_possible.append(f"{', '.join(rest)} (Secret {where}): the login is {short}{better}")
        return
    spec = {"provider": "basic", "hosts": rest}
    try:
        parse(spec, where="")
    except MalformedError as error:
        made.not_possible.append(f"{', '.join(rest)[:200]} (Secret {where}): {error}")
        return
    vault = next((secret.vault for secret, _ in logins if secret.vault), None)
    hint = (
        f"provider {providers[0]} renews it automatically: regcred registry template {providers[0]}"
        if providers
        else ""
    )
    yield NewRegistry(_name(rest[0], project, names), tuple(rest), spec, sources, vault, hint)


def _name(text: str, project: str, names: set[str]) -> Reference:
    base = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:NAME_LENGTH_MAX].strip("-") or "registry"
    name, number = base, 1
    while name in names:
        number += 1
        name = f"{base}-{number}"
    names.add(name)
    return Reference(project, name)


def _provider(host: str) -> str:
    return next((name for form, name in _PROVIDERS if re.fullmatch(form, host)), "")


def _annotation(
    puller: Puller,
    accounts: Mapping[ObjectName, frozenset[str]],
    secrets: Mapping[ObjectName, PullSecret],
    keys: Mapping[tuple[ObjectName, str], Reference],
    made: Migration,
) -> NewAnnotation | None:
    space = puller.object_name.namespace
    # Kubernetes uses the ServiceAccount's list only for a Pod that has no list.
    names = puller.names or accounts.get(ObjectName(space, puller.account), frozenset())
    named = {name: secrets.get(ObjectName(space, name)) for name in sorted(names)}
    logins = {
        login.host: secret.object_name for secret in named.values() if secret for login in secret.logins
    }
    references: set[Reference] = set()
    for image in puller.images:
        for key in matching_keys(logins, image)[:1]:
            if reference := keys.get((logins[key], key)):
                references.add(reference)
            else:
                made.not_possible.append(
                    f"{puller.kind} {puller.object_name}: image {image[:200]} is pulled with Secret "
                    f"{logins[key]}, which can't be replaced"
                )
    made.notes += [
        f"{puller.kind} {puller.object_name} names Secret {name}, which does not exist"
        for name, secret in named.items()
        if secret is None and not name.startswith("regcred.")
    ]
    if not references:
        return None
    replaces = tuple(
        sorted(secret.object_name for secret in named.values() if secret and not secret.of_platform)
    )
    return NewAnnotation(puller, tuple(sorted(references)), replaces)


def annotations_of(new: NewAnnotation) -> dict[str, str]:
    """The annotations to set on the workload."""
    return {f"{REQUEST_PREFIX}{reference.registry}": str(reference) for reference in new.references}


def _comment(new: NewRegistry) -> str:
    lines = [f"# Replaces the login in Secret {', '.join(map(str, new.sources[:20]))}."]
    if new.needs_secret and not new.vault:
        lines.append(
            "# 'regcred apply' reads the user name and the password from standard input, as in "
            f'{{"{new.reference}": {{"username": "...", "password": "..."}}}}.'
        )
    if new.hint:
        lines.append(f"# {new.hint[:1].upper()}{new.hint[1:]}.")
    return "".join(f"{line}\n" for line in lines)


def _object(kind: str, metadata: dict[str, str], spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": API, "kind": kind, "metadata": metadata, "spec": spec}
