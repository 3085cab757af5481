from __future__ import annotations

import stat
from datetime import timedelta
from pathlib import Path

import pytest
from fakes.vendors.network import Network, Request, Response, cut, status
from pydantic import SecretStr

from regcred.errors import MalformedError, MissingError, RefusedError, TransientError
from regcred.registry import transport
from regcred.registry.transport import Answer, Basic, Bearer

HOST = "registry.example.com"
URL = f"https://{HOST}/"
LOGIN = Basic("puller", SecretStr("open sesame"))


def answer_with(network: Network, response: Response) -> None:
    network.add(HOST, lambda request: response)


def test_a_redirect_is_not_followed_so_the_login_goes_nowhere_else(network: Network) -> None:
    answer_with(network, Response(307, None, {"Location": "https://evil.example.net/"}))
    network.add("evil.example.net", lambda request: Response(200))
    assert transport.send("GET", URL, auth=LOGIN).status == 307
    assert [request.host for request in network.requests] == [HOST]


def test_a_netrc_file_adds_no_login(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text(f"machine {HOST} login somebody password else\n")
    netrc.chmod(stat.S_IRUSR)
    monkeypatch.setenv("NETRC", str(netrc))
    answer_with(network, Response(200))
    transport.send("GET", URL)
    transport.send("GET", URL, auth=Bearer(SecretStr("token")))
    assert [request.header("Authorization") for request in network.requests] == ["", "Bearer token"]


@pytest.mark.parametrize(
    "url", [f"http://{HOST}/", "http://169.254.169.254/latest", "ftp://x/", "http://localhost.evil.net/"]
)
def test_nothing_is_sent_without_tls(network: Network, url: str) -> None:
    with pytest.raises(MalformedError, match="TLS"):
        transport.send("GET", url, auth=LOGIN)
    assert network.requests == []


def test_the_error_for_an_untrusted_certificate_contains_a_remedy(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_with(network, Response(200))
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    monkeypatch.delenv("CURL_CA_BUNDLE")
    with pytest.raises(TransientError, match="REQUESTS_CA_BUNDLE"):
        transport.send("GET", URL)


def test_an_unreachable_host_and_a_broken_connection_are_transient_errors(network: Network) -> None:
    network.add(HOST, cut)
    for url in (URL, "https://nobody.example.com/"):
        with pytest.raises(TransientError) as caught:
            transport.send("GET", url, auth=LOGIN)
        assert "sesame" not in str(caught.value)


def test_a_long_response_is_read_up_to_a_limit(network: Network) -> None:
    answer_with(network, Response(200, b"x" * (transport.BODY_MAX + 1000)))
    assert len(transport.send("GET", URL).body) == transport.BODY_MAX


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (400, RefusedError),
        (401, RefusedError),
        (403, RefusedError),
        (404, MissingError),
        (408, TransientError),
        (429, TransientError),
        (500, TransientError),
        (503, TransientError),
        (302, RefusedError),
        (204, MalformedError),
    ],
)
def test_each_status_has_its_kind_of_error(network: Network, code: int, kind: type[Exception]) -> None:
    network.add(HOST, status(code, {"message": "no"}))
    with pytest.raises(kind):
        transport.expect(transport.send("GET", URL), what="the vendor", remedy="check it")


def test_the_error_carries_the_retry_after_of_the_vendor(network: Network) -> None:
    network.add(HOST, status(429, None, {"Retry-After": "90"}))
    with pytest.raises(TransientError) as caught:
        transport.expect(transport.send("GET", URL), what="the vendor", remedy="check it")
    assert caught.value.retry_after == timedelta(seconds=90)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"error": "invalid_grant", "error_description": "secret text"}', "invalid_grant"),
        (b'{"errors": [{"code": "DENIED", "message": "secret text"}]}', "DENIED"),
        (b'{"error": {"status": "PERMISSION_DENIED", "message": "secret text"}}', "PERMISSION_DENIED"),
        (b'{"Code": "NoPrivilege"}', "NoPrivilege"),
        (b'{"error": "secret text"}', ""),
        (b'{"code": 403}', ""),
        (b"<html>", ""),
        (b"[1]", ""),
        (b"", ""),
    ],
)
def test_only_a_vendors_short_code_is_repeated(body: bytes, code: str) -> None:
    assert Answer(403, {}, body).code() == code


def test_the_vendors_own_time_is_read(network: Network) -> None:
    answer_with(network, Response(200))
    theirs = transport.server_time(transport.send("GET", URL))
    assert theirs is not None
    assert abs(theirs - network.clock.now()) < timedelta(seconds=5)
    assert transport.server_time(Answer(200, {"Date": "yesterday"}, b"")) is None


def test_a_request_has_exactly_the_given_query_and_form_and_no_cookie(network: Network) -> None:
    answer_with(network, Response(200))
    transport.send("POST", URL, query=(("scope", "a"), ("scope", "b")), form=[("x", "1"), ("x", "2")])
    request: Request = network.requests[0]
    assert request.query == [("scope", "a"), ("scope", "b")]
    assert request.form_items == [("x", "1"), ("x", "2")]
    assert request.header("Cookie") == ""
