"""Pulls manifests without a node, through the local proxy, to see how a registry responds."""

from __future__ import annotations

from urllib.request import parse_http_list, parse_keqv_list

import requests

from .stack import Stack

MANIFESTS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
ACCEPT = {"Accept": ", ".join(MANIFESTS)}


def manifest_status(stack: Stack, image: str, username: str, password: str) -> int:
    """Request an image's manifest as a container runtime does, and return the last HTTP status.

    It uses Basic authentication if the registry requires it, and otherwise the token flow (OCI distribution,
    token authentication).

    Args:
        stack: the stack of the registry.
        image: `host/repository:tag`.
        username: the user name.
        password: the password.
    """
    host, _, name = image.partition("/")
    repository, _, tag = name.rpartition(":")
    session = requests.Session()
    session.trust_env = False
    session.proxies = {"https": stack.internet.proxy_url}
    session.verify = str(stack.internet.ca_bundle)
    url = f"https://{host}/v2/{repository}/manifests/{tag}"
    challenge = parse_keqv_list(parse_http_list(_challenge(session, url).removeprefix("Bearer ")))
    if "realm" not in challenge:
        return session.get(url, headers=ACCEPT, auth=(username, password), timeout=20).status_code
    scope = {"service": challenge.get("service", ""), "scope": f"repository:{repository}:pull"}
    answer = session.get(challenge["realm"], params=scope, auth=(username, password), timeout=20)
    if not answer.ok:
        return answer.status_code
    headers = {**ACCEPT, "Authorization": f"Bearer {answer.json()['token']}"}
    return session.get(url, headers=headers, timeout=20).status_code


def _challenge(session: requests.Session, url: str) -> str:
    header = session.get(url, timeout=20).headers.get("WWW-Authenticate", "")
    return header if header.startswith("Bearer ") else ""
