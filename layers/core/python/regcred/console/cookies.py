"""Putting cookies into a browser: for this host alone, over TLS alone, never shown to a script."""

from __future__ import annotations

from starlette.responses import Response

SESSION = "__Host-regcred"
"""The session's cookie. Browsers take the prefix only with Secure, for the whole host, and for no other host."""


def put_cookie(response: Response, name: str, value: str) -> None:
    """Set a cookie that ends with the browser's session."""
    response.set_cookie(name, value, path="/", secure=True, httponly=True, samesite="lax")


def drop_cookie(response: Response, name: str) -> None:
    """Take a cookie away."""
    response.delete_cookie(name, path="/", secure=True, httponly=True, samesite="lax")
