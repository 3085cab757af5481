"""Saves the input of a form in a sealed cookie while the person signs in again after a session has ended."""

from __future__ import annotations

from datetime import datetime
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from regcred.console import guard
from regcred.console.cookies import SESSION as SESSION_COOKIE
from regcred.console.cookies import drop_cookie, put_cookie
from regcred.console.forms import Form
from regcred.console.interface import ConsoleOptions
from regcred.console.rendering import plain
from regcred.console.sealed_cookies import COOKIE_MAX, SAVED_FORM, Seal

COOKIE = "__Host-regcred-form"


def sign_in_first(
    seal: Seal, settings: ConsoleOptions, now: datetime, request: Request, form: Form, *, entity: str
) -> Response:
    """Redirect to the sign-in page, and save the input.

    Args:
        seal: Seals the input.
        settings: The settings of the console.
        now: The current time.
        request: A request without a valid session.
        form: The input.
        entity: The person, if known. Then only this person gets the input back.
    """
    path = guard.local_path(request.url.path + (f"?{request.url.query}" if request.url.query else ""))
    onward = "/sign-in" + (f"?next={quote(path, safe='')}" if path != "/" else "")
    response: Response
    if request.method in {"GET", "HEAD"}:
        response = RedirectResponse(onward, status_code=303)
    else:
        typed = form.typed()
        sealed = _sealed(seal, settings, request, form, entity)
        response = plain(
            "signed-out.html",
            request,
            settings,
            now,
            status=401,
            onward=onward,
            saved=bool(sealed),
            typed=typed,
            secrets=len(typed) < len(form.fields) - form.has("csrf"),
        )
        if sealed:
            put_cookie(response, COOKIE, sealed)
    if SESSION_COOKIE in request.cookies:
        drop_cookie(response, SESSION_COOKIE)
    return response


def save(
    seal: Seal, settings: ConsoleOptions, response: Response, request: Request, form: Form, *, entity: str
) -> Response:
    """Save the input of a form that must be sent again."""
    if sealed := _sealed(seal, settings, request, form, entity):
        put_cookie(response, COOKIE, sealed)
    return response


def restore(seal: Seal, request: Request, entity: str) -> Form | None:
    """The saved input of this form and this person; None if there is none."""
    content = seal.open(SAVED_FORM, request.cookies.get(COOKIE, ""))
    if content is None or content["path"] != request.url.path or content["entity"] not in {"", entity}:
        return None
    return Form([(str(key), str(value)) for key, value in content["fields"]])


def _sealed(seal: Seal, settings: ConsoleOptions, request: Request, form: Form, entity: str) -> str:
    """The text of the cookie; empty if there is no input, or too much."""
    typed = form.typed()
    if not typed or not guard.same_origin(request, settings):
        return ""
    text = seal.close(SAVED_FORM, {"path": request.url.path, "entity": entity, "fields": typed})
    return text if len(text) <= COOKIE_MAX else ""
