"""Calls a registry with one login: its API, its token service, and the meaning of their responses.

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
from regcred.image_name import registry_of
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
"""Hosts in image names whose API has another address."""

VENDOR_REALMS: Mapping[str, str] = {
    "registry-1.docker.io": "auth.docker.io",
    "registry.gitlab.com": "gitlab.com",
    "registry.digitalocean.com": "api.digitalocean.com",
}
"""Token services of vendors that have a different host than their registry."""

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
        self.taken = False
        """Whether the login was accepted or has pulled. Then other hosts can't add anything."""
        self._send = send
        self.host = host
        self.login = login
        self.definition = definition
        self._api_host = API_HOSTS.get(host, host)
        self._api = transport.origin(self._api_host)
        vendors = VENDOR_REALMS.get(self._api_host, self._api_host)
        self.realms = {registry_of(realm) for realm in (self._api_host, vendors, *definition.realms())}

    def get_base(self, auth: Basic | None = None) -> Answer:
        """Request the API's base address."""
        return self._send("GET", f"{self._api}/v2/", auth=auth)

    def manifest(self, method: str, auth: Basic | Bearer | None) -> Answer:
        """Request the manifest of the definition's image."""
        repository, reference = split_image(self.definition.probe)
        url = f"{self._api}/v2/{repository}/manifests/{reference}"
        return self._send(method, url, auth=auth, headers={"Accept": MANIFESTS})

    def authorize(self, challenge: Challenge, repository: str, actions: str) -> Basic | Bearer | Verification:
        """The Authorization for these actions on a repository, or a verification if there is no token."""
        if not challenge.realm:
            return self.login
        answer = self.token_answer(challenge, (("scope", f"repository:{repository}:{actions}"),))
        if refuses(answer):
            return self.result(Verdict.REFUSED, f"its token service refused the login with {said(answer)}")
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
            answer.fields(what=f"{self.host}'s token service"),
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
            if location and netloc(url) == registry_of(self._api_host):
                self._send("DELETE", url, auth=auth)

    def result(self, verdict: Verdict, detail: str) -> Verification:
        """A verification result for this host."""
        return Verification(verdict, f"{self.host}: {detail}", taken=self.taken)

    def unclear(self, what: str, answer: Answer) -> Verification:
        """Explain what an inconclusive response may mean."""
        reason = ""
        if answers.limited(answer):
            reason = "it limits requests for now"
        elif answer.status == HTTPStatus.NOT_FOUND:
            reason = "there is no registry API"
        elif HTTPStatus.MULTIPLE_CHOICES <= answer.status < HTTPStatus.BAD_REQUEST:
            reason = "a redirect is not followed"
        elif _is_page(answer):
            reason = "that is a page for people, so what answered may be a proxy or a firewall"
        return self.result(
            Verdict.INCONCLUSIVE,
            f"{what} was answered with {said(answer)}" + (f": {reason}" if reason else ""),
        )


def said(answer: Answer) -> str:
    """The status, and the registry's own code if the body has one."""
    return f"{answer.status} {answer.code()}".rstrip()


def passes(answer: Answer) -> bool:
    """Whether a retry may succeed: the server is overloaded, or limits requests."""
    return answers.passing(answer.status) or answers.limited(answer)


def _is_page(answer: Answer) -> bool:
    return answer.headers.get("Content-Type", "").lower().startswith("text/html")


def refuses(answer: Answer) -> bool:
    """Whether the registry itself refused the login. Rate limits and pages of firewalls don't count.

    A 401 may be a page as well: some web servers check logins in front of a registry.
    """
    if answer.status not in _REFUSED or answers.limited(answer):
        return False
    return answer.status == HTTPStatus.UNAUTHORIZED or not _is_page(answer)


def netloc(url: str) -> str:
    """Host and port of an address in the form for comparing hosts; empty if it is not an address."""
    try:
        return registry_of(urlsplit(url).netloc)
    except ValueError:
        return ""
