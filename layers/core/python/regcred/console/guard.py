"""Rules for every response: security headers for browsers, and the hosts that requests may name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from regcred.console.interface import ConsoleOptions
from regcred.log import describe_bug

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
"""No inline script or style, no content from other origins, and no frames."""

HEADERS = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not no-referrer, because browsers would send 'Origin: null' with our own forms.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
_STRICT_TRANSPORT = "max-age=31536000"
_KEPT = "public, max-age=31536000, immutable"


class Guard:
    """Refuses requests for other hosts, and adds the headers to every response."""

    def __init__(self, app: ASGIApp, settings: ConsoleOptions, log_event: Callable[..., None]) -> None:
        self._app = app
        self._log_event = log_event
        self._settings = settings
        self._hosts = allowed_hosts(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._put(MutableHeaders(scope=message), scope["path"])
            await send(message)

        host = Headers(scope=scope).get("host", "")
        if self._hosts and host.lower() not in self._hosts:
            answer = PlainTextResponse("This console is not served under that host name.", status_code=421)
            await answer(scope, receive, guarded)
            return
        try:
            await self._app(scope, receive, guarded)
        except Exception as error:  # noqa: BLE001 - the server would print its text, which may contain secrets
            self._log_event("bug", path=scope["path"], **describe_bug(error))

    def _put(self, headers: MutableHeaders, path: str) -> None:
        for name, value in HEADERS.items():
            headers[name] = value
        if not self._settings.local:
            headers["Strict-Transport-Security"] = _STRICT_TRANSPORT
        headers["Cache-Control"] = _KEPT if path.startswith("/static/") and "etag" in headers else "no-store"


def allowed_hosts(settings: ConsoleOptions) -> frozenset[str]:
    """The hosts that requests may name; none means any host."""
    if not settings.origin:
        return frozenset()
    return frozenset(host.lower() for host in (urlsplit(settings.origin).netloc, *settings.hosts))


def origin(request: Request, settings: ConsoleOptions) -> str:
    """The address of the console in the browser, without a slash at the end."""
    return settings.origin or f"https://{request.headers.get('host', '')}"


def same_origin(request: Request, settings: ConsoleOptions) -> bool:
    """Whether a page of this console sent a form, according to the browser's headers."""
    given = request.headers.get("origin")
    site = request.headers.get("sec-fetch-site")
    return (given is None or given == origin(request, settings)) and site in {None, "same-origin"}


def local_path(text: str, known: Iterable[str] = ()) -> str:
    """The text if it is a path of this console, else ``/``.

    So the sign-in never redirects to another site.
    """
    good = (
        text.startswith("/")
        and not text.startswith("//")
        and text.isascii()
        and text.isprintable()
        and not set(text) & set("\\ <>\"'")
        and not urlsplit(text).netloc
        and not text.startswith(("/sign-in", "/sign-out", *known))
    )
    return text if good else "/"
