"""Sign-in with Vault's own methods, and sign-out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from hmac import compare_digest
from secrets import token_urlsafe
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from regcred.console import guard
from regcred.console.console import Console, Visit
from regcred.console.cookies import SESSION, drop_cookie, put_cookie
from regcred.console.forms import Form
from regcred.console.interface import Method, SignInKind, WrongPasswordError
from regcred.console.rendering import plain
from regcred.console.sealed_cookies import COOKIE_MAX, SIGN_IN, BrowserSession
from regcred.console.sealed_cookies import SESSION as SEALED_SESSION
from regcred.errors import MalformedError, RefusedError, RegcredError, TransientError

COOKIE = "__Host-regcred-sign-in"
"""The sealed state of a sign-in attempt. It ends with the attempt."""

CALLBACK = "/sign-in/oidc/callback"

ATTEMPT_MAX = timedelta(minutes=15)
"""The maximum time for a sign-in at an identity provider."""

_TOKEN_MAX = 2000
_NAME_MAX = 200


def form(console: Console, request: Request) -> Response:
    """Show the sign-in methods."""
    if console.session(request):
        return RedirectResponse(guard.local_path(request.query_params.get("next", "/")), status_code=303)
    return _form(console, request)


def _form(
    console: Console,
    request: Request,
    *,
    status: int = 200,
    error: str = "",
    typed: str = "",
    chosen: Method | None = None,
    onward: str | None = None,
) -> Response:
    onward = guard.local_path(request.query_params.get("next", "/")) if onward is None else onward
    attempt = _attempt(console, request)
    csrf = str(attempt["csrf"]) if attempt else token_urlsafe(24)
    methods = console.settings.methods
    response = plain(
        "sign-in.html",
        request,
        console.settings,
        console.now(),
        status=status,
        methods=list(enumerate(methods)),
        chosen=methods.index(chosen) if chosen else _first_form(methods),
        error=error,
        typed=typed,
        onward=onward,
        sign_in_csrf=csrf,
        out=request.query_params.get("out", "") == "1",
        not_revoked=request.query_params.get("not_revoked", "") == "1",
    )
    if not attempt:
        _remember(console, response, csrf=csrf)
    return response


def _first_form(methods: tuple[Method, ...]) -> int:
    return next((place for place, method in enumerate(methods) if method.kind is not SignInKind.OIDC), -1)


def _attempt(console: Console, request: Request) -> Mapping[str, Any] | None:
    return console.seal.open(SIGN_IN, request.cookies.get(COOKIE, ""))


def _remember(console: Console, response: Response, **content: Any) -> None:
    put_cookie(response, COOKIE, console.seal.close(SIGN_IN, content))


def sign_in(console: Console, request: Request, typed: Form) -> Response:
    """Sign in with the input."""
    attempt = _attempt(console, request)
    onward = guard.local_path(typed.get("next", "/"))
    good = attempt is not None and compare_digest(str(attempt["csrf"]).encode(), typed.get("csrf").encode())
    if not good or not guard.same_origin(request, console.settings):
        text = "This form was open for too long. Try again."
        return _form(console, request, status=403, error=text, onward=onward)
    method = _method(console, typed.get("method"))
    name = typed.get("username")[:_NAME_MAX]
    if method is None:
        return _form(console, request, status=422, error="Choose a sign-in method.", onward=onward)
    try:
        token = _token(console, method, typed)
        return _signed_in(console, token, onward)
    except RegcredError as error:
        status = (
            503 if isinstance(error, TransientError) else 422 if isinstance(error, MalformedError) else 403
        )
        console.log_event("sign-in refused", method=method.kind.value, kind=error.kind)
        return _form(
            console,
            request,
            status=status,
            error=_error_text(error, method),
            typed=name,
            chosen=method,
            onward=onward,
        )


def _method(console: Console, place: str) -> Method | None:
    methods = dict(enumerate(console.settings.methods))
    return methods.get(int(place)) if place.isdecimal() and len(place) < 3 else None  # noqa: PLR2004


def _token(console: Console, method: Method, typed: Form) -> SecretStr:
    if method.kind is SignInKind.TOKEN:
        value = typed.get("token")
        if (
            not value
            or len(value) > _TOKEN_MAX
            or not (value.isascii() and value.isprintable())
            or " " in value
        ):
            raise MalformedError("this is not a Vault token; paste the whole token", field="token")
        return SecretStr(value)
    name, password = typed.get("username"), typed.whole("password")
    if not name or not password or len(name) > _NAME_MAX or len(password) > _TOKEN_MAX:
        raise MalformedError("enter your user name and your password", field="username")
    return console.vault.by_password(method, name, SecretStr(password))


def _error_text(error: RegcredError, method: Method) -> str:
    if isinstance(error, RefusedError):
        if method.kind is SignInKind.TOKEN:
            return (
                "Vault does not accept this token. It may have expired: get a new one with 'vault login' "
                "or 'bao login'."
            )
        if isinstance(error, WrongPasswordError):
            return "The user name or the password is wrong."
        return f"Vault refused the sign-in. {error}"
    if isinstance(error, TransientError):
        return f"Vault did not check your input, because it is not available. {error}"
    return str(error)[:1].upper() + str(error)[1:] + "."


def _signed_in(console: Console, token: SecretStr, onward: str, *, own: bool = True) -> Response:
    """Start a new session, without data of an earlier one."""
    who = console.vault.with_token(token).who()
    now = console.now()
    response = RedirectResponse(onward, status_code=303)
    session = BrowserSession.begin(token, name=who.name, entity=who.entity, now=now, own=own)
    if len(console.seal.close(SEALED_SESSION, session.content())) > COOKIE_MAX:
        raise MalformedError(
            "this token is too long for a cookie; use a service token instead of a batch token"
        )
    console.begin(response, session)
    drop_cookie(response, COOKIE)
    console.log_event("signed in", who=who.name)
    return response


def start_oidc(console: Console, request: Request) -> Response:
    """Redirect the browser to the identity provider."""
    method = _method(console, request.query_params.get("method", ""))
    if method is None or method.kind is not SignInKind.OIDC:
        return _form(console, request, status=422, error="Choose a sign-in method.")
    nonce = token_urlsafe(24)
    redirect_uri = guard.origin(request, console.settings) + CALLBACK
    try:
        url = console.vault.oidc_url(method, redirect_uri, nonce)
    except RegcredError as error:
        return _form(console, request, status=503, error=_error_text(error, method))
    state = _state(url)
    response = RedirectResponse(url, status_code=303)
    _remember(
        console,
        response,
        csrf=token_urlsafe(24),
        state=state,
        nonce=nonce,
        method=console.settings.methods.index(method),
        next=guard.local_path(request.query_params.get("next", "/")),
        at=int(console.now().timestamp()),
    )
    return response


def _state(url: str) -> str:
    return parse_qs(urlsplit(url).query).get("state", [""])[0]


def finish_oidc(console: Console, request: Request) -> Response:
    """Handle the identity provider's response, if it belongs to an attempt of this browser."""
    attempt = _attempt(console, request) or {}
    state, code = request.query_params.get("state", ""), request.query_params.get("code", "")
    held = str(attempt.get("state", ""))
    if console.now().timestamp() - int(attempt.get("at", 0)) > ATTEMPT_MAX.total_seconds():
        held = ""
    if not held or not compare_digest(held.encode(), state.encode()):
        return _form(
            console,
            request,
            status=403,
            error="This sign-in was not started in this browser. Try again.",
            onward="/",
        )
    method = _method(console, str(attempt["method"]))
    onward = guard.local_path(str(attempt["next"]))
    if method is None:
        return _form(console, request, status=403, error="The sign-in failed. Try again.", onward=onward)
    if not code:
        text = "The identity provider refused the sign-in. Ask its administrator, or try again."
        response = _form(console, request, status=403, error=text, onward=onward)
    else:
        try:
            token = console.vault.by_oidc(method, state=state, code=code, nonce=str(attempt["nonce"]))
            return _signed_in(console, token, onward)
        except RegcredError as error:
            console.log_event("sign-in refused", method=method.kind.value, kind=error.kind)
            response = _form(console, request, status=403, error=_error_text(error, method), onward=onward)
    _remember(console, response, csrf=attempt["csrf"])
    return response


def by_ticket(console: Console, request: Request) -> Response:
    """Sign in the person who started the console on this machine. The address contains a one-time ticket."""
    ticket, console.ticket = console.ticket, None
    given = request.query_params.get("ticket", "")
    if ticket is None or not compare_digest(ticket.secret.encode(), given.encode()):
        if ticket is not None:
            console.ticket = ticket
        text = "This address works only once. Start 'regcred console' again, or paste a token."
        return _form(console, request, status=403, error=text, onward="/")
    try:
        return _signed_in(console, ticket.token(), "/", own=False)
    except RegcredError as error:
        console.ticket = ticket
        return _form(console, request, status=403, error=str(error), onward="/")


def sign_out(visit: Visit) -> Response:
    """End the session. Also end the token if it was created for this session."""
    not_revoked = ""
    if visit.session.own:
        try:
            visit.access.revoke()
        except RegcredError:
            not_revoked = "&not_revoked=1"
    visit.console.forget(visit.session.token)
    visit.signed_out = True
    response = RedirectResponse(f"/sign-in?out=1{not_revoked}", status_code=303)
    drop_cookie(response, SESSION)
    response.headers["Clear-Site-Data"] = '"cache", "storage"'
    return response
