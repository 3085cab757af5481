"""The verification of credentials: the verdict for each answer of a registry."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import jwt
import pytest
from pydantic import SecretStr

from regcred.credential import Credential, Login
from regcred.errors import TransientError
from regcred.registry.definition import BaseDefinition
from regcred.registry.interface import Verdict, Verification
from regcred.registry.parsing import parse
from regcred.registry.transport import Answer, Basic
from regcred.registry.verify import RegistryVerifier

HOST = "registry.example.com"
PROBE = {"probe": "team/app:1"}
BASIC = {"WWW-Authenticate": 'Basic realm="x"'}


def definition(**fields: Any) -> BaseDefinition:
    return parse({"provider": "basic", "hosts": [HOST], **fields}, where="here")


def credential(*hosts: str) -> Credential:
    return Credential(
        provider="basic",
        logins=(Login("puller", SecretStr("open sesame"), hosts or (HOST,)),),
        issued_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


class Registry:
    """Answers by `METHOD URL`, and records the requests and the URLs that received the password."""

    def __init__(self, answers: dict[str, Answer | Exception]) -> None:
        self.answers = answers
        self.requests: list[str] = []
        self.trusted: list[str] = []

    def __call__(self, method: str, url: str, *, auth: Any = None, **_: Any) -> Answer:
        self.requests.append(f"{method} {url}")
        if isinstance(auth, Basic):
            self.trusted.append(url)
        answer = (
            self.answers.get(f"{method} {url}{' +auth' if auth else ''}") or self.answers[f"{method} {url}"]
        )
        if isinstance(answer, Exception):
            raise answer
        return answer


def answer(status: int, body: bytes = b"{}", **headers: str) -> Answer:
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


def basic_registry(head: Answer | Exception, **more: Answer) -> Registry:
    return Registry(
        {
            f"GET https://{HOST}/v2/": Answer(401, BASIC, b""),
            f"HEAD https://{HOST}/v2/team/app/manifests/1": head,
            f"GET https://{HOST}/v2/team/app/manifests/1": head,
            f"POST https://{HOST}/v2/team/app/blobs/uploads/": answer(403),
            **more,
        }
    )


def verified(registry: Callable[..., Answer], **fields: Any) -> Verification:
    return RegistryVerifier(registry).verify(definition(**{**PROBE, **fields}), credential())


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, Verdict.CAN_PULL),
        (401, Verdict.REFUSED),
        (403, Verdict.REFUSED),
        (404, Verdict.INCONCLUSIVE),
        (429, Verdict.INCONCLUSIVE),
        (500, Verdict.INCONCLUSIVE),
        (307, Verdict.INCONCLUSIVE),
    ],
)
def test_the_answer_for_the_manifest_decides_the_verdict(status: int, verdict: Verdict) -> None:
    assert verified(basic_registry(answer(status))).verdict is verdict


def test_an_unreachable_registry_is_inconclusive() -> None:
    verification = verified(basic_registry(TransientError("registry.example.com did not respond in time")))
    assert verification.verdict is Verdict.INCONCLUSIVE
    assert verification.detail == "registry.example.com did not respond in time"


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (401, Verdict.CAN_PULL),
        (403, Verdict.CAN_PULL),
        (404, Verdict.CAN_PULL),
        (405, Verdict.CAN_PULL),
        (429, Verdict.INCONCLUSIVE),
        (500, Verdict.INCONCLUSIVE),
    ],
)
def test_only_a_refused_upload_proves_that_the_login_cannot_push(status: int, verdict: Verdict) -> None:
    upload = f"POST https://{HOST}/v2/team/app/blobs/uploads/"
    verification = verified(basic_registry(answer(200), **{upload: answer(status)}))
    assert verification.verdict is verdict, verification.detail


class TokenService(Registry):
    """Gives a token to pull, and answers ``push`` to a request for a token to push."""

    def __init__(self, push: Answer) -> None:
        self.push = push
        header = {"WWW-Authenticate": f'Bearer realm="https://{HOST}/token",service="r"'}
        super().__init__(
            {
                f"GET https://{HOST}/v2/": Answer(401, header, b""),
                f"GET https://{HOST}/token": answer(200, b'{"token": "opaque"}'),
                f"HEAD https://{HOST}/v2/team/app/manifests/1": answer(200),
            }
        )

    def __call__(self, method: str, url: str, *, auth: Any = None, **more: Any) -> Answer:
        scopes = [value for name, value in more.get("query", ()) if name == "scope"]
        return (
            self.push
            if scopes == ["repository:team/app:pull,push"]
            else super().__call__(method, url, auth=auth)
        )


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (401, Verdict.CAN_PULL),
        (403, Verdict.CAN_PULL),
        (429, Verdict.INCONCLUSIVE),
        (503, Verdict.INCONCLUSIVE),
    ],
)
def test_only_a_refused_token_proves_that_the_login_cannot_push(status: int, verdict: Verdict) -> None:
    verification = verified(TokenService(answer(status)))
    assert verification.verdict is verdict, verification.detail


class Scoped(TokenService):
    """Gives pull tokens with an access claim, and answers ``outside`` to a request for other repositories."""

    def __init__(self, outside: Answer) -> None:
        super().__init__(
            push=answer(200, token({"type": "repository", "name": "team/app", "actions": ["pull"]}))
        )
        self.outside = outside
        self.more: list[list[str]] = []

    def __call__(self, method: str, url: str, *, auth: Any = None, **more: Any) -> Answer:
        scopes = [value for name, value in more.get("query", ()) if name == "scope"]
        if "registry:catalog:*" not in scopes:
            return super().__call__(method, url, auth=auth, **more)
        self.more.append(scopes)
        return self.outside


def token(*access: dict[str, Any]) -> bytes:
    return json.dumps({"token": jwt.encode({"access": access}, "k" * 32, algorithm="HS256")}).encode()


CATALOG = {"type": "registry", "name": "catalog", "actions": ["*"]}
OUTSIDE = {"type": "repository", "name": "regcred-not-asked-for/app", "actions": ["pull"]}


@pytest.mark.parametrize(
    ("outside", "verdict", "message"),
    [
        (answer(200, token(OUTSIDE)), Verdict.WIDER, "also grants repository:regcred-not-asked-for/app"),
        (answer(200, token(CATALOG)), Verdict.WIDER, "also grants registry:catalog"),
        (
            answer(200, token(OUTSIDE | {"actions": []})),
            Verdict.CAN_PULL,
            "outside of 'repositories' is refused",
        ),
        (answer(200, token()), Verdict.CAN_PULL, "outside of 'repositories' is refused"),
        (answer(403), Verdict.CAN_PULL, "outside of 'repositories' is refused"),
        (answer(400), Verdict.CAN_PULL, "it is unknown"),
        (answer(200, b'{"token": "opaque"}'), Verdict.CAN_PULL, "it is unknown"),
        (answer(429), Verdict.INCONCLUSIVE, "429"),
        (answer(503), Verdict.INCONCLUSIVE, "503"),
    ],
)
def test_a_token_for_more_than_the_repositories_is_wider(
    outside: Answer, verdict: Verdict, message: str
) -> None:
    registry = Scoped(outside)
    verification = verified(registry, repositories=["team/"])
    assert verification.verdict is verdict, verification.detail
    assert message in verification.detail
    assert registry.more == [["repository:regcred-not-asked-for/app:pull", "registry:catalog:*"]]


def test_the_repository_of_the_negative_test_is_outside_of_all_repositories() -> None:
    registry = Scoped(answer(200, token()))
    verified(registry, repositories=["team/", "regcred-not-asked-for/"])
    assert registry.more[0][0] == "repository:regcred-not-asked-for-x/app:pull"


def test_without_repositories_there_is_no_negative_test() -> None:
    registry = Scoped(answer(200, token(OUTSIDE)))
    assert verified(registry).verdict is Verdict.CAN_PULL
    assert registry.more == []


def test_a_registry_with_basic_auth_gets_no_negative_test() -> None:
    verification = verified(basic_registry(answer(200)), repositories=["team/"])
    assert verification.verdict is Verdict.CAN_PULL
    assert "it is unknown" in verification.detail


def test_an_accepted_upload_is_cancelled_and_means_push() -> None:
    upload = f"https://{HOST}/v2/team/app/blobs/uploads/7"
    registry = basic_registry(
        answer(200),
        **{
            f"POST https://{HOST}/v2/team/app/blobs/uploads/": answer(
                202, Location="/v2/team/app/blobs/uploads/7"
            ),
            f"DELETE {upload}": answer(204),
        },
    )
    assert verified(registry).verdict is Verdict.WIDER
    assert registry.requests[-1] == f"DELETE {upload}"


def test_an_upload_at_another_host_gets_no_password() -> None:
    registry = basic_registry(
        answer(200),
        **{
            f"POST https://{HOST}/v2/team/app/blobs/uploads/": answer(
                202, Location="https://evil.example.net/u/7"
            )
        },
    )
    assert verified(registry).verdict is Verdict.WIDER
    assert not [url for url in registry.trusted if HOST not in url]


def test_a_realm_at_another_host_gets_no_password() -> None:
    header = {"WWW-Authenticate": 'Bearer realm="https://evil.example.net/token",service="r"'}
    registry = Registry({f"GET https://{HOST}/v2/": Answer(401, header, b"")})
    verification = verified(registry)
    assert verification.verdict is Verdict.INCONCLUSIVE
    assert "evil.example.net" in verification.detail
    assert "realm_hosts" in verification.detail
    assert registry.trusted == []


@pytest.mark.parametrize(
    "realm", [f"https://{HOST}.evil.example.net/t", f"https://{HOST}@evil.example.net/t", "//x", ""]
)
def test_a_realm_with_a_similar_host_gets_no_password(realm: str) -> None:
    header = {"WWW-Authenticate": f'Bearer realm="{realm}",service="r"'}
    registry = Registry({f"GET https://{HOST}/v2/": Answer(401, header, b"")})
    assert verified(registry).verdict is Verdict.INCONCLUSIVE
    assert registry.trusted == []


def test_without_a_probe_a_wrong_login_is_still_refused() -> None:
    registry = Registry({f"GET https://{HOST}/v2/": Answer(401, BASIC, b"")})
    assert verified(registry, probe="").verdict is Verdict.REFUSED


def test_without_a_probe_a_right_login_is_inconclusive_and_the_detail_names_the_remedy() -> None:
    url = f"GET https://{HOST}/v2/"
    verification = verified(Registry({url: Answer(401, BASIC, b""), f"{url} +auth": answer(200)}), probe="")
    assert verification.verdict is Verdict.INCONCLUSIVE
    assert "'probe'" in verification.detail


def test_a_registry_without_authentication_is_inconclusive() -> None:
    verification = verified(Registry({f"GET https://{HOST}/v2/": answer(200)}), probe="")
    assert verification.verdict is Verdict.INCONCLUSIVE
    assert "'probe'" in verification.detail


def test_an_unreachable_alias_does_not_hide_the_answer_of_another() -> None:
    registry = basic_registry(answer(200))
    registry.answers["GET https://alias.example.com/v2/"] = TransientError(
        "alias.example.com can't be reached"
    )
    both = credential("alias.example.com/team/", f"{HOST}/team/")
    assert RegistryVerifier(registry).verify(definition(**PROBE), both).verdict is Verdict.CAN_PULL


def test_one_refused_login_of_several_refuses_the_whole() -> None:
    good = credential()
    both = Credential(
        provider="basic",
        logins=(*good.logins, Login("puller", SecretStr("open sesame"), ("other.example.com",))),
        issued_at=good.issued_at,
    )
    registry = basic_registry(answer(200))
    registry.answers |= {
        "GET https://other.example.com/v2/": Answer(401, BASIC, b""),
        "HEAD https://other.example.com/v2/team/app/manifests/1": answer(403),
        "GET https://other.example.com/v2/team/app/manifests/1": answer(403),
    }
    verification = RegistryVerifier(registry).verify(definition(**PROBE), both)
    assert verification.verdict is Verdict.REFUSED
    assert "other.example.com" in verification.detail


def test_many_unreachable_hosts_are_inconclusive_before_the_function_times_out() -> None:
    """Five regions with four host names each, in a network without a route: each connection fails after 5
    s."""
    clock = [0.0]

    def send(*_: object, **__: object) -> Answer:
        clock[0] += 5
        raise TransientError("no connection")

    logins = tuple(
        Login("AWS", SecretStr("t"), tuple(f"h{kind}.r{region}.example.com" for kind in range(4)))
        for region in range(5)
    )
    many = Credential(provider="ecr", logins=logins, issued_at=credential().issued_at)
    verification = RegistryVerifier(send, clock=lambda: clock[0]).verify(definition(**PROBE), many)
    assert verification.verdict is Verdict.INCONCLUSIVE
    assert clock[0] <= 15


def test_a_registry_on_localhost_is_called_without_tls() -> None:
    registry = Registry({"GET http://127.0.0.1:5000/v2/": answer(200)})
    RegistryVerifier(registry).verify(definition(), credential("127.0.0.1:5000"))
    assert registry.requests == ["GET http://127.0.0.1:5000/v2/"]


def test_docker_hub_is_called_at_its_api_host() -> None:
    registry = Registry({"GET https://registry-1.docker.io/v2/": answer(200)})
    RegistryVerifier(registry).verify(definition(), credential("index.docker.io/v1/", "docker.io"))
    assert set(registry.requests) == {"GET https://registry-1.docker.io/v2/"}


MANIFEST = f"https://{HOST}/v2/team/app/manifests/1"
TOKEN = f'Bearer realm="https://{HOST}/token",service="r"'
"""A challenge for a token of the registry's own service."""


@pytest.mark.parametrize(
    "header",
    [
        f'Negotiate, Basic realm="x", {TOKEN}',
        f'Basic realm="x", {TOKEN}',
        f'{TOKEN}, Basic realm="x"',
        f'Bearer realm="https://evil.example.net/token",service="r", {TOKEN}',
        f'Bearer realm = "https://{HOST}/token" , service = "r"',
        f'Digest realm="a, Basic", nonce="\\"", {TOKEN}',
    ],
)
def test_the_best_supported_challenge_is_used(header: str) -> None:
    service = TokenService(answer(403))
    service.answers[f"GET https://{HOST}/v2/"] = Answer(401, {"WWW-Authenticate": header}, b"")
    verification = verified(service)
    assert verification.verdict is Verdict.CAN_PULL, verification.detail
    assert set(service.trusted) == {f"https://{HOST}/token"}


@pytest.mark.parametrize(
    "header",
    [
        'Negotiate, Basic realm="x"',
        "NTLM, basic",
        'Bearer realm="https://evil.example.net/token", Basic realm="x"',
        'Bearer, Basic realm="x"',
    ],
)
def test_basic_is_used_if_no_token_service_is_usable(header: str) -> None:
    registry = basic_registry(answer(200))
    registry.answers[f"GET https://{HOST}/v2/"] = Answer(401, {"WWW-Authenticate": header}, b"")
    assert verified(registry).verdict is Verdict.CAN_PULL
    assert all(HOST in url for url in registry.trusted)


@pytest.mark.parametrize("base", [200, 403, 404])
def test_if_the_base_path_needs_no_login_the_image_decides(base: int) -> None:
    registry = basic_registry(Answer(401, BASIC, b""), **{f"HEAD {MANIFEST} +auth": answer(200)})
    registry.answers[f"GET https://{HOST}/v2/"] = answer(base)
    assert verified(registry).verdict is Verdict.CAN_PULL
    registry.answers[f"HEAD {MANIFEST} +auth"] = registry.answers[f"GET {MANIFEST}"] = answer(403)
    assert verified(registry).verdict is Verdict.REFUSED


def test_a_public_image_is_inconclusive() -> None:
    registry = basic_registry(answer(200))
    registry.answers[f"GET https://{HOST}/v2/"] = answer(200)
    verification = verified(registry)
    assert verification.verdict is Verdict.INCONCLUSIVE
    assert "can be pulled without a login" in verification.detail


def test_an_image_with_another_challenge_is_tried_with_that_challenge() -> None:
    service = TokenService(answer(403))
    service.answers[f"GET https://{HOST}/v2/"] = Answer(401, BASIC, b"")
    bearer_only = Answer(401, {"WWW-Authenticate": TOKEN}, b"")

    def send(method: str, url: str, *, auth: Any = None, **more: Any) -> Answer:
        if url == MANIFEST and isinstance(auth, Basic):
            return bearer_only
        return service(method, url, auth=auth, **more)

    verification = verified(send)
    assert verification.verdict is Verdict.CAN_PULL, verification.detail


def test_an_image_with_the_same_challenge_again_is_refused() -> None:
    service = TokenService(answer(403))
    refused = Answer(401, {"WWW-Authenticate": f'{TOKEN},error="insufficient_scope"'}, b"")
    service.answers[f"HEAD {MANIFEST}"] = service.answers[f"GET {MANIFEST}"] = refused
    assert verified(service).verdict is Verdict.REFUSED


def oci(code: str) -> bytes:
    return json.dumps({"errors": [{"code": code, "message": "a text\x1b[2J"}]}).encode()


@pytest.mark.parametrize(
    ("refusal", "verdict", "message"),
    [
        (Answer(401, {}, oci("UNAUTHORIZED")), Verdict.REFUSED, "401 UNAUTHORIZED"),
        (Answer(403, {}, oci("DENIED")), Verdict.REFUSED, "403 DENIED"),
        (Answer(401, {"Content-Type": "text/html"}, b"<html>"), Verdict.REFUSED, "401"),
        (
            Answer(403, {"Content-Type": "text/html; charset=utf-8"}, b"<html>"),
            Verdict.INCONCLUSIVE,
            "firewall",
        ),
        (Answer(403, {}, oci("TOOMANYREQUESTS")), Verdict.INCONCLUSIVE, "rate limit"),
        (Answer(401, {}, oci("TOOMANYREQUESTS")), Verdict.INCONCLUSIVE, "rate limit"),
        (Answer(403, {"Retry-After": "60"}, b""), Verdict.INCONCLUSIVE, "rate limit"),
        (Answer(404, {}, oci("NAME_UNKNOWN")), Verdict.INCONCLUSIVE, "404 NAME_UNKNOWN"),
        (Answer(404, {}, oci("MANIFEST_UNKNOWN")), Verdict.INCONCLUSIVE, "404 MANIFEST_UNKNOWN"),
    ],
)
def test_the_error_code_in_the_body_decides_and_is_reported(
    refusal: Answer, verdict: Verdict, message: str
) -> None:
    registry = basic_registry(Answer(refusal.status, {}, b""), **{f"GET {MANIFEST}": refusal})
    verification = verified(registry)
    assert verification.verdict is verdict, verification.detail
    assert message in verification.detail
    assert "\x1b" not in verification.detail


@pytest.mark.parametrize(
    ("refusal", "verdict"),
    [
        (Answer(403, {}, oci("TOOMANYREQUESTS")), Verdict.INCONCLUSIVE),
        (Answer(403, {"Content-Type": "text/html"}, b"<html>"), Verdict.INCONCLUSIVE),
        (Answer(401, {}, oci("UNAUTHORIZED")), Verdict.REFUSED),
    ],
)
def test_the_error_code_of_a_token_service_decides_too(refusal: Answer, verdict: Verdict) -> None:
    service = TokenService(answer(403))
    service.answers[f"GET https://{HOST}/token"] = refusal
    assert verified(service).verdict is verdict


@pytest.mark.parametrize("realm", ["https://[x/t", "https://]", f"https://[{HOST}]/t"])
def test_a_malformed_realm_is_inconclusive(realm: str) -> None:
    header = {"WWW-Authenticate": f'Bearer realm="{realm}",service="r"'}
    registry = Registry({f"GET https://{HOST}/v2/": Answer(401, header, b"")})
    assert verified(registry).verdict is Verdict.INCONCLUSIVE
    assert registry.trusted == []


def test_a_realm_in_capital_letters_names_the_same_host() -> None:
    service = TokenService(answer(403))
    header = {"WWW-Authenticate": f'Bearer realm="https://{HOST.upper()}/token"'}
    service.answers[f"GET https://{HOST}/v2/"] = Answer(401, header, b"")
    service.answers[f"GET https://{HOST.upper()}/token"] = answer(200, b'{"token": "opaque"}')
    assert verified(service).verdict is Verdict.CAN_PULL


def test_an_accepted_upload_with_a_malformed_location_means_push() -> None:
    upload = f"POST https://{HOST}/v2/team/app/blobs/uploads/"
    registry = basic_registry(answer(200), **{upload: answer(202, Location="https://[x/")})
    assert verified(registry).verdict is Verdict.WIDER


def test_a_token_whose_actions_are_not_a_list_grants_nothing() -> None:
    odd = answer(200, token({"type": "repository", "name": "team/app", "actions": 5}))
    assert verified(TokenService(odd)).verdict is Verdict.CAN_PULL


def test_a_deeply_nested_answer_is_inconclusive() -> None:
    service = TokenService(answer(403))
    service.answers[f"GET https://{HOST}/token"] = answer(200, b"[" * 100_000)
    assert verified(service).verdict is Verdict.INCONCLUSIVE
