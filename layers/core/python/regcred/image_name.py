"""Parses image names and keys of the ``auths`` map as container runtimes and the kubelet do. Pure.

Contracts: github.com/distribution/reference (normalize.go) for image names, and k8s.io/kubernetes
pkg/credentialprovider/keyring.go for keys. The tests compare the results with those of the kubelet's code.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from ipaddress import AddressValueError, IPv6Address

HUB = "docker.io"
"""The host of image names without a host: ``alpine`` is ``docker.io/library/alpine``."""

HUB_HOSTS = frozenset({HUB, "index.docker.io", "registry-1.docker.io"})
"""All hosts of Docker Hub's registry."""

_HUB_KEY = "index.docker.io"
"""The key that the kubelet uses for images of Docker Hub if no other key matches."""

_HTTPS = ":443"


@dataclass(frozen=True, slots=True)
class ImageName:
    """The parts of an image name."""

    host: str
    """The registry's host as written, with its port if it has one; ``docker.io`` if the name has no host."""
    repository: str
    """The path at that host, ``library/alpine`` for ``alpine``."""
    tag: str = ""
    digest: str = ""

    def __str__(self) -> str:
        """Host and repository without tag and digest. The kubelet looks this up."""
        return f"{self.host}/{self.repository}"


def parse(name: str) -> ImageName:
    """Parse an image name. It never fails: an invalid name matches no key.

    Args:
        name: The name as in a Pod: ``alpine``, ``team/app:1.0``,
            ``registry.example.com:5000/team/app@sha256:…``.
    """
    host, path = _split(name)
    path, _, digest = path.partition("@")
    before, slash, last = path.rpartition("/")
    last, _, tag = last.partition(":")
    return ImageName(host, f"{before}{slash}{last}", tag, digest)


def _split(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    is_host = slash and (first == "localhost" or "." in first or ":" in first or first != first.lower())
    host, path = (first, rest) if is_host else (HUB, name)
    if host == _HUB_KEY:
        host = HUB
    return host, f"library/{path}" if host == HUB and "/" not in path else path


@dataclass(frozen=True, slots=True)
class AuthKey:
    """A key of the ``auths`` map as the kubelet reads it."""

    host: str
    """The host with its port; each label may be a glob."""
    path: str = ""
    """A plain prefix of ``/<repository>``; empty for the whole host."""

    @classmethod
    def parse(cls, text: str) -> AuthKey:
        """Parse a key. Its scheme, an API path (``/v1/``, ``/v2/``) and a lone ``/`` are ignored."""
        bare = text.removeprefix("https://").removeprefix("http://")
        host, slash, rest = bare.partition("?")[0].partition("#")[0].partition("/")
        path = f"{slash}{rest}"
        if path.startswith(("/v1/", "/v2/")):
            path = path[3:]
        return cls(host, "" if path == "/" else path)

    def __str__(self) -> str:
        """The normal form. Keys with the same normal form are the same key for the kubelet."""
        return f"{self.host}{self.path}"

    def matches(self, image: ImageName) -> bool:
        """Whether the key's host and path match an image.

        :func:`matching_keys` adds the kubelet's fallback for Docker Hub.
        """
        return host_matches(self.host, image.host) and f"/{image.repository}".startswith(self.path)


def host_matches(pattern: str, host: str) -> bool:
    """Whether a host matches a pattern: the same port, as many labels, and each label matches its glob."""
    (pattern_name, pattern_port), (name, port) = _host_and_port(pattern), _host_and_port(host)
    globs, labels = pattern_name.split("."), name.split(".")
    return (
        port == pattern_port
        and len(labels) == len(globs)
        and all(_label_matches(glob, label) for glob, label in zip(globs, labels, strict=True))
    )


def _label_matches(glob: str, label: str) -> bool:
    return fnmatchcase(label, glob) if "*" in glob or "[" in glob else glob == label


def _host_and_port(text: str) -> tuple[str, str]:
    """Split host and port like Go's net.SplitHostPort.

    Brackets are removed only before a port. Several colons without brackets are not a port.
    """
    if text.startswith("["):
        name, _, port = text[1:].partition("]:")
        return (name, port) if port else (text, "")
    name, _, port = text.partition(":")
    return (text, "") if ":" in port else (name, port)


def matching_keys(keys: Iterable[str], image: str) -> list[str]:
    """The keys that the kubelet tries for an image, in its order: longer paths first.

    Docker Hub's own key is used only if no other key matches.

    Args:
        keys: Keys of one or several ``auths`` maps, as written there.
        image: An image name as in a Pod.
    """
    name = parse(image)
    known = [(str(AuthKey.parse(text)), text) for text in keys]
    hits = [(normal, text) for normal, text in known if AuthKey.parse(text).matches(name)]
    if hits:
        return [text for _, text in sorted(hits, key=lambda hit: hit[0], reverse=True)]
    # For the kubelet, a host without a dot and a port (localhost) is Docker Hub too.
    of_hub = name.host == HUB or not ("." in name.host or ":" in name.host)
    return [text for normal, text in known if of_hub and normal == _HUB_KEY]


def is_key_for(key: str, image: str) -> bool:
    """Whether the kubelet tries this key for an image if there is no other key."""
    return bool(matching_keys([key], image))


def normal_host(host: str) -> str:
    """The normal form of a registry's host, to compare hosts.

    It ignores case, a scheme, the port of HTTPS, a trailing ``/`` or dot, and the form of an IPv6 address.
    All hosts of Docker Hub have the same normal form. Don't use it for keys: the kubelet compares them as
    text.

    Args:
        host: A host as a person typed it: ``Registry.Example.com:443``, ``https://index.docker.io/v1/``,
            ``[2001:DB8::1]:5000``.
    """
    bare = host.strip().lower().removeprefix("https://").removeprefix("http://").partition("/")[0]
    bare = bare.removesuffix(_HTTPS) if not _is_bare_ipv6(bare) else f"[{bare}]"
    if bare.startswith("["):
        address, bracket, port = bare[1:].partition("]")
        return f"[{_compressed(address)}{bracket}{port}"
    name, colon, port = bare.partition(":")
    bare = f"{name.removesuffix('.')}{colon}{port}"
    return HUB if bare in HUB_HOSTS else bare


def _is_bare_ipv6(text: str) -> bool:
    return text.count(":") > 1 and not text.startswith("[")


def _compressed(address: str) -> str:
    try:
        return IPv6Address(address).compressed
    except (AddressValueError, ValueError):
        return address
