"""Maps the name of a provider to its class, which is loaded at its first use.

A new provider takes one file and one line here. Another package provides its own through the entry point
group ``regcred.providers`` (``<name> = "<module>:<class>"``).
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Any, cast

from regcred.errors import MalformedError
from regcred.registry.definition import BaseDefinition
from regcred.registry.interface import Provider

GROUP = "regcred.providers"
"""The entry point group for providers in other packages."""

_BUILT_IN: Mapping[str, str] = MappingProxyType(
    {
        "acr": "regcred.registry.providers.acr:AcrProvider",
        "alibaba": "regcred.registry.providers.alibaba:AlibabaProvider",
        "artifactory": "regcred.registry.providers.artifactory:ArtifactoryProvider",
        "basic": "regcred.registry.providers.basic:BasicProvider",
        "chainguard": "regcred.registry.providers.chainguard:ChainguardProvider",
        "cloudsmith": "regcred.registry.providers.cloudsmith:CloudsmithProvider",
        "digitalocean": "regcred.registry.providers.digitalocean:DigitalOceanProvider",
        "dockerhub": "regcred.registry.providers.dockerhub:DockerHubProvider",
        "ecr": "regcred.registry.providers.ecr:EcrProvider",
        "ecr-public": "regcred.registry.providers.ecr_public:EcrPublicProvider",
        "gar": "regcred.registry.providers.gar:GarProvider",
        "ghcr": "regcred.registry.providers.ghcr:GhcrProvider",
        "gitea": "regcred.registry.providers.gitea:GiteaProvider",
        "gitlab": "regcred.registry.providers.gitlab:GitlabProvider",
        "harbor": "regcred.registry.providers.harbor:HarborProvider",
        "mcr": "regcred.registry.providers.public:McrProvider",
        "nexus": "regcred.registry.providers.nexus:NexusProvider",
        "public": "regcred.registry.providers.public:PublicProvider",
        "quay": "regcred.registry.providers.quay:QuayProvider",
        "system": "regcred.registry.providers.system:SystemProvider",
        "tencent": "regcred.registry.providers.tencent:TencentProvider",
    }
)


@cache
def _third_party() -> Mapping[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP) if entry.name not in _BUILT_IN}


def names() -> tuple[str, ...]:
    """The names of all providers, sorted. Does not load them."""
    return tuple(sorted({*_BUILT_IN, *_third_party()}))


def provider_for(name: str) -> Provider[Any]:
    """The provider with this name. It loads its vendor's SDK only when it creates a credential.

    Raises:
        MalformedError: No provider has this name, or its package is broken. The text lists the names.
    """
    return cast("Provider[Any]", _provider_class(name)())


def definition_model(name: str) -> type[BaseDefinition]:
    """The model of this provider's definitions.

    Raises:
        MalformedError: See :func:`provider_for`.
    """
    return cast("type[BaseDefinition]", _provider_class(name).model)


_PARTS = ("name", "model", "mint", "revoke")
"""The attributes of a provider; see :class:`regcred.registry.interface.Provider`."""


def _loaded(name: str, entry: EntryPoint) -> Any:
    try:
        found = entry.load()
    except Exception as error:  # noqa: BLE001 - the import of an external package may raise anything
        raise MalformedError(
            f"provider {name!r} can't be loaded from {entry.value!r}: {str(error) or type(error).__name__}; "
            "reinstall its package",
            field="provider",
        ) from None
    if lacking := [part for part in _PARTS if not hasattr(found, part)]:
        raise MalformedError(
            f"provider {name!r} of {entry.value!r} is not a provider: it has no {', '.join(lacking)}; "
            "install another version of its package",
            field="provider",
        )
    return found


@cache
def _provider_class(name: str) -> Any:
    if name in _BUILT_IN:
        module, _, attribute = _BUILT_IN[name].partition(":")
        return getattr(import_module(module), attribute)
    if entry := _third_party().get(name):
        return _loaded(name, entry)
    close = difflib.get_close_matches(name, names(), n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise MalformedError(
        f"provider {name[:60]!r} is unknown; {hint}the providers are {', '.join(names())}", field="provider"
    )
