"""Parsing of WWW-Authenticate headers (RFC 9110, section 11.6.1)."""

from __future__ import annotations

import time
from typing import Any

import pytest

from regcred.registry import challenges
from regcred.registry.challenges import Challenge

BEARER = Challenge("bearer", {"realm": "https://a/t", "service": "s"})


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ('Bearer realm="https://a/t",service="s"', [BEARER]),
        ('bearer Realm="https://a/t", SERVICE="s"', [BEARER]),
        ('Bearer realm = "https://a/t" , service\t=\t"s"', [BEARER]),
        ("Bearer realm=https://a/t, service=s", [BEARER]),
        (', ,Bearer  realm="https://a/t",,service="s",', [BEARER]),
        ('Bearer realm="https://a/t",service="s",realm="https://b/t"', [BEARER]),
        ("Negotiate, Basic", [Challenge("negotiate"), Challenge("basic")]),
        ('Negotiate, Basic realm="x"', [Challenge("negotiate"), Challenge("basic", {"realm": "x"})]),
        (
            'Basic realm="x", Bearer realm="https://a/t",service="s"',
            [Challenge("basic", {"realm": "x"}), BEARER],
        ),
        (
            'Bearer realm="https://a/t",service="s", Basic realm="x"',
            [BEARER, Challenge("basic", {"realm": "x"})],
        ),
        ('Basic realm="a, Bearer realm=b"', [Challenge("basic", {"realm": "a, Bearer realm=b"})]),
        (r'Basic realm="a \"b\" \\ c"', [Challenge("basic", {"realm": 'a "b" \\ c'})]),
        (
            'Negotiate YIIB/x==, Basic realm="x"',
            [Challenge("negotiate", {"yiib/x": "="}), Challenge("basic", {"realm": "x"})],
        ),
        ("Negotiate basic, NTLM", [Challenge("negotiate"), Challenge("ntlm")]),
        ('Basic realm="x', [Challenge("basic", {"realm": "x"})]),
        ('Basic realm="x\\', [Challenge("basic", {"realm": "x\\"})]),
        ("Basic realm=", [Challenge("basic", {"realm": ""})]),
        ('="x", Basic', [Challenge("basic")]),
        ('realm="x"', []),
        ("", []),
        (" ,\t, ", []),
        ("\x00\u00e9Basic", [Challenge("basic")]),
    ],
)
def test_each_challenge_of_a_header_is_parsed(header: str, found: list[Challenge]) -> None:
    assert challenges.parse(header) == found


HUGE: dict[str, Any] = {
    "commas": "," * 1_000_000,
    "spaces": "Basic" + " " * 1_000_000,
    "equals": "Basic a" + "=" * 1_000_000,
    "backslashes": 'Basic realm="' + "\\" * 1_000_000,
    "quotes": '"' * 1_000_000,
    "schemes": "a, " * 300_000,
    "parameters": "Basic " + ", ".join(f"a{number}=b" for number in range(100_000)),
    "no token": "\u00e9" * 1_000_000,
}


@pytest.mark.parametrize("header", HUGE.values(), ids=HUGE)
def test_parsing_a_hostile_header_takes_limited_time(header: str) -> None:
    started = time.process_time()
    found = challenges.parse(header)
    assert time.process_time() - started < 0.5
    assert len(found) <= challenges.CHALLENGES_MAX
    assert all(len(item.parameters) <= challenges.PARAMETERS_MAX for item in found)
