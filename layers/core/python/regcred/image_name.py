"""Names of images and keys of the ``auths`` map in one normal form. Pure.

They are read as container runtimes and the kubelet read them.

Contracts: names of images, github.com/distribution/reference (normalize.go); keys and how they match,
k8s.io/kubernetes pkg/credentialprovider/keyring.go. The kubelet's own code is the oracle of the tests.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from ipaddress import AddressValueError, IPv6Address

HUB = "docker.io"
"""The host that names without one stand for: ``alpine`` is ``docker.io/library/alpine``."""

HUB_HOSTS = frozenset({HUB, "index.docker.io", "registry-1.docker.io"})
"""All hosts of Docker Hub's registry."""

_HUB_KEY = "index.docker.io"
"""The key that the kubelet falls back to for images of Docker Hub, if no other one matches."""

_HTTPS = ":443"


@dataclass(frozen=True, slots=True)
class ImageName:
    """The name of an image, in full."""

    host: str
    """The registry's host as written, with its port if there is one; ``docker.io`` if the name holds none."""
    repository: str
    """The path at that host, ``library/alpine`` for ``alpine``."""
    tag: str = ""
    digest: str = ""

    def __str__(self) -> str:
        """Host and repository, which is what the kubelet looks up; no tag, no digest."""
        return f"{self.host}/{self.repository}"


def parse(name: str) -> ImageName:
    """Read the name of an image. Nothing is refused: what is no name matches no key.

    Args:
        name: As it stands in a Pod: ``alpine``, ``team/app:1.0``,
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
    """A plain prefix of ``/`` and the repository, or empty for the whole host."""

    @classmethod
    def parse(cls, text: str) -> AuthKey:
        """Read a key. Its scheme, an API path (``/v1/``, ``/v2/``) and one trailing ``/`` do not count."""
        bare = text.removeprefix("https://").removeprefix("http://")
        host, slash, rest = bare.partition("?")[0].partition("#")[0].partition("/")
        path = f"{slash}{rest}"
        if path.startswith(("/v1/", "/v2/")):
            path = path[3:]
        return cls(host, "" if path == "/" else path)

    def __str__(self) -> str:
        """Its normal form: equal forms are the same key to the kubelet."""
        return f"{self.host}{self.path}"

    def matches(self, image: ImageName) -> bool:
        """Whether the kubelet tries the key for an image, by host and path.

        Its fallback for Docker Hub is in :func:`tried`.
        """
        return host_matches(self.host, image.host) and f"/{image.repository}".startswith(self.path)


def host_matches(pattern: str, host: str) -> bool:
    """Whether a host is named by a pattern: equal ports as text, as many labels, a glob for each label."""
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

    Brackets are removed only before a port. Several colons without brackets are no port.
    """
    if text.startswith("["):
        name, _, port = text[1:].partition("]:")
        return (name, port) if port else (text, "")
    name, _, port = text.partition(":")
    return (text, "") if ":" in port else (name, port)


def tried(keys: Iterable[str], image: str) -> list[str]:
    """The keys that the kubelet tries for an image: longer paths first, Docker Hub's own key last.

    Args:
        keys: Keys of one or several ``auths`` maps, as they stand there.
        image: An image's name as it stands in a Pod.
    """
    name = parse(image)
    known = [(str(AuthKey.parse(text)), text) for text in keys]
    hits = [(normal, text) for normal, text in known if AuthKey.parse(text).matches(name)]
    if hits:
        return [text for _, text in sorted(hits, key=lambda hit: hit[0], reverse=True)]
    # A host without a dot and a port (localhost) also counts as Docker Hub there.
    of_hub = name.host == HUB or not ("." in name.host or ":" in name.host)
    return [text for normal, text in known if of_hub and normal == _HUB_KEY]


def serves(key: str, image: str) -> bool:
    """Whether the kubelet tries this key for an image, if it has no other one."""
    return bool(tried([key], image))


def registry_of(host: str) -> str:
    """One name for all forms of a registry's host, to compare hosts.

    It does not work for keys, which the kubelet compares as text.

    Case, a scheme, the port of https, a ``/`` at the end, a dot at the end and an IPv6 address's form do not
    matter, and Docker Hub's three hosts are one.

    Args:
        host: A host as somebody typed it: ``Registry.Example.com:443``, ``https://index.docker.io/v1/``,
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
