"""Registries with a user and a password: Basic, and tokens from the registry's own or another host.

Sources: RFC 7617 and https://distribution.github.io/distribution/spec/auth/token/.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fakes.vendors.oci import OciRegistry, Rights
from fakes.vendors.vendor import Vendor


class BasicAuth(Vendor):
    provider = "basic"
    variant = "Basic"
    host = "registry.example.com:5000"

    def install(self) -> None:
        self.registry = OciRegistry(self.clock)
        self.registry.install(self.network, self.host)
        self.rights = self.registry.logins["puller", "open sesame"] = Rights()

    @property
    def definition(self) -> Mapping[str, Any]:
        return {"provider": "basic", "hosts": [self.host], "repositories": ["team/"], "probe": "team/app:1"}

    @property
    def upstream(self) -> Mapping[str, str]:
        return {"username": "puller", "password": "open sesame"}

    @property
    def hosts(self) -> tuple[str, ...]:
        return (self.host,)

    def widen(self) -> None:
        self.rights.push.append("*")


class BasicToken(BasicAuth):
    variant = "token auth on another host"
    host = "registry.example.com"

    def install(self) -> None:
        realm = "https://auth.example.com/token"
        self.registry = OciRegistry(self.clock, realm=realm)
        self.registry.install(self.network, self.host)
        self.network.add("auth.example.com", self.registry.token)
        self.rights = self.registry.logins["puller", "open sesame"] = Rights()

    @property
    def definition(self) -> Mapping[str, Any]:
        return {
            "provider": "basic",
            "hosts": [self.host],
            "realm_hosts": ["auth.example.com"],
            "repositories": ["team/"],
            "probe": "team/app:1",
        }


class BasicOpaque(BasicAuth):
    """Token auth whose tokens are opaque, like GHCR's."""

    variant = "opaque tokens"
    host = "registry.example.com"

    def install(self) -> None:
        self.registry = OciRegistry(self.clock, realm=f"https://{self.host}/v2/token", readable=False)
        self.registry.install(self.network, self.host)
        self.rights = self.registry.logins["puller", "open sesame"] = Rights()
