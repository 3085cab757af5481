"""Verifies credentials at registries: can a credential pull, and can it do more than requested?

A token alone proves nothing, because token services also issue tokens that grant less than requested. Only
reading a manifest is proof. The request is a HEAD, because Docker Hub counts each GET of a manifest as a
pull.
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
from regcred.registry.client import RegistryClient, Send, is_refusal, is_transient, netloc, status_of
from regcred.registry.definition import BaseDefinition, split_image, split_key
from regcred.registry.excess_rights import check_reach
from regcred.registry.interface import Verdict, Verification

PATIENCE = 10.0
"""No further host is tried after this many seconds, because rotate must still write the new credential."""

_SILENT = frozenset({401, 403, 404})
_NONE = Answer(0, {}, b"")
"""The placeholder for a response when no request was made."""


class RegistryVerifier:
    """Verifies over HTTP.

    Args:
        send: Sends a request; see :func:`regcred.registry.transport.send`.
        clock: Returns the time in seconds from any starting point.
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
        worst = max(found, key=lambda item: (_SEVERITY[item.verdict], not item.login_accepted))
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
                result = Verification(Verdict.INCONCLUSIVE, detail, login_accepted=registry.login_accepted)
            if registry.login_accepted or result.verdict is not Verdict.INCONCLUSIVE:
                return result
        return result


_SEVERITY = {Verdict.CAN_PULL: 0, Verdict.INCONCLUSIVE: 1, Verdict.WIDER: 2, Verdict.REFUSED: 3}


class _HostCheck:
    """One login at one host."""

    def __init__(self, registry: RegistryClient) -> None:
        self._registry = registry

    def verify(self) -> Verification:
        """Make all checks that are possible at this host, with a pull if the definition names an image."""
        challenge = self.challenge()
        if isinstance(challenge, Verification):
            return challenge
        if not self._registry.definition.probe:
            return self.without_probe(challenge)
        return self.with_probe(challenge, *split_image(self._registry.definition.probe))

    def challenge(self) -> Challenge | Verification:
        """The challenge of the API, or of the image if the API needs no login, or else a verdict."""
        answer = self._registry.get_base()
        if (
            answer.status != HTTPStatus.UNAUTHORIZED
            and self._registry.definition.probe
            and not is_transient(answer)
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
        # Without the realm, because the realm of Basic is a text for people.
        basic = [Challenge("basic") for item in found if item.scheme == "basic"]
        if best := next(iter([*allowed, *basic]), None):
            return best
        if bearers:
            return self._registry.result(
                Verdict.INCONCLUSIVE,
                f"it sends logins to {printable(netloc(bearers[0].realm)) or 'nowhere'}, which is not "
                "allowed; if that is its token service, add it to 'realm_hosts'",
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
        if is_refusal(answer):
            return self._registry.result(Verdict.REFUSED, f"the login was refused with {status_of(answer)}")
        if answer.status != HTTPStatus.OK:
            return self._registry.unclear("trying the login", answer)
        self._registry.login_accepted = True
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
            self._registry.login_accepted = True
            return check_reach(self._registry, challenge, repository, image)
        if answer.status in _SILENT:
            # A HEAD has no body, so the reason is only in a GET. A refused GET does not count as a pull.
            answer = self._registry.manifest("GET", auth)
        if is_refusal(answer):
            return self._registry.result(
                Verdict.REFUSED, f"pulling {image} was refused with {status_of(answer)}"
            )
        if answer.status == HTTPStatus.NOT_FOUND:
            return self._registry.result(
                Verdict.INCONCLUSIVE,
                f"{image} was not found ({status_of(answer)}), which some registries also report for images "
                "that they hide; check 'probe'",
            )
        return self._registry.unclear(f"pulling {image}", answer)

    def _pulled(
        self, challenge: Challenge, repository: str
    ) -> tuple[Answer, Challenge, Basic | Bearer | Verification]:
        """Request the image. Retry once if its 401 names another token service than the API's challenge."""
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
