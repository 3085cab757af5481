"""The client of the Kubernetes API against a server that fails: outages, throttling, denials and proxies."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio.client import Configuration
from pydantic import SecretStr

from regcred.cluster.dockerconfig import secret_body
from regcred.cluster.error_responses import wait_of
from regcred.cluster.interface import DeniedError, ExpiredError, NameTakenError, SilentError, ThrottledError
from regcred.cluster.kube import Kube
from regcred.cluster.model import NAMESPACE, POD, WORKLOADS, PullSecretList
from regcred.cluster.object_parser import ObjectParser
from regcred.cluster.session import KubeSession
from regcred.errors import ConflictError, MissingError, RefusedError, RegcredError, TransientError
from regcred.registry_reference import Reference

REF = Reference("payments", "ecr-prod")
BODY = secret_body(REF, SecretStr('{"auths":{"r":{"auth":"TOPSECRET"}}}'), version=1, expires_at=None)
DEPLOYMENT = WORKLOADS[0]
Handler = Callable[[web.Request], Any]


class Server:
    """Answers from the queue ``answers``, and keeps the requests in ``requests``."""

    def __init__(self) -> None:
        self.answers: list[Handler | tuple[int, Any]] = []
        self.requests: list[web.Request] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        await request.read()
        self.requests.append(request)
        answer = self.answers.pop(0)
        if callable(answer):
            return await answer(request)
        status, body = answer
        return web.json_response(body, status=status)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield server
    await runner.cleanup()


@pytest.fixture
async def kube(server: Server) -> AsyncIterator[Kube]:
    configuration = Configuration(host=server.url)
    configuration.api_key["BearerToken"] = "bearer one"
    session = KubeSession(configuration)
    yield Kube(session, ObjectParser(WORKLOADS), instance="test", silence=0.2)
    await session.close()


def failure(
    status: int,
    message: str = "",
    reason: str = "",
    *,
    causes: Sequence[str] = (),
    fields: Sequence[str] = (),
    about: str = "",
) -> tuple[int, dict[str, Any]]:
    found = [{"reason": cause} for cause in causes] + [
        {"field": field, "reason": "FieldValueInvalid"} for field in fields
    ]
    return status, {
        "details": {"kind": about, "causes": found},
        "kind": "Status",
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": status,
    }


def policy_denial(message: str, reason: str = "Invalid") -> tuple[int, dict[str, Any]]:
    """A policy's denial, whose only cause has a message and nothing else.

    Source: k8s.io/apiserver, pkg/admission/plugin/policy/validating/dispatcher.go.
    """
    status, body = failure(403 if reason == "Forbidden" else 422, message, reason, about="secrets")
    body["details"]["causes"] = [{"message": message}]
    return status, body


EXISTS = failure(409, "it exists", "AlreadyExists", about="secrets")


def page(*names: str, token: str = "", version: str = "7") -> tuple[int, dict[str, Any]]:
    items = [
        {
            "metadata": {
                "name": name,
                "namespace": "shop",
                "uid": name,
                "annotations": {"registry.regcred.dev/x": str(REF)},
            }
        }
        for name in names
    ]
    return 200, {"metadata": {"resourceVersion": version, "continue": token}, "items": items}


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, RefusedError),
        (403, RefusedError),
        (404, MissingError),
        (409, ConflictError),
        (429, TransientError),
        (500, TransientError),
        (503, TransientError),
        (504, TransientError),
    ],
)
async def test_each_status_becomes_its_type_of_error(
    kube: Kube, server: Server, status: int, error: type[RegcredError]
) -> None:
    server.answers = [failure(status, "why")]
    with pytest.raises(error, match=f"answered {status} to GET /api/v1/namespaces"):
        await kube.list(NAMESPACE)


async def test_a_throttled_call_carries_the_time_to_wait(kube: Kube, server: Server) -> None:
    async def throttled(_: web.Request) -> web.Response:
        return web.json_response({}, status=429, headers={"Retry-After": "3"})

    for call in (
        lambda: kube.list(NAMESPACE),
        lambda: collect(kube),
        lambda: anext(kube.missing_secret_events()),
    ):
        server.answers = [throttled]
        with pytest.raises(TransientError) as raised:
            await call()
        assert raised.value.retry_after == timedelta(seconds=3)


async def test_an_error_does_not_repeat_the_page_of_a_proxy(kube: Kube, server: Server) -> None:
    async def proxy(_: web.Request) -> web.Response:
        return web.Response(text="<html>TOPSECRET</html>", status=502)

    server.answers = [proxy]
    with pytest.raises(TransientError) as raised:
        await kube.list(NAMESPACE)
    assert "TOPSECRET" not in str(raised.value)


async def test_an_answer_that_is_not_json_is_reported(kube: Kube, server: Server) -> None:
    async def welcome(_: web.Request) -> web.Response:
        return web.Response(text="welcome")

    server.answers = [welcome]
    with pytest.raises(TransientError, match="is this a Kubernetes API server"):
        await kube.list(NAMESPACE)


async def test_no_connection_is_transient(kube: Kube) -> None:
    kube._session._base = "http://127.0.0.1:1"
    with pytest.raises(TransientError, match="can't be reached"):
        await kube.list(NAMESPACE)


async def test_a_long_list_is_read_in_pages(kube: Kube, server: Server) -> None:
    server.answers = [page("a", token="next=="), page("b", version="9")]
    listing = await kube.list(DEPLOYMENT)
    assert [item.name for item in listing.items] == ["a", "b"]
    assert (listing.resource_version, listing.requests) == ("9", 2)
    assert [request.query.get("continue") for request in server.requests] == [None, "next=="]
    assert {request.query["limit"] for request in server.requests} == {"500"}


async def test_a_list_that_expires_between_two_pages_starts_again(kube: Kube, server: Server) -> None:
    server.answers = [page("a", token="t"), failure(410, reason="Expired"), page("a"), page("never")]
    listing = await kube.list(DEPLOYMENT)
    assert [item.name for item in listing.items] == ["a"]


async def test_a_list_that_expires_each_time_ends_with_an_error(kube: Kube, server: Server) -> None:
    server.answers = [failure(410)] * 4
    with pytest.raises(TransientError, match="kept expiring"):
        await kube.list(DEPLOYMENT)


async def test_pods_are_read_as_metadata_and_only_unfinished_ones(kube: Kube, server: Server) -> None:
    server.answers = [page("a")]
    await kube.list(POD)
    [request] = server.requests
    assert "PartialObjectMetadataList" in request.headers["Accept"]
    assert request.query["fieldSelector"] == "status.phase!=Succeeded,status.phase!=Failed"


# Watches


def stream(*lines: dict[str, Any] | bytes, hold: float = 0.0) -> Handler:
    async def send(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for line in lines:
            await response.write(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n")
            await asyncio.sleep(0.01)
        await asyncio.sleep(hold)
        return response

    return send


def added(name: str, version: str, **annotations: str) -> dict[str, Any]:
    metadata = {
        "name": name,
        "namespace": "shop",
        "uid": "u",
        "resourceVersion": version,
        "annotations": annotations,
    }
    return {"type": "ADDED", "object": {"metadata": metadata}}


async def collect(kube: Kube, **how: Any) -> list[tuple[str, str]]:
    return [
        (change.name, change.resource_version)
        async for change in kube.watch(DEPLOYMENT, "5", **({"labelled": False} | how))
    ]


async def test_a_watch_ends_when_the_server_ends_it_and_bookmarks_advance_its_version(
    kube: Kube, server: Server
) -> None:
    bookmark = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "9"}}}
    server.answers = [stream(added("a", "6"), bookmark)]
    assert await collect(kube) == [("a", "6"), ("", "9")]
    [request] = server.requests
    assert request.query["resourceVersion"] == "5"
    assert request.query["allowWatchBookmarks"] == "true"


async def test_a_watch_reads_an_event_in_two_pieces_and_two_events_in_one_piece(
    kube: Kube, server: Server
) -> None:
    text = json.dumps(added("a", "6")).encode()
    two = json.dumps(added("b", "7")).encode() + b"\n" + json.dumps(added("c", "8")).encode() + b"\n"
    server.answers = [stream(text[:20], text[20:] + b"\n" + two)]
    assert await collect(kube) == [("a", "6"), ("b", "7"), ("c", "8")]


async def test_a_watch_event_of_3_megabytes_is_read(kube: Kube, server: Server) -> None:
    big = added("a", "6", note="x" * 3_000_000)
    server.answers = [stream(big)]
    assert await collect(kube) == [("a", "6")]


async def test_a_watch_without_events_ends_with_an_error(kube: Kube, server: Server) -> None:
    server.answers = [stream(added("a", "6"), hold=2)]
    with pytest.raises(SilentError, match="sent nothing"):
        await collect(kube)


@pytest.mark.parametrize(
    "answer",
    [
        failure(410),
        stream({"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired"}}),
    ],
)
async def test_an_expired_watch_ends_with_its_own_error(kube: Kube, server: Server, answer: Any) -> None:
    server.answers = [answer]
    with pytest.raises(ExpiredError):
        await collect(kube)


@pytest.mark.parametrize(
    "lines",
    [
        [{"type": "ERROR", "object": {"kind": "Status", "code": 500, "reason": "InternalError"}}],
        [b'{"type": "ADDED", "object"\n'],
        [b"[]\n"],
        [{"object": {}}],
        [{"type": "ADDED", "object": {}}],
        [{"type": "ADDED", "object": 5}],
    ],
)
async def test_a_broken_event_ends_the_watch_with_a_transient_error(
    kube: Kube, server: Server, lines: list[Any]
) -> None:
    server.answers = [stream(*lines)]
    with pytest.raises(TransientError):
        await collect(kube)


async def test_a_labelled_object_without_a_reference_is_read_whole_once(kube: Kube, server: Server) -> None:
    whole = {
        "metadata": {
            "name": "a",
            "namespace": "shop",
            "uid": "u",
            "labels": {"regcred.dev/annotated": "true"},
        },
        "spec": {"template": {"metadata": {"annotations": {"registry.regcred.dev/x": "a/b/c"}}, "spec": {}}},
    }
    server.answers = [stream(added("a", "6")), (200, whole)]
    changes = [change async for change in kube.watch(DEPLOYMENT, "5", labelled=True)]
    assert changes[0].item.malformed
    assert server.requests[0].query["labelSelector"] == "regcred.dev/annotated=true"
    assert server.requests[1].path == "/apis/apps/v1/namespaces/shop/deployments/a"


async def test_a_deeply_nested_object_is_read_and_only_its_pull_secrets_are_written(
    kube: Kube, server: Server
) -> None:
    deep = '{"f:a":' * 9_000 + "{}" + "}" * 9_000
    account = {"metadata": {"name": "robot", "resourceVersion": "1", "managedFields": [{"fieldsV1": "DEEP"}]}}

    async def nested(_: web.Request) -> web.Response:
        text = json.dumps(account).replace('"DEEP"', deep)
        return web.Response(text=text, content_type="application/json")

    server.answers = [nested, (200, {})]
    assert await kube.set_pull_secrets("shop", "robot", add=(REF.secret_name,), remove=())
    written = await server.requests[-1].json()
    assert written == {
        "metadata": {"resourceVersion": "1"},
        "imagePullSecrets": [{"name": REF.secret_name}],
    }


# Secrets


POLICY = "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no"


async def test_a_change_that_our_policy_denies_is_a_name_clash(kube: Kube, server: Server) -> None:
    server.answers = [EXISTS, policy_denial(POLICY), EXISTS, policy_denial(POLICY)]
    with pytest.raises(NameTakenError):
        await kube.apply_secret("shop", BODY, first=True)
    assert [request.method for request in server.requests] == ["POST", "PUT", "POST", "DELETE"]
    assert all("dryRun=All" in request.query_string for request in server.requests[1:])


WEBHOOK = failure(403, 'admission webhook "w" denied the request: frozen', "Forbidden")
RBAC = failure(
    403, 'secrets "x" is forbidden: User "sync" cannot update: frozen', "Forbidden", about="secrets"
)


@pytest.mark.parametrize("denial", [WEBHOOK, RBAC], ids=["webhook", "rbac"])
async def test_a_change_and_a_deletion_that_no_policy_denies_are_not_a_name_clash(
    kube: Kube, server: Server, denial: Any
) -> None:
    for first in (True, False):
        server.answers = [EXISTS, denial, EXISTS, denial] if first else [denial, EXISTS, denial]
        with pytest.raises(DeniedError, match="frozen"):
            await kube.apply_secret("shop", BODY, first=first)
    for placed in (True, False):
        server.answers = [denial, EXISTS, denial, denial]
        with pytest.raises(DeniedError, match="frozen"):
            await kube.delete_secret("shop", REF, placed=placed)


async def test_another_policy_that_freezes_all_secrets_does_not_cause_a_name_clash_for_a_placed_secret(
    kube: Kube, server: Server
) -> None:
    """Its denial has the same form as our policy's. The ledger must keep the Secret, or sync would never
    remove it."""
    denial = policy_denial("ValidatingAdmissionPolicy 'theirs' with binding 'b' denied request: frozen")
    server.answers = [denial, EXISTS, denial]
    with pytest.raises(DeniedError, match="frozen"):
        await kube.apply_secret("shop", BODY, first=False)
    server.answers = [denial, EXISTS, denial, denial]
    with pytest.raises(DeniedError, match="frozen"):
        await kube.delete_secret("shop", REF, placed=True)


@pytest.mark.parametrize("placed", [True, False])
async def test_a_webhook_that_denies_the_deletion_of_an_immutable_secret_causes_no_name_clash(
    kube: Kube, server: Server, *, placed: bool
) -> None:
    server.answers = [failure(422, "", "Invalid", fields=["immutable"]), WEBHOOK]
    with pytest.raises(DeniedError, match="frozen"):
        await kube.delete_secret("shop", REF, placed=placed)
    server.answers = [failure(422, "", "Invalid", fields=["immutable"]), WEBHOOK]
    with pytest.raises(DeniedError, match="frozen"):
        await kube.apply_secret("shop", BODY, first=False)


async def test_a_secret_of_another_type_is_a_name_clash(kube: Kube, server: Server) -> None:
    server.answers = [failure(422, "Invalid value", "Invalid", fields=["type"])]
    with pytest.raises(NameTakenError):
        await kube.apply_secret("shop", BODY, first=False)


@pytest.mark.parametrize(
    ("status", "reason"),
    [(400, "BadRequest"), (403, "Forbidden"), (404, "NotFound"), (413, ""), (422, "Invalid")],
)
@pytest.mark.parametrize("first", [True, False])
async def test_a_denial_carries_the_text_of_the_webhook_or_policy(
    kube: Kube, server: Server, status: int, reason: str, *, first: bool
) -> None:
    words = 'admission webhook "w" denied the request:\x1b[31m add the label team'
    denial = failure(status, words, reason)
    server.answers = [denial] if first else [denial, denial]
    with pytest.raises(DeniedError) as raised:
        await kube.apply_secret("shop", BODY, first=first)
    assert raised.value.words == 'admission webhook "w" denied the request: [31m add the label team'


@pytest.mark.parametrize(("status", "reason"), [(409, "AlreadyExists"), (409, "Conflict"), (404, "NotFound")])
async def test_a_webhooks_denial_with_status_404_or_409_is_still_a_denial(
    kube: Kube, server: Server, status: int, reason: str
) -> None:
    """The API server's own 404 and 409 name the kind of the object; a webhook's answer has no details."""
    denial = failure(status, "add the label team", reason)
    server.answers = [denial]
    with pytest.raises(DeniedError, match="add the label team"):
        await kube.apply_secret("shop", BODY, first=True)
    server.answers = [denial, denial]
    with pytest.raises(DeniedError):
        await kube.apply_secret("shop", BODY, first=False)


@pytest.mark.parametrize(
    ("status", "reason"),
    [(400, "BadRequest"), (403, "Forbidden"), (404, "NotFound"), (409, "AlreadyExists"), (409, "Conflict")],
)
async def test_a_webhook_that_denies_every_call_does_not_remove_a_placed_secret_from_the_ledger(
    kube: Kube, server: Server, status: int, reason: str
) -> None:
    """The error is neither NameTakenError nor MissingError: the ledger must keep the Secret, or sync would
    never remove it."""
    denial = failure(status, "frozen", reason)
    server.answers = [denial] * 4
    with pytest.raises(DeniedError, match="frozen"):
        await kube.delete_secret("shop", REF, placed=True)


async def test_a_webhook_that_denies_only_the_deletion_is_a_denial(kube: Kube, server: Server) -> None:
    immutable = failure(422, "", "Invalid", fields=["immutable"])
    server.answers = [immutable, failure(403, "frozen", "Forbidden")]
    with pytest.raises(DeniedError, match="frozen"):
        await kube.delete_secret("shop", REF, placed=True)


async def test_a_webhook_that_denies_only_changes_causes_no_name_clash(kube: Kube, server: Server) -> None:
    gone = (200, {"kind": "Status", "details": {"uid": "u-1"}})
    server.answers = [failure(403, "changes are frozen", "Forbidden"), EXISTS, gone]
    with pytest.raises(DeniedError, match="changes are frozen"):
        await kube.apply_secret("shop", BODY, first=False)


@pytest.mark.parametrize("reason", ["Conflict", "", "Unknown"])
async def test_a_conflict_about_another_object_is_transient(kube: Kube, server: Server, reason: str) -> None:
    words = 'Operation cannot be fulfilled on resourcequotas "q"'
    server.answers = [failure(409, words, reason, about="resourcequotas")]
    with pytest.raises(TransientError, match="409"):
        await kube.apply_secret("shop", BODY, first=True)
    assert [request.method for request in server.requests] == ["POST"], (
        "the client does not treat it as a Secret that exists"
    )


@pytest.mark.parametrize(("status", "reason"), [(401, "Unauthorized")])
async def test_a_failed_sign_in_is_not_a_denial_of_the_secret(
    kube: Kube, server: Server, status: int, reason: str
) -> None:
    server.answers = [failure(status, "who?", reason)]
    with pytest.raises(RefusedError) as raised:
        await kube.apply_secret("shop", BODY, first=False)
    assert not isinstance(raised.value, DeniedError)


@pytest.mark.parametrize(
    "answer",
    [
        failure(403, "the namespace ends", "Forbidden", causes=["NamespaceTerminating"]),
        failure(404, 'namespaces "shop" not found', "NotFound", about="namespaces"),
    ],
)
async def test_a_missing_or_terminating_namespace_is_reported_as_missing(
    kube: Kube, server: Server, answer: Any
) -> None:
    server.answers = [answer]
    with pytest.raises(MissingError):
        await kube.apply_secret("shop", BODY, first=True)


@pytest.mark.parametrize("fields", [["immutable"], ["data"], ["immutable", "data"]])
async def test_an_immutable_secret_of_ours_is_deleted_and_created_again(
    kube: Kube, server: Server, fields: list[str]
) -> None:
    tried = (200, {"kind": "Status", "details": {"uid": "u-1"}})
    server.answers = [failure(422, "", "Invalid", fields=fields), tried, (200, {}), (201, {"metadata": {}})]
    await kube.apply_secret("shop", BODY, first=False)
    assert [request.method for request in server.requests] == ["PUT", "DELETE", "DELETE", "POST"]


@pytest.mark.parametrize(
    "refusal",
    [failure(422, "", "Invalid", fields=["immutable"]), failure(403, "labels are missing", "Forbidden")],
)
async def test_a_secret_that_cannot_be_changed_is_deleted_only_if_we_placed_it(
    kube: Kube, server: Server, refusal: Any
) -> None:
    tried = (200, {"kind": "Status", "details": {"uid": "u-1"}})
    create = [] if refusal[0] == 422 else [refusal]
    server.answers = [refusal, *create, tried, (200, {})]
    await kube.delete_secret("shop", REF, placed=True)
    assert server.requests[-1].method == "DELETE"
    server.answers = [refusal, *create, *([tried] if refusal[0] == 422 else [])]
    with pytest.raises(DeniedError) as raised:
        await kube.delete_secret("shop", REF, placed=False)
    assert raised.value.words, "the error carries the text of the denial"


@pytest.mark.parametrize("part", ["TOPSECRET", "eyJhdXRocyI6eyJyIjp7ImF1dGgiOiJUT1BTRUNSRVQifX19"[8:30]])
async def test_an_error_does_not_repeat_a_part_of_the_secret(kube: Kube, server: Server, part: str) -> None:
    for status in (400, 403, 409, 422, 500):
        server.answers = [failure(status, f"you sent {part}!", "Whatever")] * 2
        with pytest.raises(RegcredError) as raised:
            await kube.apply_secret("shop", BODY, first=False)
        assert part not in str(raised.value)
        assert part not in getattr(raised.value, "words", "")


async def test_throttling_of_the_whole_server_differs_from_throttling_of_one_object(
    kube: Kube, server: Server
) -> None:
    """Priority and Fairness answers in plain text (k8s.io/apiserver, pkg/server/filters, tooManyRequests)."""

    async def busy(_: web.Request) -> web.Response:
        return web.Response(
            text="Too many requests, please try again later.", status=429, headers={"Retry-After": "30"}
        )

    async def one_object(_: web.Request) -> web.Response:
        return web.json_response(
            failure(429, "later", "TooManyRequests")[1], status=429, headers={"Retry-After": "9"}
        )

    server.answers = [busy, one_object]
    with pytest.raises(ThrottledError) as whole_server:
        await kube.apply_secret("shop", BODY, first=True)
    assert whole_server.value.retry_after == timedelta(seconds=30)
    with pytest.raises(TransientError) as object_only:
        await kube.apply_secret("shop", BODY, first=True)
    assert type(object_only.value) is TransientError
    assert object_only.value.retry_after == timedelta(seconds=9)


@pytest.mark.parametrize("header", ["9" * 400, "\u00b2", "-1", "Fri, 31 Dec 1999 23:59:59 GMT", "1e9"])
async def test_an_invalid_retry_after_is_ignored_and_a_long_one_is_bounded(header: str) -> None:
    wait = wait_of(header)
    assert wait is None or wait <= timedelta(hours=1)


async def test_a_refresh_is_one_request(kube: Kube, server: Server) -> None:
    server.answers = [(200, {"metadata": {}})]
    await kube.apply_secret("shop", BODY, first=False)
    [request] = server.requests
    assert (request.method, request.path) == (
        "PUT",
        "/api/v1/namespaces/shop/secrets/regcred.payments.ecr-prod",
    )


async def test_a_deletion_requires_the_uid_of_the_secret_that_was_checked(kube: Kube, server: Server) -> None:
    ours = {"metadata": {"uid": "u-1", "managedFields": [{"manager": "regcred", "fieldsV1": {"f:type": {}}}]}}
    deleted: list[Any] = []

    async def delete(request: web.Request) -> web.Response:
        deleted.append(await request.json())
        return web.json_response({})

    server.answers = [(200, ours), delete]
    await kube.delete_secret("shop", REF, placed=True)
    assert server.requests[0].query["dryRun"] == "All"
    assert deleted == [{"preconditions": {"uid": "u-1"}, "propagationPolicy": "Background"}]


async def test_a_serviceaccount_that_another_client_changes_is_read_again(kube: Kube, server: Server) -> None:
    account = {"metadata": {"name": "robot", "resourceVersion": "1"}, "imagePullSecrets": [{"name": "zulu"}]}
    server.answers = [(200, account), failure(409, "", "Conflict"), (200, account), (200, account)]
    assert await kube.set_pull_secrets("shop", "robot", add=["regcred.a.b"], remove=[])
    assert [request.method for request in server.requests] == ["GET", "PATCH", "GET", "PATCH"]


async def test_a_serviceaccount_whose_list_is_known_is_not_read(kube: Kube, server: Server) -> None:
    """A controller creates the first Pod while sync writes, so each request counts."""
    server.answers = [(200, {})]
    known = PullSecretList(("zulu",), "7")
    assert await kube.set_pull_secrets("shop", "robot", add=["regcred.a.b"], remove=[], known=known)
    [request] = server.requests
    assert (request.method, request.headers["Content-Type"]) == ("PATCH", "application/merge-patch+json")
    assert await request.json() == {
        "metadata": {"resourceVersion": "7"},
        "imagePullSecrets": [{"name": "zulu"}, {"name": "regcred.a.b"}],
    }


async def test_a_list_that_is_outdated_is_read(kube: Kube, server: Server) -> None:
    account = {"metadata": {"name": "robot", "resourceVersion": "8"}, "imagePullSecrets": [{"name": "new"}]}
    server.answers = [failure(409, "", "Conflict"), (200, account), (200, {})]
    known = PullSecretList((), "7")
    assert await kube.set_pull_secrets("shop", "robot", add=["regcred.a.b"], remove=[], known=known)
    assert [request.method for request in server.requests] == ["PATCH", "GET", "PATCH"]
    written = await server.requests[-1].json()
    assert written["imagePullSecrets"] == [{"name": "new"}, {"name": "regcred.a.b"}]


async def test_a_serviceaccount_without_a_version_is_not_written(kube: Kube, server: Server) -> None:
    server.answers = [(200, {"metadata": {"name": "robot"}})]
    with pytest.raises(TransientError, match="resourceVersion"):
        await kube.set_pull_secrets("shop", "robot", add=["regcred.a.b"], remove=[])


# Sign-in


async def test_the_client_signs_in_again_with_a_renewed_token(
    kube: Kube, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("regcred.cluster.session.SIGN_IN_AGAIN", 0.0)
    server.answers = [page(), page()]
    await kube.list(NAMESPACE)
    kube._session._configuration.api_key["BearerToken"] = "bearer two"
    await kube.list(NAMESPACE)
    assert [request.headers["Authorization"] for request in server.requests] == ["bearer one", "bearer two"]


async def test_a_disruption_budget_delays_an_eviction(kube: Kube, server: Server) -> None:
    server.answers = [
        failure(429, "Cannot evict pod.", "TooManyRequests", causes=["DisruptionBudget"]),
        failure(404),
    ]
    assert not await kube.evict("shop", "web-1", version="7")
    assert not await kube.evict("shop", "web-1", version="7")
    server.answers = [failure(429, "Cannot evict pod as it would violate its budget.", "TooManyRequests")]
    with pytest.raises(TransientError):
        await kube.evict("shop", "web-1", version="7")


async def test_a_truncated_error_answer_ends_the_watch_with_a_transient_error(
    kube: Kube, server: Server
) -> None:
    async def torn(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=503, headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"{")
        request.transport.close()
        return response

    server.answers = [torn]
    with pytest.raises(TransientError, match="can't be reached"):
        async for _ in kube.watch(DEPLOYMENT, "5", labelled=False):
            pass


async def test_a_labelled_pod_is_never_read_whole(kube: Kube, server: Server) -> None:
    """A Pod has no template with references, and sync may not get Pods."""
    server.answers = [stream(added("web-1", "6"))]
    [change] = [change async for change in kube.watch(POD, "5", labelled=True)]
    assert change.item is None
    assert len(server.requests) == 1
