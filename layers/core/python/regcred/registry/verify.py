"""Asks registries whether a credential works: can it pull, and can it do more than was asked?

Contracts: the OCI distribution specification (``GET /v2/``, manifests, blob uploads) and Docker's token authentication
(https://distribution.github.io/distribution/spec/auth/token/). A token alone proves nothing, since a realm answers
with the intersection of what was asked and what is allowed: only the manifest does. HEAD is asked, since Docker Hub
counts each GET of a manifest as a pull.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from http import HTTPStatus
from urllib.parse import urljoin, urlsplit

from pydantic import SecretStr

from regcred.credential import Credential, Login
from regcred.errors import RegcredError
from regcred.image_name import registry_of
from regcred.printable import printable
from regcred.registry import challenges, transport
from regcred.registry.challenges import Challenge
from regcred.registry.definition import BaseDefinition, split_image, split_key
from regcred.registry.interface import Verdict, Verification
from regcred.registry.tokens import claims
from regcred.registry.transport import Answer, Basic, Bearer

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
"""Hosts in image names whose API answers elsewhere."""

VENDOR_REALMS: Mapping[str, str] = {
    "registry-1.docker.io": "auth.docker.io",
    "registry.gitlab.com": "gitlab.com",
    "registry.digitalocean.com": "api.digitalocean.com",
}
"""Token services of vendors that lie on another host than their registry."""

PATIENCE = 10.0
"""No further host is asked after this, in seconds: rotate, which ends after a minute, must still write what was minted."""

_REFUSED = frozenset({401, 403})
_SILENT = frozenset({401, 403, 404})
_NONE = Answer(0, {}, b"")
"""Stands for an answer where nothing was asked."""
_NO_UPLOAD = frozenset({401, 403, 404, 405})
"""A repository that can be pulled and is not found to be pushed to is hidden from who may not push."""
_WIDER = frozenset({"push", "delete", "*"})
_OUTSIDE = "regcred-not-asked-for"
_CATALOG = ("registry", "catalog", "*")
_UNTOLD = "it is unknown whether it reaches more than 'repositories'"

Send = Callable[..., Answer]


class RegistryVerifier:
    """Verifies over HTTP.

    Args:
        send: How to send a request; see :func:`regcred.registry.transport.send`.
        clock: The time in seconds, from any beginning.
    """

    def __init__(self, send: Send = transport.send, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._send = send
        self._clock = clock

    def verify(self, definition: BaseDefinition, credential: Credential) -> Verification:
        """Try each login at its hosts in turn until one of them answers for certain.

        A login's hosts are aliases of one registry, so one certain answer is enough; an alias that this network can't
        reach (dual stack, FIPS) does not matter then. Never raises for what a registry answers.
        """
        until = self._clock() + PATIENCE
        found = [self._login(definition, login, until) for login in credential.logins]
        worst = max(found, key=lambda item: (_SEVERITY[item.verdict], not item.taken))
        if worst.verdict is Verdict.INCONCLUSIVE or len(found) == 1:
            return worst
        return Verification(
            worst.verdict, "; ".join(item.detail for item in found if item.verdict is worst.verdict)
        )

    def _login(self, definition: BaseDefinition, login: Login, until: float) -> Verification:
        result = Verification(Verdict.INCONCLUSIVE, "out of time before a host was asked")
        for host in dict.fromkeys(split_key(key)[0] for key in login.hosts):
            if self._clock() >= until:
                return result
            visit = _Visit(self._send, host, Basic(login.username, login.password), definition)
            try:
                result = visit.verify()
            except RegcredError as error:
                result = Verification(Verdict.INCONCLUSIVE, f"{host}: {error}", taken=visit.taken)
            if visit.taken or result.verdict is not Verdict.INCONCLUSIVE:
                return result
        return result


_SEVERITY = {Verdict.CAN_PULL: 0, Verdict.INCONCLUSIVE: 1, Verdict.WIDER: 2, Verdict.REFUSED: 3}


class _Visit:
    """One login at one host."""

    def __init__(self, send: Send, host: str, login: Basic, definition: BaseDefinition) -> None:
        self.taken = False
        """Whether the login was accepted, or pulled: no other host can tell more."""
        self._send = send
        self._host = host
        self._login = login
        self._definition = definition
        self._api_host = API_HOSTS.get(host, host)
        self._api = transport.origin(self._api_host)
        vendors = VENDOR_REALMS.get(self._api_host, self._api_host)
        self._realms = {registry_of(realm) for realm in (self._api_host, vendors, *definition.realms())}

    def verify(self) -> Verification:
        """Ask all that can be asked here, with an image to pull if there is one."""
        challenge = self.challenge()
        if isinstance(challenge, Verification):
            return challenge
        if not self._definition.probe:
            return self.without_probe(challenge)
        return self.with_probe(challenge, *split_image(self._definition.probe))

    def challenge(self) -> Challenge | Verification:
        """What the registry asks for, from an answer that refused: that of its API, or of the image where the API is open."""
        answer = self._send("GET", f"{self._api}/v2/")
        if answer.status != HTTPStatus.UNAUTHORIZED and self._definition.probe and not _passes(answer):
            opened, answer = answer, self._manifest("HEAD", None)
            if answer.status == HTTPStatus.OK:
                return self._result(
                    Verdict.INCONCLUSIVE,
                    f"{self._definition.probe} can be pulled without a login, so nothing shows whether this one works",
                )
            if answer.status != HTTPStatus.UNAUTHORIZED:
                return self._unclear("GET /v2/", opened if opened.status != HTTPStatus.OK else answer)
        if answer.status == HTTPStatus.OK:
            return self._result(
                Verdict.INCONCLUSIVE,
                "its API asks for no login; name an image in 'probe' to show whether this one works",
            )
        if answer.status != HTTPStatus.UNAUTHORIZED:
            return self._unclear("GET /v2/", answer)
        return self._best(answer)

    def _best(self, answer: Answer) -> Challenge | Verification:
        """The best challenge that can be answered: a token of an allowed realm, or else Basic."""
        found = challenges.parse(answer.headers.get("WWW-Authenticate", ""))
        bearers = [item for item in found if item.scheme == "bearer" and item.realm]
        allowed = [item for item in bearers if _netloc(item.realm) in self._realms]
        basic = [
            Challenge("basic") for item in found if item.scheme == "basic"
        ]  # its realm is a text for people
        if best := next(iter([*allowed, *basic]), None):
            return best
        if bearers:
            return self._result(
                Verdict.INCONCLUSIVE,
                f"it sends logins to {printable(_netloc(bearers[0].realm)) or 'nowhere'}, which is not allowed; if that "
                "is its token service, name it in 'realm_hosts'",
            )
        return self._result(Verdict.INCONCLUSIVE, "its 401 asks for neither Basic nor a Bearer token")

    def without_probe(self, challenge: Challenge) -> Verification:
        """Without an image only a wrong login can be told from the rest."""
        answer = self._token_answer(challenge, ()) if challenge.realm else self._get_base(self._login)
        if _refuses(answer):
            return self._result(Verdict.REFUSED, f"the login was refused with {_said(answer)}")
        if answer.status != HTTPStatus.OK:
            return self._unclear("the login", answer)
        self.taken = True
        return self._result(
            Verdict.INCONCLUSIVE,
            "the login was accepted; name an image in 'probe' to check that it pulls and can't push",
        )

    def with_probe(self, challenge: Challenge, repository: str, reference: str) -> Verification:
        image = f"{repository}{'@' if ':' in reference else ':'}{reference}"
        answer, challenge, auth = self._pulled(challenge, repository)
        if isinstance(auth, Verification):
            return auth
        if answer.status == HTTPStatus.OK:
            self.taken = True
            return self._push(challenge, repository, image)
        if (
            answer.status in _SILENT
        ):  # HEAD has no body, and the status alone is no reason; a refused GET is no pull
            answer = self._manifest("GET", auth)
        if _refuses(answer):
            return self._result(Verdict.REFUSED, f"pulling {image} was refused with {_said(answer)}")
        if answer.status == HTTPStatus.NOT_FOUND:
            return self._result(
                Verdict.INCONCLUSIVE,
                f"{image} was not found ({_said(answer)}), which some registries also say of what they hide; check 'probe'",
            )
        return self._unclear(f"pulling {image}", answer)

    def _pulled(
        self, challenge: Challenge, repository: str
    ) -> tuple[Answer, Challenge, Basic | Bearer | Verification]:
        """Ask for the image, and once more if its 401 asks for something else than the API did."""
        auth = self._auth(challenge, repository, "pull")
        if isinstance(auth, Verification):
            return _NONE, challenge, auth
        answer = self._manifest("HEAD", auth)
        if answer.status != HTTPStatus.UNAUTHORIZED:
            return answer, challenge, auth
        other = self._best(answer)
        if isinstance(other, Verification) or _asked(other) == _asked(challenge):
            return answer, challenge, auth
        auth = self._auth(other, repository, "pull")
        return (_NONE if isinstance(auth, Verification) else self._manifest("HEAD", auth)), other, auth

    def _manifest(self, method: str, auth: Basic | Bearer | None) -> Answer:
        repository, reference = split_image(self._definition.probe)
        url = f"{self._api}/v2/{repository}/manifests/{reference}"
        return self._send(method, url, auth=auth, headers={"Accept": MANIFESTS})

    def _push(self, challenge: Challenge, repository: str, image: str) -> Verification:
        """Whether it may push too: by what the token says of itself, or else by beginning an upload and ending it."""
        auth = self._auth(challenge, repository, "pull,push")
        if isinstance(auth, Verification):
            if auth.verdict is Verdict.REFUSED:
                return self._scope(challenge, f"{image} can be pulled; a token to push was refused")
            return Verification(
                auth.verdict,
                f"{auth.detail}, so whether {image} can be pushed too is not known",
                taken=self.taken,
            )
        granted = _granted(auth.token, "repository", repository) if isinstance(auth, Bearer) else None
        if granted is not None:
            wider = sorted(granted & _WIDER)
            if wider:
                return self._result(
                    Verdict.WIDER,
                    f"{image} can be pulled, but the token is granted {', '.join(wider)} too",
                )
            return self._scope(challenge, f"{image} can be pulled; push is not granted")
        return self._upload(auth, repository, image)

    def _upload(self, auth: Basic | Bearer, repository: str, image: str) -> Verification:
        answer = self._send("POST", f"{self._api}/v2/{repository}/blobs/uploads/", auth=auth)
        if answer.status in {201, 202}:
            self._cancel(auth, answer.headers.get("Location", ""))
            return self._result(
                Verdict.WIDER,
                f"{image} can be pulled, but pushed too: an upload could be begun (it was ended)",
            )
        if answer.status in _NO_UPLOAD and not _passes(answer):
            untold = f"; {_UNTOLD}" if self._definition.limits() else ""
            return self._result(
                Verdict.CAN_PULL, f"{image} can be pulled; beginning an upload was refused{untold}"
            )
        return self._result(
            Verdict.INCONCLUSIVE,
            f"{image} can be pulled, but whether it can be pushed too is not known: beginning an upload was answered "
            f"with {answer.status}",
        )

    def _scope(self, challenge: Challenge, found: str) -> Verification:
        """Whether it reaches more than the definition's repositories: by what a token says that asks for more.

        A repository that is not there shows a login for the whole registry; one for a few other repositories stays
        unseen. Where no repositories are named, nothing is asked.
        """
        limits = self._definition.limits()
        if not limits:
            return self._result(Verdict.CAN_PULL, found)
        asked = (("repository", _outside(limits), "pull"), _CATALOG)
        answer = self._token_answer(challenge, tuple(("scope", ":".join(scope)) for scope in asked))
        if _refuses(answer):
            return self._result(Verdict.CAN_PULL, f"{found}; nor is anything outside of 'repositories'")
        if _passes(answer):
            return self._result(
                Verdict.INCONCLUSIVE,
                f"{found}; {_UNTOLD}: the token service answered {answer.status}",
            )
        token = self._token(answer) if answer.status == HTTPStatus.OK else None
        granted = {name: _granted(token, kind, name) if token else None for kind, name, _ in asked}
        if None in granted.values():
            return self._result(Verdict.CAN_PULL, f"{found}; {_UNTOLD}")
        wider = [f"{kind}:{name}" for kind, name, _ in asked if granted[name]]
        if wider:
            return self._result(
                Verdict.WIDER,
                f"{found}, but the token is granted {' and '.join(wider)} too, outside of 'repositories'",
            )
        return self._result(Verdict.CAN_PULL, f"{found}; nor is anything outside of 'repositories'")

    def _cancel(self, auth: Basic | Bearer, location: str) -> None:
        """End an upload that was begun; registries also end it by themselves, so a failure does not matter."""
        with suppress(ValueError, RegcredError):
            url = urljoin(f"{self._api}/", location)
            if location and _netloc(url) == registry_of(self._api_host):
                self._send("DELETE", url, auth=auth)

    def _auth(self, challenge: Challenge, repository: str, actions: str) -> Basic | Bearer | Verification:
        if not challenge.realm:
            return self._login
        answer = self._token_answer(challenge, (("scope", f"repository:{repository}:{actions}"),))
        if _refuses(answer):
            return self._result(Verdict.REFUSED, f"its token service refused the login with {_said(answer)}")
        if answer.status != HTTPStatus.OK:
            return self._unclear("its token service", answer)
        return Bearer(self._token(answer))

    def _token(self, answer: Answer) -> SecretStr:
        token = transport.text_field(
            answer.fields(what=f"{self._host}'s token service"),
            "token",
            "access_token",
            what="its token service",
        )
        return SecretStr(token)

    def _token_answer(self, challenge: Challenge, scope: tuple[tuple[str, str], ...]) -> Answer:
        service = (("service", challenge.service),) if challenge.service else ()
        return self._send("GET", challenge.realm, auth=self._login, query=(*service, *scope))

    def _get_base(self, auth: Basic) -> Answer:
        return self._send("GET", f"{self._api}/v2/", auth=auth)

    def _unclear(self, what: str, answer: Answer) -> Verification:
        reason = ""
        if transport.limited(answer):
            reason = "it limits requests for now"
        elif answer.status == HTTPStatus.NOT_FOUND:
            reason = "there is no registry API"
        elif HTTPStatus.MULTIPLE_CHOICES <= answer.status < HTTPStatus.BAD_REQUEST:
            reason = "a redirect is not followed"
        elif _is_page(answer):
            reason = "that is a page for people, so what answered may be a proxy or a firewall"
        return self._result(
            Verdict.INCONCLUSIVE,
            f"{what} was answered with {_said(answer)}" + (f": {reason}" if reason else ""),
        )

    def _result(self, verdict: Verdict, detail: str) -> Verification:
        return Verification(verdict, f"{self._host}: {detail}", taken=self.taken)


def _asked(challenge: Challenge) -> tuple[str, str, str]:
    return challenge.scheme, challenge.realm, challenge.service


def _said(answer: Answer) -> str:
    """The status, and the registry's own code if its body names one."""
    return f"{answer.status} {answer.code()}".rstrip()


def _passes(answer: Answer) -> bool:
    return transport.passing(answer.status) or transport.limited(answer)


def _is_page(answer: Answer) -> bool:
    return answer.headers.get("Content-Type", "").lower().startswith("text/html")


def _refuses(answer: Answer) -> bool:
    """Whether the registry itself refused the login: neither a limit of requests, nor a firewall's page.

    A 401 may be a page, too: web servers answer it where they check logins before a registry.
    """
    if answer.status not in _REFUSED or transport.limited(answer):
        return False
    return answer.status == HTTPStatus.UNAUTHORIZED or not _is_page(answer)


def _netloc(url: str) -> str:
    """Host and port of an address, in the one form that hosts are compared in; empty if it is none."""
    try:
        return registry_of(urlsplit(url).netloc)
    except ValueError:
        return ""


def _outside(scopes: Iterable[str]) -> str:
    """A repository that is none of these and lies in no prefix: its first part is that of none of them."""
    taken = {scope.partition("/")[0] for scope in scopes}
    name = _OUTSIDE
    while name in taken:
        name += "-x"
    return f"{name}/app"


def _granted(token: SecretStr, kind: str, name: str) -> frozenset[str] | None:
    """The actions on a resource that a token says of itself, or None if it can't be read (it is opaque)."""
    access = (claims(token) or {}).get("access")
    if not isinstance(access, list):
        return None
    return frozenset(
        str(action)
        for item in access
        if isinstance(item, dict) and item.get("type") == kind and item.get("name") == name
        if isinstance(item.get("actions"), list)
        for action in item["actions"]
    )
