"""Checks credentials at registries: can one pull, and can it do more than intended?

A token alone proves nothing, since a realm grants only the requested actions that are allowed. Only the
manifest is proof. The request is a HEAD, because Docker Hub counts each GET of a manifest as a pull.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from http import HTTPStatus

from regcred.credential import Credential, Login
from regcred.errors import RegcredError
from regcred.printable import printable
from regcred.registry import challenges, transport
from regcred.registry.answers import Answer
from regcred.registry.authorization import Basic, Bearer
from regcred.registry.challenges import Challenge
from regcred.registry.client import RegistryClient, Send, netloc, passes, refuses, said
from regcred.registry.definition import BaseDefinition, split_image, split_key
from regcred.registry.excess_rights import check_reach
from regcred.registry.interface import Verdict, Verification

PATIENCE = 10.0
"""No further host is tried after this many seconds. Rotate ends after a minute, and must still write its new
credential."""

_SILENT = frozenset({401, 403, 404})
_NONE = Answer(0, {}, b"")
"""The placeholder for a response when no request was made."""


class RegistryVerifier:
    """Verifies over HTTP.

    Args:
        send: How to send a request; see :func:`regcred.registry.transport.send`.
        clock: The time in seconds from any starting point.
    """

    def __init__(self, send: Send = transport.send, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._send = send
        self._clock = clock

    def verify(self, definition: BaseDefinition, credential: Credential) -> Verification:
        """Try each login at its hosts in turn until one of them gives a definite result.

        A login's hosts are aliases of one registry, so one definite result is enough. An alias that this
        network can't reach (dual stack, FIPS) then does not matter. Never raises, whatever a registry
        responds.
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
        result = Verification(Verdict.INCONCLUSIVE, "out of time before any host was checked")
        for host in dict.fromkeys(split_key(key)[0] for key in login.hosts):
            if self._clock() >= until:
                return result
            registry = RegistryClient(self._send, host, Basic(login.username, login.password), definition)
            try:
                result = _HostCheck(registry).verify()
            except RegcredError as error:
                detail = str(error) if str(error).startswith(host) else f"{host}: {error}"
                result = Verification(Verdict.INCONCLUSIVE, detail, taken=registry.taken)
            if registry.taken or result.verdict is not Verdict.INCONCLUSIVE:
                return result
        return result


_SEVERITY = {Verdict.CAN_PULL: 0, Verdict.INCONCLUSIVE: 1, Verdict.WIDER: 2, Verdict.REFUSED: 3}


class _HostCheck:
    """One login at one host."""

    def __init__(self, registry: RegistryClient) -> None:
        self._registry = registry

    def verify(self) -> Verification:
        """Make all possible checks here, with an image to pull if there is one."""
        challenge = self.challenge()
        if isinstance(challenge, Verification):
            return challenge
        if not self._registry.definition.probe:
            return self.without_probe(challenge)
        return self.with_probe(challenge, *split_image(self._registry.definition.probe))

    def challenge(self) -> Challenge | Verification:
        """The challenges in a refusal: from the API, or from the image if the API is open."""
        answer = self._registry.get_base()
        if (
            answer.status != HTTPStatus.UNAUTHORIZED
            and self._registry.definition.probe
            and not passes(answer)
        ):
            opened, answer = answer, self._registry.manifest("HEAD", None)
            if answer.status == HTTPStatus.OK:
                return self._registry.result(
                    Verdict.INCONCLUSIVE,
                    f"{self._registry.definition.probe} can be pulled without a login, so the check can't "
                    "show whether this login works",
                )
            if answer.status != HTTPStatus.UNAUTHORIZED:
                return self._registry.unclear(
                    "GET /v2/", opened if opened.status != HTTPStatus.OK else answer
                )
        if answer.status == HTTPStatus.OK:
            return self._registry.result(
                Verdict.INCONCLUSIVE,
                "its API requires no login; name an image in 'probe' to check whether this login works",
            )
        if answer.status != HTTPStatus.UNAUTHORIZED:
            return self._registry.unclear("GET /v2/", answer)
        return self._best(answer)

    def _best(self, answer: Answer) -> Challenge | Verification:
        """The best usable challenge: a token from an allowed realm, or else Basic."""
        found = challenges.parse(answer.headers.get("WWW-Authenticate", ""))
        bearers = [item for item in found if item.scheme == "bearer" and item.realm]
        allowed = [item for item in bearers if netloc(item.realm) in self._registry.realms]
        basic = [
            Challenge("basic") for item in found if item.scheme == "basic"
        ]  # the realm of Basic is a text for people
        if best := next(iter([*allowed, *basic]), None):
            return best
        if bearers:
            return self._registry.result(
                Verdict.INCONCLUSIVE,
                f"it sends logins to {printable(netloc(bearers[0].realm)) or 'nowhere'}, which is not "
                "allowed; if that is its token service, name it in 'realm_hosts'",
            )
        return self._registry.result(
            Verdict.INCONCLUSIVE, "its 401 requests neither Basic nor Bearer authentication"
        )

    def without_probe(self, challenge: Challenge) -> Verification:
        """The result without an image: only a wrong login can be detected."""
        answer = (
            self._registry.token_answer(challenge, ())
            if challenge.realm
            else self._registry.get_base(self._registry.login)
        )
        if refuses(answer):
            return self._registry.result(Verdict.REFUSED, f"the login was refused with {said(answer)}")
        if answer.status != HTTPStatus.OK:
            return self._registry.unclear("the login", answer)
        self._registry.taken = True
        return self._registry.result(
            Verdict.INCONCLUSIVE,
            "the login was accepted; name an image in 'probe' to check that it pulls and can't push",
        )

    def with_probe(self, challenge: Challenge, repository: str, reference: str) -> Verification:
        """Pull the definition's image. If that works, check what else the login may do."""
        image = f"{repository}{'@' if ':' in reference else ':'}{reference}"
        answer, challenge, auth = self._pulled(challenge, repository)
        if isinstance(auth, Verification):
            return auth
        if answer.status == HTTPStatus.OK:
            self._registry.taken = True
            return check_reach(self._registry, challenge, repository, image)
        if (
            answer.status in _SILENT
        ):  # HEAD has no body, and the status alone is no reason; a refused GET does not count as a pull
            answer = self._registry.manifest("GET", auth)
        if refuses(answer):
            return self._registry.result(Verdict.REFUSED, f"pulling {image} was refused with {said(answer)}")
        if answer.status == HTTPStatus.NOT_FOUND:
            return self._registry.result(
                Verdict.INCONCLUSIVE,
                f"{image} was not found ({said(answer)}), which some registries also say of what they "
                "hide; check 'probe'",
            )
        return self._registry.unclear(f"pulling {image}", answer)

    def _pulled(
        self, challenge: Challenge, repository: str
    ) -> tuple[Answer, Challenge, Basic | Bearer | Verification]:
        """Request the image. Retry once if its 401 has another challenge than the API's."""
        auth = self._registry.authorize(challenge, repository, "pull")
        if isinstance(auth, Verification):
            return _NONE, challenge, auth
        answer = self._registry.manifest("HEAD", auth)
        if answer.status != HTTPStatus.UNAUTHORIZED:
            return answer, challenge, auth
        other = self._best(answer)
        if isinstance(other, Verification) or _token_service(other) == _token_service(challenge):
            return answer, challenge, auth
        auth = self._registry.authorize(other, repository, "pull")
        return (
            (_NONE if isinstance(auth, Verification) else self._registry.manifest("HEAD", auth)),
            other,
            auth,
        )


def _token_service(challenge: Challenge) -> tuple[str, str, str]:
    return challenge.scheme, challenge.realm, challenge.service
