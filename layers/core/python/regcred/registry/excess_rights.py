"""Checks whether a login that pulls an image has more rights: to push it, or to pull other repositories."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus

from pydantic import SecretStr

from regcred.registry.authorization import Basic, Bearer
from regcred.registry.challenges import Challenge
from regcred.registry.client import RegistryClient, is_refusal, is_transient
from regcred.registry.interface import Verdict, Verification
from regcred.registry.token_expiry import claims

_NO_UPLOAD = frozenset({401, 403, 404, 405})
"""The statuses that refuse an upload. Some registries answer 404 to logins without push rights, even if the
login can pull the repository."""
_WIDER = frozenset({"push", "delete", "*"})
_OUTSIDE = "regcred-not-asked-for"
_CATALOG = ("registry", "catalog", "*")
_REACH_UNKNOWN = "it is unknown whether it reaches more than 'repositories'"


def check_reach(registry: RegistryClient, challenge: Challenge, repository: str, image: str) -> Verification:
    """Check whether the login may also push, by the claims of its token.

    If the token is opaque, an upload is started and cancelled.
    """
    auth = registry.authorize(challenge, repository, "pull,push")
    if isinstance(auth, Verification):
        if auth.verdict is Verdict.REFUSED:
            return _scope(registry, challenge, f"{image} can be pulled; a token to push was refused")
        return Verification(
            auth.verdict,
            f"{auth.detail}, so it is unknown whether {image} can also be pushed",
            login_accepted=registry.login_accepted,
        )
    granted = _granted(auth.token, "repository", repository) if isinstance(auth, Bearer) else None
    if granted is not None:
        wider = sorted(granted & _WIDER)
        if wider:
            return registry.result(
                Verdict.WIDER,
                f"{image} can be pulled, but the token also grants {', '.join(wider)}",
            )
        return _scope(registry, challenge, f"{image} can be pulled; push is not granted")
    return _upload(registry, auth, repository, image)


def _upload(registry: RegistryClient, auth: Basic | Bearer, repository: str, image: str) -> Verification:
    answer = registry.begin_upload(auth, repository)
    if answer.status in {201, 202}:
        return registry.result(
            Verdict.WIDER,
            f"{image} can be pulled, but also pushed: an upload could be started (it was cancelled)",
        )
    if answer.status in _NO_UPLOAD and not is_transient(answer):
        unknown_reach = f"; {_REACH_UNKNOWN}" if registry.definition.limits() else ""
        return registry.result(
            Verdict.CAN_PULL, f"{image} can be pulled; an upload was refused{unknown_reach}"
        )
    return registry.result(
        Verdict.INCONCLUSIVE,
        f"{image} can be pulled, but it is unknown whether it can also be pushed: an upload returned "
        f"{answer.status}",
    )


def _scope(registry: RegistryClient, challenge: Challenge, found: str) -> Verification:
    """Check whether the login reaches more than the definition's repositories, by requesting a wider token.

    A grant for a repository that does not exist reveals a login for the whole registry. A login for a few
    other repositories stays undetected. If the definition names no repositories, there is no check.
    """
    limits = registry.definition.limits()
    if not limits:
        return registry.result(Verdict.CAN_PULL, found)
    scopes = (("repository", _outside(limits), "pull"), _CATALOG)
    answer = registry.token_answer(challenge, tuple(("scope", ":".join(scope)) for scope in scopes))
    if is_refusal(answer):
        return registry.result(
            Verdict.CAN_PULL, f"{found}; a token for a repository outside of 'repositories' is refused"
        )
    if is_transient(answer):
        return registry.result(
            Verdict.INCONCLUSIVE,
            f"{found}; {_REACH_UNKNOWN}: the token service returned {answer.status}",
        )
    token = registry.token(answer) if answer.status == HTTPStatus.OK else None
    granted = {name: _granted(token, kind, name) if token else None for kind, name, _ in scopes}
    if None in granted.values():
        return registry.result(Verdict.CAN_PULL, f"{found}; {_REACH_UNKNOWN}")
    wider = [f"{kind}:{name}" for kind, name, _ in scopes if granted[name]]
    if wider:
        return registry.result(
            Verdict.WIDER,
            f"{found}, but the token also grants {' and '.join(wider)}, outside of 'repositories'",
        )
    return registry.result(
        Verdict.CAN_PULL, f"{found}; a token for a repository outside of 'repositories' is refused"
    )


def _outside(scopes: Iterable[str]) -> str:
    """A repository outside of these repositories and prefixes, with a different first path component."""
    taken = {scope.partition("/")[0] for scope in scopes}
    name = _OUTSIDE
    while name in taken:
        name += "-x"
    return f"{name}/app"


def _granted(token: SecretStr, kind: str, name: str) -> frozenset[str] | None:
    """The actions on a resource in a token's own claims, or None if the token is opaque."""
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
