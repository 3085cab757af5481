"""The requests that AWS sends to a function behind a function URL."""

from __future__ import annotations

from typing import Any


def event(
    path: str, *, method: str = "GET", query: str = "", cookies: list[str] | None = None
) -> dict[str, Any]:
    """A request of a function URL (payload format 2.0).

    Contract: https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads
    """
    host = "abcdefg.lambda-url.eu-central-1.on.aws"
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "cookies": cookies or [],
        "headers": {"host": host, "x-forwarded-proto": "https", "x-forwarded-port": "443"},
        "requestContext": {
            "domainName": host,
            "http": {
                "method": method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "192.0.2.1",
                "userAgent": "x",
            },
            "requestId": "11111111-2222-3333-4444-555555555555",
            "stage": "$default",
            "timeEpoch": 1790000000000,
        },
        "isBase64Encoded": False,
    }
