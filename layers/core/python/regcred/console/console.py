"""One console: the shared state of all requests, and how each is handled."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from hmac import compare_digest
from typing import Any

from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from regcred.clock import Clock
from regcred.console import guard, saved_form
from regcred.console.cookies import SESSION as COOKIE
from regcred.console.cookies import drop_cookie, put_cookie
from regcred.console.fleet import Fleet
from regcred.console.forms import Form
from regcred.console.interface import ConsoleAccess, ConsoleOptions, Ticket, Vault, Who, never_nudge
from regcred.console.rendering import plain, render
from regcred.console.sealed_cookies import SESSION, BrowserSession, Seal
from regcred.console.vault_reader import Reader
from regcred.errors import (
    ConflictError,
    MalformedError,
    MissingError,
    RefusedError,
    RegcredError,
    TransientError,
)
from regcred.log import describe_bug

READERS_KEPT = 64
"""The number of tokens whose visible data is cached."""

RESEAL_AFTER = timedelta(minutes=1)
"""The age of the last request's time in the cookie at which the cookie is written again."""

RENEW_BELOW = 1 / 3
"""The remaining share of a token's life below which the console renews it."""


def _prepare(fleet: Fleet) -> None:
    from regcred.console import health  # noqa: PLC0415 - a cold start does not need it

    health.prepare(fleet)


@dataclass
class Console:
    """The shared state of all requests."""

    settings: ConsoleOptions
    vault: Vault
    seal: Seal
    now: Clock
    nudge: Callable[[str], bool] = never_nudge
    ticket: Ticket | None = None
    log_event: Callable[..., None] = lambda *_, **__: None
    """Writes a line of the log: an event's name, then its fields."""
    _readers: OrderedDict[str, Reader] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def reader(self, token: SecretStr) -> Reader:
        """The reader of a token's visible data. The cache contains the last used tokens, by digest."""
        key = sha256(token.get_secret_value().encode()).hexdigest()
        with self._lock:
            reader = self._readers.pop(key, None) or Reader(
                self.vault.with_token(token), self.settings, self.now, _prepare
            )
            self._readers[key] = reader
            while len(self._readers) > READERS_KEPT:
                self._readers.popitem(last=False)
            return reader

    def forget(self, token: SecretStr) -> None:
        """Drop everything that a token has read."""
        key = sha256(token.get_secret_value().encode()).hexdigest()
        with self._lock:
            self._readers.pop(key, None)

    def session(self, request: Request) -> BrowserSession | None:
        """The session of a request, if it has a valid one."""
        content = self.seal.open(SESSION, request.cookies.get(COOKIE, ""))
        session = BrowserSession.read(content) if content else None
        return session if session and not session.ended(self.now(), self.settings) else None

    def begin(self, response: Response, session: BrowserSession) -> None:
        """Set a session in the browser."""
        put_cookie(response, COOKIE, self.seal.close(SESSION, session.content()))

    def answer(self, request: Request, form: Form, page: Page, *, needs_vault: bool = True) -> Response:
        """Handle a request of a signed-in person. Send everybody else to the sign-in page.

        Args:
            request: The request.
            form: Its form; empty for GET.
            page: The handler.
            needs_vault: Whether to show an error instead if Vault does not answer.
        """
        session = self.session(request)
        if request.method == "POST" and not guard.same_origin(request, self.settings):
            return plain("forged.html", request, self.settings, self.now(), status=403)
        if session is None:
            return saved_form.sign_in_first(self.seal, self.settings, self.now(), request, form, entity="")
        reader = self.reader(session.token)
        visit = Visit(self, request, form, session, reader, Who(session.name))
        try:
            visit.who = reader.access.who()
        except RefusedError:
            self.forget(session.token)
            return saved_form.sign_in_first(
                self.seal, self.settings, self.now(), request, form, entity=session.entity
            )
        except RegcredError as error:
            if needs_vault:
                return failure(visit, error)
        if request.method == "POST" and not compare_digest(form.get("csrf").encode(), session.csrf.encode()):
            return saved_form.save(
                self.seal,
                self.settings,
                visit.page("stale.html", status=403),
                request,
                form,
                entity=session.entity,
            )
        response = self._page(visit, page)
        self._keep_alive(visit, response)
        return response

    def unknown(self, request: Request, status: int) -> Response:
        """The response for a missing address. It is the same for things that the person may not see."""
        if self.session(request) is None:
            return saved_form.sign_in_first(self.seal, self.settings, self.now(), request, Form(), entity="")

        def page(visit: Visit) -> Response:
            return visit.page("missing.html", status=status)

        return self.answer(_as_get(request), Form(), page)

    def _page(self, visit: Visit, page: Page) -> Response:
        try:
            response = page(visit)
        except RegcredError as error:
            return failure(visit, error)
        except Exception as error:  # noqa: BLE001 - the page does not show its text, which may contain secrets
            self.log_event("bug", path=visit.request.url.path, **describe_bug(error))
            return visit.page("bug.html", status=500, kind=type(error).__name__)
        finally:
            if visit.request.method == "POST":
                visit.reader.forget()
        if visit.restored_form:
            drop_cookie(response, saved_form.COOKIE)
        return response

    def _keep_alive(self, visit: Visit, response: Response) -> None:
        now, session = self.now(), visit.session
        if visit.signed_out:
            return
        if now - session.seen_at >= RESEAL_AFTER:
            self.begin(response, session.seen(now))
        who = visit.who
        if who.renewable and who.ttl and who.created_ttl and who.ttl < who.created_ttl * RENEW_BELOW:
            with suppress(RegcredError):  # without a renewal, the session ends at its time
                visit.access.renew()


@dataclass
class Visit:
    """One request of a signed-in person."""

    console: Console
    request: Request
    form: Form
    session: BrowserSession
    reader: Reader
    who: Who
    restored_form: bool = False
    signed_out: bool = False

    @property
    def access(self) -> ConsoleAccess:
        """Vault with the person's token."""
        return self.reader.access

    @property
    def now(self) -> datetime:
        """The current time."""
        return self.console.now()

    def fleet(self) -> Fleet:
        """Everything that the person may see."""
        return self.reader.fleet(self.who)

    def parameter(self, name: str, default: str = "") -> str:
        """A query parameter."""
        return self.request.query_params.get(name, default)

    def named(self, name: str) -> str:
        """A path parameter."""
        return str(self.request.path_params[name])

    def saved_form(self) -> Form | None:
        """The input of this form from before the session ended; None if there is none."""
        saved = saved_form.restore(self.console.seal, self.request, self.who.entity)
        self.restored_form = self.restored_form or saved is not None
        return saved

    def page(self, template: str, *, status: int = 200, **values: Any) -> Response:
        """A page of the console."""
        expires = self.now + self.who.ttl if self.who.ttl is not None else None
        return HTMLResponse(
            render(
                template,
                now=self.now,
                path=self.request.url.path,
                settings=self.console.settings,
                csrf=self.session.csrf,
                session=self.session,
                token_expires=expires,
                **values,
            ),
            status_code=status,
        )

    def go(self, path: str) -> Response:
        """Redirect the browser to another page of the console after an action."""
        return RedirectResponse(path, status_code=303)


Page = Callable[[Visit], Response]


def missing(visit: Visit) -> Response:
    """The page for things that don't exist or that the person may not see."""
    return visit.page("missing.html", status=404)


def _as_get(request: Request) -> Request:
    """The request as a GET, so that a missing address changes nothing."""
    return Request({**request.scope, "method": "GET"})


_STATUS: tuple[tuple[type[RegcredError], int], ...] = (
    (MissingError, 404),
    (RefusedError, 404),
    (TransientError, 503),
    (ConflictError, 409),
    (MalformedError, 422),
)


def failure(visit: Visit, error: RegcredError) -> Response:
    """The page for a failure.

    "Not found" and "not allowed" get the same page, so that nobody learns which names exist.
    """
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    if status == 404:  # noqa: PLR2004 - the status itself
        return visit.page("missing.html", status=status)
    typed = visit.form.typed()
    secrets = len(typed) < len(visit.form.fields) - visit.form.has("csrf")
    return visit.page("failure.html", status=status, error=str(error), typed=typed, secrets=secrets)
