"""Sets cookies in a browser: only for this host, only over TLS, and never visible to a script."""

from __future__ import annotations

from starlette.responses import Response

SESSION = "__Host-regcred"
"""The session's cookie. Browsers accept the prefix only with Secure, for the whole host, and for no other
host."""


def put_cookie(response: Response, name: str, value: str) -> None:
    """Set a cookie that is deleted when the browser closes."""
    response.set_cookie(name, value, path="/", secure=True, httponly=True, samesite="lax")


def drop_cookie(response: Response, name: str) -> None:
    """Delete a cookie."""
    response.delete_cookie(name, path="/", secure=True, httponly=True, samesite="lax")
