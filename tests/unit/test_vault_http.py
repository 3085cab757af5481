"""How answers of Vault, OpenBao and proxies in front of them become typed errors, and what is tried again."""

from __future__ import annotations

import json
import ssl
import threading
import tracemalloc
import zlib
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import requests
from pydantic import SecretStr
from requests.adapters import BaseAdapter
from urllib3.exceptions import MaxRetryError, NewConnectionError

from regcred.errors import ConflictError, MalformedError, RefusedError, RegcredError, TransientError
from regcred.vault import adapter as vault_adapter
from regcred.vault import error_responses, http
from regcred.vault.http import Server, VaultSession, client
from regcred.vault.kv2 import VaultKeyValue

Answer = tuple[int, object, Mapping[str, str]] | Exception
OK = (200, {"data": {"data": {"a": "b"}, "metadata": {"version": 1}}}, {})
WRITTEN = (200, {"data": {"version": 2}}, {})
CONFLICT = (400, {"errors": ["check-and-set parameter did not match the current version"]}, {})
SEALED = (503, {"errors": ["Vault is sealed"]}, {})
BEHIND = (429, {"errors": []}, {"Retry-After": "1"})


def untrusted(text: str) -> ssl.SSLCertVerificationError:
    """The error for a certificate of an unknown authority."""
    error = ssl.SSLCertVerificationError(1, text)
    error.verify_code = 20  # OpenSSL: X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY
    return error


UNREACHED = requests.ConnectionError(MaxRetryError(None, "/", NewConnectionError(None, "refused")))


@dataclass
class Script(BaseAdapter):
    """Returns prepared answers in turn, the last one repeatedly, and records the requests."""

    answers: list[Answer]
    sent: list[requests.PreparedRequest] = field(default_factory=list)
    proxies: list[Mapping[str, str]] = field(default_factory=list)

    def send(self, request: requests.PreparedRequest, **how: Any) -> requests.Response:
        self.sent.append(request)
        self.proxies.append(how["proxies"])
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        response = requests.Response()
        response.status_code, body, headers = answer
        response.headers.update(headers)
        response._content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        response.url = str(request.url)
        response.request = request
        return response

    def close(self) -> None:
        """Nothing is open."""


@dataclass
class OneToken:
    """Returns a token, and after each refusal the next one, if there is one."""

    values: list[str]

    def token(self) -> SecretStr:
        return SecretStr(self.values[0])

    def renew_refused(self, token: SecretStr) -> bool:
        if len(self.values) > 1:
            self.values.pop(0)
            return True
        return False


@dataclass
class Rig:
    kv: VaultKeyValue
    script: Script
    slept: list[float]
    clock: list[float]

    @property
    def sent(self) -> list[requests.PreparedRequest]:
        return self.script.sent


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Rig]:
    monkeypatch.setattr(http.random, "uniform", lambda low, _: low)

    def make(
        *answers: Answer, tokens: list[str] | None = None, addr: str = "https://vault.example.com"
    ) -> Rig:
        slept: list[float] = []
        clock = [0.0]
        server = Server(addr)
        session = VaultSession(
            server, OneToken(tokens or ["s.token"]), sleep=slept.append, clock=lambda: clock[0]
        )
        script = Script(list(answers))
        session.mount("https://", script)
        session.mount("http://", script)
        return Rig(VaultKeyValue(client(server, session)), script, slept, clock)

    return make


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        ((400, {"errors": ["missing client token"]}, {}), MalformedError, "can't understand"),
        (
            (
                400,
                {"errors": ["Upgrading from non-versioned to versioned data. This backend will be ..."]},
                {},
            ),
            TransientError,
            "the mount is starting",
        ),
        (
            (
                400,
                {"errors": ["Waiting for the primary to upgrade from non-versioned to versioned data."]},
                {},
            ),
            TransientError,
            "the mount is starting",
        ),
        (
            (429, {"errors": ['request path "regcred/data/a": rate limit quota exceeded']}, {}),
            TransientError,
            "a quota of Vault is exceeded",
        ),
        ((401, {"errors": ["unauthorized"]}, {}), RefusedError, "permission denied"),
        ((403, {"errors": ["permission denied"]}, {}), RefusedError, "or its policy does not allow this$"),
        (
            (403, {"errors": ["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]}, {}),
            RefusedError,
            r"permission denied: the token is not valid \(any more\)$",
        ),
        ((404, {"errors": ["no handler for route"]}, {}), RefusedError, "no such mount or namespace"),
        ((404, {"errors": ["enterprise-only feature"]}, {}), RefusedError, "no such mount or namespace"),
        ((404, "<html>not found</html>", {}), TransientError, "not from Vault"),
        ((405, {"errors": ["unsupported operation"]}, {}), RefusedError, "does not know the request"),
        ((412, {"errors": ["required index state not present"]}, {}), TransientError, "last write"),
        ((413, "too big", {}), MalformedError, "too large"),
        ((429, {"errors": ["rate limit quota exceeded"]}, {}), TransientError, "too many requests"),
        ((472, {"errors": ["x"]}, {}), TransientError, "disaster-recovery"),
        ((473, {"errors": ["x"]}, {}), TransientError, "performance standby"),
        ((500, {"errors": ["internal error"]}, {}), TransientError, "status 500"),
        ((500, {"errors": ["context deadline exceeded"]}, {}), TransientError, "status 500"),
        ((500, {"errors": ["value exceeds 524288 byte limit"]}, {}), MalformedError, "too large"),
        ((500, {"errors": ["put failed due to value being too large"]}, {}), MalformedError, "too large"),
        ((501, {"errors": ["not initialized"]}, {}), TransientError, "not initialised"),
        ((502, "<html>bad gateway</html>", {}), TransientError, "status 502"),
        (SEALED, TransientError, "sealed"),
        ((503, "<html>no backend</html>", {}), TransientError, "status 503"),
        ((504, "", {}), TransientError, "status 504"),
        ((200, "<html>please sign in</html>", {}), TransientError, "not from Vault"),
        ((200, "", {}), TransientError, "not from Vault"),
        ((302, "", {"Location": "https://sso.example.com/"}), TransientError, "not from Vault"),
        ((307, "", {}), TransientError, "not from Vault"),
        ((200, {"hello": "world"}, {}), TransientError, "not from Vault"),
        ((200, {"data": None}, {}), TransientError, "is missing or has another type"),
        (
            requests.ConnectionError("s.token leaked?"),
            TransientError,
            "connection to https://vault.example.com failed",
        ),
        (requests.ReadTimeout("s.token leaked?"), TransientError, "did not answer in time"),
        (requests.exceptions.SSLError(untrusted("s.token")), RefusedError, "set the CA file"),
        (requests.exceptions.SSLError(ssl.SSLError(1, "s.token")), TransientError, "TLS failed"),
        (requests.exceptions.SSLError("s.token"), TransientError, "TLS failed"),
        (requests.exceptions.ChunkedEncodingError("s.token leaked?"), TransientError, "no usable answer"),
    ],
)
def test_each_failure_has_its_type_and_never_repeats_the_answer(
    rig: Callable[..., Rig], answer: Answer, error: type[RegcredError], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        rig(answer).kv.read("credentials/payments/hub")
    text = str(caught.value)
    assert "credentials/payments/hub" in text or "is missing or has another type" in text
    for raw in ("<html>", "s.token", "missing client", "rate limit quota", "hello"):
        assert raw not in text


def settings_failure(status: int, path: str) -> str:
    """The text of the error for a response with a long and hostile text."""
    response = requests.Response()
    response.status_code = status
    response._content = json.dumps({"errors": ["error checking jwks_url\x1b[2J: " + "x" * 1000]}).encode()
    return str(error_responses.failure(response, f"Vault: POST /v1/{path}"))


@pytest.mark.parametrize("status", [400, 500])
@pytest.mark.parametrize(
    "path",
    [
        "auth/regcred-lambda/config",
        "auth/regcred-cluster-c1/role/sync",
        "sys/policies/acl/regcred-sync",
        "identity/group/name/regcred-readers-payments",
    ],
)
def test_an_error_about_settings_repeats_what_the_server_said(status: int, path: str) -> None:
    text = settings_failure(status, path)
    assert "error checking jwks_url" in text
    assert "\x1b" not in text
    assert len(text) < 500


@pytest.mark.parametrize("status", [400, 500])
@pytest.mark.parametrize(
    "path",
    [
        "auth/regcred-lambda/login",
        "auth/userpass/login/config",
        "auth/oidc/oidc/callback",
        "auth/token/create",
        "identity/oidc/token/regcred",
        "regcred/data/upstream/payments/config",
    ],
)
def test_no_other_error_repeats_what_the_server_said(status: int, path: str) -> None:
    assert "jwks_url" not in settings_failure(status, path)


@pytest.mark.parametrize("answer", [SEALED, BEHIND, (500, {"errors": ["x"]}, {}), requests.ReadTimeout()])
def test_reads_are_tried_again_with_growing_delays_and_then_fail(
    rig: Callable[..., Rig], answer: Answer
) -> None:
    rigged = rig(answer)
    with pytest.raises(TransientError):
        rigged.kv.version("a/b")
    assert len(rigged.sent) == http.ATTEMPTS
    assert rigged.slept == sorted(rigged.slept)
    assert all(wait >= http.FLOOR for wait in rigged.slept)


def test_a_read_that_succeeds_at_the_second_try_succeeds(rig: Callable[..., Rig]) -> None:
    rigged = rig(SEALED, OK)
    found = rigged.kv.read("a/b")
    assert found is not None
    assert rigged.slept == [http.FLOOR]


def test_retry_after_has_a_minimum_and_a_long_one_is_returned_to_the_caller(
    rig: Callable[..., Rig],
) -> None:
    limited = (429, {"errors": ["quota"]}, {"Retry-After": "0"})
    limited_once = rig(limited, OK)
    limited_once.kv.read("a/b")
    assert limited_once.slept == [http.FLOOR]

    patient = rig((429, {"errors": ["quota"]}, {"Retry-After": "60"}))
    with pytest.raises(TransientError) as caught:
        patient.kv.read("a/b")
    assert caught.value.retry_after is not None
    assert caught.value.retry_after.total_seconds() == 60
    assert patient.slept == []


@pytest.mark.parametrize(
    "answer",
    [
        (500, {"errors": ["x"]}, {}),
        (500, {"errors": ["leadership lost while committing log"]}, {}),
        (500, {"errors": ["error during forwarding RPC request"]}, {}),
        requests.ReadTimeout(),
        (502, "", {}),
    ],
)
def test_a_write_that_may_have_been_applied_is_not_repeated(rig: Callable[..., Rig], answer: Answer) -> None:
    rigged = rig(answer, WRITTEN)
    with pytest.raises(TransientError):
        rigged.kv.write("a/b", {"a": "b"}, cas=1)
    assert len(rigged.sent) == 1


NO_LEADER = "local node not active but active cluster node not found"


@pytest.mark.parametrize(
    "answer",
    [
        SEALED,
        (500, {"errors": [NO_LEADER]}, {}),
        (500, {"errors": ["1 error occurred:\n\t* node is not the leader\n\n"]}, {}),
        (500, {"errors": ["Vault is in standby mode"]}, {}),
        (503, {"errors": ["no active Vault instance found"]}, {}),
        (429, {"errors": ["quota"]}, {}),
        requests.ConnectTimeout(),
        UNREACHED,
    ],
)
def test_a_write_that_was_certainly_not_applied_is_repeated(rig: Callable[..., Rig], answer: Answer) -> None:
    assert rig(answer, WRITTEN).kv.write("a/b", {"a": "b"}, cas=1) == 2


def test_destroy_and_delete_are_repeated(rig: Callable[..., Rig]) -> None:
    rig((500, {"errors": ["x"]}, {}), (204, "", {})).kv.destroy("a/b", [1])
    rig(requests.ReadTimeout(), (204, "", {})).kv.delete("a/b")


def test_a_successful_answer_of_a_proxy_is_an_error(rig: Callable[..., Rig]) -> None:
    for answer in ((200, "", {}), (302, "", {"Location": "https://sso.example.com/"}), (200, "<html>", {})):
        for act in (lambda kv: kv.destroy("a/b", [1]), lambda kv: kv.delete("a/b")):
            rigged = rig(answer)
            with pytest.raises(TransientError, match="not from Vault"):
                act(rigged.kv)
            assert {str(request.url).split("/")[2] for request in rigged.sent} == {"vault.example.com"}


def test_a_conflict_is_not_repeated(rig: Callable[..., Rig]) -> None:
    rigged = rig(CONFLICT)
    with pytest.raises(ConflictError):
        rigged.kv.write("a/b", {"a": "b"}, cas=1)
    assert len(rigged.sent) == 1


def test_after_a_403_the_session_signs_in_again_once(rig: Callable[..., Rig]) -> None:
    denied = (403, {"errors": ["permission denied"]}, {})
    rigged = rig(denied, OK, tokens=["old", "new"])
    assert rigged.kv.read("a/b") is not None
    assert [request.headers["X-Vault-Token"] for request in rigged.sent] == ["old", "new"]

    hopeless = rig(denied, tokens=["one", "two", "three"])
    with pytest.raises(RefusedError, match="permission denied"):
        hopeless.kv.read("a/b")
    assert [request.headers["X-Vault-Token"] for request in hopeless.sent] == ["one", "two"]


def index(position: int) -> dict[str, str]:
    return {
        "X-Vault-Index": b64encode(json.dumps({"cluster": "c", "value": str(position)}).encode()).decode()
    }


def test_reads_require_the_newest_index_and_go_to_the_leader_if_a_standby_lacks_it(
    rig: Callable[..., Rig],
) -> None:
    rigged = rig((200, {"data": {"version": 2}}, index(37)), BEHIND, (*OK[:2], index(36)), OK)
    rigged.kv.write("a/b", {"a": "b"}, cas=1)
    rigged.kv.read("a/b")
    rigged.kv.read("a/b")
    assert "X-Vault-Index" not in rigged.sent[0].headers
    assert rigged.sent[1].headers["X-Vault-Index"] == index(37)["X-Vault-Index"]
    assert "X-Vault-Inconsistent" not in rigged.sent[1].headers
    assert rigged.sent[2].headers["X-Vault-Inconsistent"] == "forward-active-node"
    assert rigged.sent[3].headers["X-Vault-Index"] == index(37)["X-Vault-Index"]
    assert rigged.slept == []


def test_no_index_is_sent_to_a_server_without_one(rig: Callable[..., Rig]) -> None:
    rigged = rig(WRITTEN, OK, CONFLICT)
    rigged.kv.write("a/b", {"a": "b"}, cas=1)
    rigged.kv.read("a/b")
    with pytest.raises(ConflictError):
        rigged.kv.write("a/b", {"a": "b"}, cas=1)
    assert not any("X-Vault-Index" in request.headers for request in rigged.sent)
    assert rigged.slept == []


def test_a_conflict_waits_for_replication_if_standbys_answer(rig: Callable[..., Rig]) -> None:
    rigged = rig((*OK[:2], index(1)), CONFLICT)
    rigged.kv.read("a/b")
    with pytest.raises(ConflictError):
        rigged.kv.write("a/b", {"a": "b"}, cas=1)
    assert rigged.slept == [http.REPLICATION]


def test_an_index_that_the_server_cannot_decode_is_forgotten(rig: Callable[..., Rig]) -> None:
    wrong = (400, {"errors": ['failed to decode "X-Vault-Index"']}, {})
    rigged = rig((*OK[:2], index(99)), wrong, (*OK[:2], index(2)), OK)
    for _ in range(3):
        rigged.kv.read("a/b")
    assert rigged.sent[-1].headers["X-Vault-Index"] == index(2)["X-Vault-Index"]


def test_an_old_index_is_no_longer_required(rig: Callable[..., Rig]) -> None:
    rigged = rig((*OK[:2], index(99)), (*OK[:2], index(2)))
    rigged.kv.read("a/b")
    rigged.clock[0] += http.INDEX_LIFE
    rigged.kv.read("a/b")
    rigged.kv.read("a/b")
    assert "X-Vault-Index" not in rigged.sent[1].headers
    assert rigged.sent[2].headers["X-Vault-Index"] == index(2)["X-Vault-Index"]


def test_redirects_to_the_leader_are_followed_but_never_without_tls(rig: Callable[..., Rig]) -> None:
    moved = (307, "", {"Location": "https://leader.example.com/v1/regcred/data/a/b"})
    rigged = rig(moved, OK)
    assert rigged.kv.read("a/b") is not None
    assert rigged.sent[1].url == "https://leader.example.com/v1/regcred/data/a/b"

    moved_twice = rig(moved, (307, "", {"Location": "https://next.example.com/v1/regcred/data/a/b"}), WRITTEN)
    assert moved_twice.kv.write("a/b", {"a": "b"}, cas=1) == 2
    assert [str(request.url).split("/")[2] for request in moved_twice.sent] == [
        "vault.example.com",
        "leader.example.com",
        "next.example.com",
    ]

    downgraded = rig((307, "", {"Location": "http://leader.example.com/v1/regcred/data/a/b"}), OK)
    with pytest.raises(RefusedError, match="without TLS"):
        downgraded.kv.read("a/b")
    assert len(downgraded.sent) == 1


def test_no_password_of_the_netrc_file_is_sent(
    rig: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine vault.example.com login me password hunter2\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    rigged = rig(OK)
    rigged.kv.read("a/b")
    assert "Authorization" not in rigged.sent[0].headers


@pytest.mark.parametrize(
    "addr",
    [
        "",
        "vault.example.com",
        "ftp://vault",
        "https://user:hunter2@vault:8200",
        "https://user:hunter2@[::1",
        "https://vault:http",
        "https://vault:99999",
        "https://vault:0",
        "https://vault example.com",
        "https://vault..example.com",
    ],
)
def test_a_malformed_address_is_refused_without_showing_its_password(addr: str) -> None:
    with pytest.raises(MalformedError, match="https://host:port") as caught:
        Server(addr)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("namespace", ["team\npayments", "team payments", "t\u00e9am", "\u2192"])
def test_a_malformed_namespace_is_refused(namespace: str) -> None:
    with pytest.raises(MalformedError, match="the namespace") as caught:
        Server("https://vault.example.com", namespace=namespace)
    assert caught.value.field == "namespace"


def test_the_namespace_is_sent_and_nothing_is_read_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VAULT_TOKEN", "from-environment")
    monkeypatch.setenv("VAULT_ADDR", "https://elsewhere.example.com")
    server = Server("https://vault.example.com/", namespace="team")
    session = VaultSession(server, OneToken(["s.token"]))
    script = Script([OK])
    session.mount("https://", script)
    VaultKeyValue(client(server, session)).read("a/b")
    assert script.sent[0].url == "https://vault.example.com/v1/regcred/data/a/b"
    assert script.sent[0].headers["X-Vault-Namespace"] == "team"
    assert script.sent[0].headers["X-Vault-Token"] == "s.token"


def test_the_environments_proxy_is_used_and_looked_up_once_per_server(
    rig: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example.com:3128")
    monkeypatch.setenv("NO_PROXY", "leader.example.com")
    moved = (307, "", {"Location": "https://leader.example.com/v1/regcred/data/a/b"})
    found = rig(OK, moved, OK)
    found.kv.read("a/b")
    monkeypatch.delenv("HTTPS_PROXY")
    found.kv.read("a/b")
    through = [used.get("https") for used in found.script.proxies]
    assert through == ["http://proxy.example.com:3128", "http://proxy.example.com:3128", None]


def test_nodes_that_redirect_to_each_other_are_tried_again_later(
    rig: Callable[..., Rig],
) -> None:
    """Two standbys during an election: each may still name the other."""
    moved = (307, "", {"Location": "https://other.example.com/v1/regcred/data/a/b"})
    rigged = rig(*[moved] * (http.HOPS + 1), WRITTEN)
    assert rigged.kv.write("a/b", {"a": "b"}, cas=1) == 2
    assert rigged.slept == [http.FLOOR]
    assert str(rigged.sent[http.HOPS].url).startswith("https://vault.example.com/"), (
        "it starts at the address again"
    )

    endless = rig(moved)
    with pytest.raises(TransientError, match="electing a new leader"):
        endless.kv.read("a/b")
    assert len(endless.sent) == http.ATTEMPTS * http.HOPS


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "30"}, 30),
        (
            {"Retry-After": "Sat, 28 Nov 2026 12:01:00 GMT", "Date": "Sat, 28 Nov 2026 12:00:00 GMT"},
            60,
        ),
        ({"Retry-After": "Sat, 28 Nov 2026 11:00:00 GMT", "Date": "Sat, 28 Nov 2026 12:00:00 GMT"}, 0),
        ({"Retry-After": "Sat, 28 Nov 2026 12:01:00 GMT"}, None),
        ({"Retry-After": "soon", "Date": "now"}, None),
        ({"Retry-After": "9" * 5000}, None),
        ({}, None),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_returned_to_the_caller(
    rig: Callable[..., Rig], headers: dict[str, str], seconds: int | None, status: int
) -> None:
    with pytest.raises(TransientError) as caught:
        rig((status, {"errors": ["x"]}, headers)).kv.read("a/b")
    wait = caught.value.retry_after
    assert (wait.total_seconds() if wait is not None else None) == seconds


@pytest.mark.parametrize(
    "body",
    [
        {"data": []},
        {"data": {"data": ["a"], "metadata": {"version": 1}}},
        {"data": {"data": {"a": "b"}, "metadata": {"version": "one"}}},
        {"data": {"data": {"a": "b"}, "metadata": {"version": None}}},
        {"data": {"data": {"a": "b"}, "metadata": [1]}},
    ],
)
def test_an_answer_of_another_shape_is_transient(rig: Callable[..., Rig], body: object) -> None:
    with pytest.raises(TransientError, match="is a proxy in between"):
        rig((200, body, {})).kv.read("a/b")
    with pytest.raises(TransientError, match="is a proxy in between"):
        rig((200, {"data": {"keys": {"a": 1}}}, {})).kv.list("a")


def test_a_deeply_nested_answer_is_not_from_vault(rig: Callable[..., Rig]) -> None:
    with pytest.raises(TransientError, match="not from Vault"):
        rig((200, "[" * 100_000, {})).kv.read("a/b")


COMPRESSED = zlib.compress(b" " * 10_000_000)


class EndlessAnswer(BaseHTTPRequestHandler):
    """Sends bytes as long as the client reads them."""

    encoding = ""

    def do_GET(self) -> None:
        type(self).accepted = self.headers["Accept-Encoding"]
        self.send_response(200)
        if self.encoding:
            self.send_header("Content-Encoding", self.encoding)
        self.end_headers()
        body = COMPRESSED if self.encoding else b" " * 65536
        try:
            for _ in range(10_000):
                self.wfile.write(body)
        except OSError:
            pass

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.mark.parametrize("encoding", ["", "deflate", "gzip"])
def test_an_endless_or_compressed_answer_is_read_up_to_a_limit(encoding: str) -> None:
    handler = type("Handler", (EndlessAnswer,), {"encoding": encoding})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        vault = Server(f"http://127.0.0.1:{server.server_port}")
        session = VaultSession(vault, OneToken(["s.token"]), sleep=lambda _: None)
        tracemalloc.start()
        with pytest.raises(TransientError, match="more than 16 MiB"):
            VaultKeyValue(client(vault, session)).read("a/b")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        server.shutdown()
    assert peak < 3 * vault_adapter.ANSWER_MAX
    assert handler.accepted == "identity"


@pytest.mark.parametrize(
    "electing",
    [
        (500, {"errors": [NO_LEADER]}, {}),
        (503, {"errors": ["no active Vault instance found"]}, {}),
    ],
)
def test_only_the_first_request_waits_for_an_election(rig: Callable[..., Rig], electing: Answer) -> None:
    rigged = rig(*[electing] * 8, WRITTEN)
    assert rigged.kv.write("a/b", {"a": "b"}, cas=1) == 2

    connected = rig(OK, electing)
    connected.kv.read("a/b")
    with pytest.raises(TransientError, match="knows no leader"):
        connected.kv.write("a/b", {"a": "b"}, cas=1)
    assert len(connected.sent) == 1 + http.ELECTION_ATTEMPTS
    connected.clock[0] += http.ELECTION
    with pytest.raises(TransientError, match="knows no leader"):
        connected.kv.write("a/b", {"a": "b"}, cas=1)
    assert len(connected.sent) == 1 + http.ELECTION_ATTEMPTS + http.ATTEMPTS
