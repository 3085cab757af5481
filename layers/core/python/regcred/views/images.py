"""Which key of a Secret the kubelet tries for an image. Pure.

Contracts: image names as github.com/distribution/reference reads them (``normalize.go``); keys as the kubelet matches them
(k8s.io/kubernetes, ``pkg/credentialprovider/keyring.go``).
"""

from __future__ import annotations

from fnmatch import fnmatchcase

DOCKER_HUB = "docker.io"
_INDEX = "index.docker.io"
_OFFICIAL = "library/"
_API_VERSIONS = ("v1/", "v2/")


def split_image(name: str) -> tuple[str, str]:
    """The host and the repository of an image, without tag and digest; ``alpine`` is ``docker.io``, ``library/alpine``."""
    first, slash, rest = name.partition("/")
    if not slash:
        host, rest = DOCKER_HUB, name
    elif first == _INDEX:
        host = DOCKER_HUB
    elif "." in first or ":" in first or first == "localhost" or first != first.lower():
        host = first
    else:
        host, rest = DOCKER_HUB, name
    repository = rest.partition("@")[0].partition(":")[0]
    if host == DOCKER_HUB and "/" not in repository:
        repository = _OFFICIAL + repository
    return host, repository


def serves(key: str, image: str) -> bool:
    """Whether the kubelet tries a key of the ``auths`` map for an image.

    A key is a host (each of its labels may be a glob) or a host and the beginning of repositories; a scheme and the API's
    ``/v1/`` and ``/v2/`` do not count. The ports must be the same. ``index.docker.io`` stands for Docker Hub.
    """
    host, repository = split_image(image)
    key_host, prefix = _split_key(key)
    if key_host == _INDEX and not prefix:
        return host == DOCKER_HUB
    return _matches(key_host, host) and repository.startswith(prefix)


def _split_key(key: str) -> tuple[str, str]:
    for scheme in ("https://", "http://"):
        key = key.removeprefix(scheme)
    host, _, path = key.partition("/")
    for version in _API_VERSIONS:
        if path.startswith(version):
            path = path.removeprefix(version)
            break
    return host, path


def _matches(pattern: str, host: str) -> bool:
    wanted, wanted_port = _split_port(pattern)
    name, port = _split_port(host)
    globs, labels = wanted.split("."), name.split(".")
    return (
        port == wanted_port
        and len(globs) == len(labels)
        and all(
            label == glob or ("[" not in glob and fnmatchcase(label, glob))
            for glob, label in zip(globs, labels, strict=True)
        )
    )


def _split_port(host: str) -> tuple[str, str]:
    """Name and port; the colons inside the brackets of an IPv6 address are part of the name."""
    end = host.rfind("]") + 1
    name, _, port = host[end:].partition(":")
    return host[:end] + name, port
