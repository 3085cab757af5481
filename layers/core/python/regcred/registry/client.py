"""Calls a registry's API and its token service with one login, and interprets the responses.

Contracts: the OCI distribution specification (``GET /v2/``, manifests, blob uploads) and Docker's token
authentication (https://distribution.github.io/distribution/spec/auth/token/).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from urllib.parse import urljoin, urlsplit

from pydantic import SecretStr

from regcred.errors import RegcredError
from regcred.image_name import normal_host
from regcred.registry import answers, transport
from regcred.registry.answers import Answer
from regcred.registry.authorization import Basic, Bearer
from regcred.registry.challenges import Challenge
from regcred.registry.definition import BaseDefinition, split_image
from regcred.registry.interface import Verdict, Verification

MANIFESTS = (
    "application/vnd.oci.image.index.v1+json"
    ", application/vnd.oci.image.manifest.v1+json"
    ", application/vnd.docker.distribution.manifest.list.v2+json"
    ", application/vnd.docker.distribution.manifest.v2+json"
)
"""The media types that a pull accepts."""

API_HOSTS: Mapping[str, str] = {
    "docker.io": "registry-1.docker.io",
    "index.docker.io": "registry-1.docker.io",
}
"""The API's host of registries that have another host in image names."""

VENDOR_REALMS: Mapping[str, str] = {
    "registry-1.docker.io": "auth.docker.io",
    "registry.gitlab.com": "gitlab.com",
    "registry.digitalocean.com": "api.digitalocean.com",
}
"""The token service's host of vendors that use another host for it."""

_REFUSED = frozenset({401, 403})

Send = Callable[..., Answer]


class RegistryClient:
    """Calls one registry with one login.

    Args:
        send: Sends a request; see :func:`regcred.registry.transport.send`.
        host: The registry's host in image names.
        login: The login to try.
        definition: The definition that the login was made for.
    """

    def __init__(self, send: Send, host: str, login: Basic, definition: BaseDefinition) -> None:
        self.login_accepted = False
        """Whether the login was accepted, or pulled an image. Then no other host needs to be tried."""
        self._send = send
        self.host = host
        self.login = login
        self.definition = definition
        self._api_host = API_HOSTS.get(host, host)
        self._api = transport.origin(self._api_host)
        vendors = VENDOR_REALMS.get(self._api_host, self._api_host)
        self.realms = {normal_host(realm) for realm in (self._api_host, vendors, *definition.realms())}

    def get_base(self, auth: Basic | None = None) -> Answer:
        """Request the API's base address."""
        return self._send("GET", f"{self._api}/v2/", auth=auth)

    def manifest(self, method: str, auth: Basic | Bearer | None) -> Answer:
        """Request the manifest of the definition's image."""
        repository, reference = split_image(self.definition.probe)
        url = f"{self._api}/v2/{repository}/manifests/{reference}"
        return self._send(method, url, auth=auth, headers={"Accept": MANIFESTS})

    def authorize(self, challenge: Challenge, repository: str, actions: str) -> Basic | Bearer | Verification:
        """The authorization for these actions on a repository, or the verdict if there is no token."""
        if not challenge.realm:
            return self.login
        answer = self.token_answer(challenge, (("scope", f"repository:{repository}:{actions}"),))
        if is_refusal(answer):
            return self.result(
                Verdict.REFUSED, f"its token service refused the login with {status_of(answer)}"
            )
        if answer.status != HTTPStatus.OK:
            return self.unclear("its token service", answer)
        return Bearer(self.token(answer))

    def token_answer(self, challenge: Challenge, scope: tuple[tuple[str, str], ...]) -> Answer:
        """Request a token with these scopes from the token service of a challenge."""
        service = (("service", challenge.service),) if challenge.service else ()
        return self._send("GET", challenge.realm, auth=self.login, query=(*service, *scope))

    def token(self, answer: Answer) -> SecretStr:
        """The token in a token service's response."""
        token = answers.text_field(
            answer.fields(what="its token service"),
            "token",
            "access_token",
            what="its token service",
        )
        return SecretStr(token)

    def begin_upload(self, auth: Basic | Bearer, repository: str) -> Answer:
        """Start an upload, and cancel it at once if it starts."""
        answer = self._send("POST", f"{self._api}/v2/{repository}/blobs/uploads/", auth=auth)
        if answer.status in {201, 202}:
            self._cancel(auth, answer.headers.get("Location", ""))
        return answer

    def _cancel(self, auth: Basic | Bearer, location: str) -> None:
        """Cancel an upload. Registries also cancel uploads themselves, so a failure does not matter."""
        with suppress(ValueError, RegcredError):
            url = urljoin(f"{self._api}/", location)
            if location and netloc(url) == normal_host(self._api_host):
                self._send("DELETE", url, auth=auth)

    def result(self, verdict: Verdict, detail: str) -> Verification:
        """A verification result for this host."""
        return Verification(verdict, f"{self.host}: {detail}", login_accepted=self.login_accepted)

    def unclear(self, what: str, answer: Answer) -> Verification:
        """Explain what an inconclusive response may mean."""
        reason = ""
        if answers.is_rate_limited(answer):
            reason = "the rate limit was reached"
        elif answer.status == HTTPStatus.NOT_FOUND:
            reason = "no registry API was found there"
        elif HTTPStatus.MULTIPLE_CHOICES <= answer.status < HTTPStatus.BAD_REQUEST:
            reason = "a redirect is not followed"
        elif _is_page(answer):
            reason = "the response is an HTML page, so it may be from a proxy or a firewall"
        return self.result(
            Verdict.INCONCLUSIVE,
            f"{what} returned {status_of(answer)}" + (f": {reason}" if reason else ""),
        )


def status_of(answer: Answer) -> str:
    """The status, and the registry's own code if the body has one."""
    return f"{answer.status} {answer.code()}".rstrip()


def is_transient(answer: Answer) -> bool:
    """Whether a retry may succeed: the server failed or is overloaded, or the rate limit was reached."""
    return answers.is_transient_status(answer.status) or answers.is_rate_limited(answer)


def _is_page(answer: Answer) -> bool:
    return answer.headers.get("Content-Type", "").lower().startswith("text/html")


def is_refusal(answer: Answer) -> bool:
    """Whether the registry itself refused the login. Rate limits and a firewall's 403 pages don't count.

    A 401 with a page counts, because some web servers check logins in front of a registry.
    """
    if answer.status not in _REFUSED or answers.is_rate_limited(answer):
        return False
    return answer.status == HTTPStatus.UNAUTHORIZED or not _is_page(answer)


def netloc(url: str) -> str:
    """The normal form of an address's host and port; empty if it is not an address."""
    try:
        return normal_host(urlsplit(url).netloc)
    except ValueError:
        return ""
