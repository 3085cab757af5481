"""The ASGI application: maps each path to its page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from regcred.console import forms
from regcred.console.console import Console, Page, Visit, missing
from regcred.console.forms import Form
from regcred.console.guard import Guard
from regcred.console.handlers import sign_in
from regcred.console.rendering import mark, plain, static
from regcred.errors import RegcredError

Endpoint = Callable[[Request], Awaitable[Response]]


def build(console: Console) -> ASGIApp:
    """The console as an ASGI application."""

    def page(
        path: str, get: Page | None = None, post: Page | None = None, *, needs_vault: bool = True
    ) -> Route:
        methods = [*(["GET"] if get else []), *(["POST"] if post else [])]

        async def answer(request: Request) -> Response:
            sent = request.method == "POST"
            handler = (post if sent else get) or missing
            form = await forms.read(request) if sent else Form()
            return await run_in_threadpool(console.answer, request, form, handler, needs_vault=needs_vault)

        return Route(path, answer, methods=methods)

    def public(path: str, get: Callable[[Console, Request], Response]) -> Route:
        async def answer(request: Request) -> Response:
            return await run_in_threadpool(get, console, request)

        return Route(path, answer, methods=["GET"])

    async def post_sign_in(request: Request) -> Response:
        return await run_in_threadpool(sign_in.sign_in, console, request, await forms.read(request))

    registry = "/registries/{project}/{registry}"
    routes = [
        Route("/healthz", _healthy, methods=["GET"]),
        Route("/static/{mark}/{name}", _static, methods=["GET"]),
        public("/sign-in", sign_in.form),
        Route("/sign-in", post_sign_in, methods=["POST"]),
        public("/sign-in/oidc", sign_in.start_oidc),
        public(sign_in.CALLBACK, sign_in.finish_oidc),
        public("/sign-in/ticket", sign_in.by_ticket),
        page("/sign-out", post=sign_in.sign_out, needs_vault=False),
        page("/", lazy("overview.overview")),
        page("/registries", lazy("registries.registries")),
        page("/registries/add", lazy("edit_registry.choose"), lazy("edit_registry.add")),
        page(registry, lazy("registry.registry")),
        page(f"{registry}/edit", lazy("edit_registry.edit_form"), lazy("edit_registry.edit")),
        page(f"{registry}/secret", lazy("edit_registry.secret_form"), lazy("edit_registry.secret")),
        page(f"{registry}/progress", lazy("registry.progress")),
        page(f"{registry}/do/{{action}}", lazy("registry.confirm"), lazy("registry.act")),
        page("/annotation", lazy("annotation.annotation")),
        page("/clusters", lazy("clusters.clusters")),
        page("/clusters/{cluster}", lazy("clusters.cluster")),
        page("/clusters/{cluster}/grants", lazy("clusters.cluster"), lazy("clusters.grant")),
        page("/projects", lazy("projects.projects")),
        page("/projects/add", lazy("projects.edit_form"), lazy("projects.edit")),
        page("/projects/{project}", lazy("projects.project")),
        page("/projects/{project}/edit", lazy("projects.edit_form"), lazy("projects.edit")),
        page("/projects/{project}/members", lazy("projects.project"), lazy("projects.members")),
        page("/clusters/{cluster}/removals", lazy("clusters.cluster"), lazy("clusters.confirm_removals")),
        page("/explain", lazy("explain.form"), lazy("explain.answer")),
    ]
    return Guard(
        Starlette(routes=routes, exception_handlers=_error_handlers(console)),
        console.settings,
        console.log_event,
    )


def _error_handlers(console: Console) -> dict[Any, Any]:
    """By status or exception: the handler that responds."""
    return {
        404: _not_found(console),
        405: _not_found(console),
        forms.FormTooLargeError: _refuse(console, 413, "The request is larger than the console accepts."),
        forms.BadFormError: _refuse(console, 400, "The request is not a form of this console."),
        RegcredError: _unavailable(console),
        Exception: _bug(console),
    }


def lazy(name: str) -> Page:
    """A page that loads its module at the first request, so that a cold start loads only the sign-in."""
    module, _, function = name.partition(".")

    def page(visit: Visit) -> Response:
        handler: Page = getattr(import_module(f"regcred.console.handlers.{module}"), function)
        return handler(visit)

    return page


async def _healthy(_request: Request) -> Response:
    return PlainTextResponse("ok")


async def _static(request: Request) -> Response:
    found = static().get(request.path_params["name"])
    if found is None or request.path_params["mark"] != mark():
        return PlainTextResponse("Not found.", status_code=404)
    content, kind = found
    return Response(content, media_type=kind, headers={"etag": f'"{mark()}"'})


def _not_found(console: Console) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def answer(request: Request, error: Exception) -> Response:
        return await run_in_threadpool(console.unknown, request, getattr(error, "status_code", 404))

    return answer


def _refuse(console: Console, status: int, text: str) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def answer(request: Request, _error: Exception) -> Response:
        return plain("refused.html", request, console.settings, console.now(), status=status, text=text)

    return answer


def _unavailable(console: Console) -> Callable[[Request, Exception], Awaitable[Response]]:
    """Respond if the sealing keys can't be read, so that sessions can't be verified."""

    async def answer(request: Request, error: Exception) -> Response:
        console.log_event("no sealing keys", error=str(error))
        text = "The console can't reach Vault, so it did nothing. Try again in a moment."
        return plain("refused.html", request, console.settings, console.now(), status=503, text=text)

    return answer


def _bug(console: Console) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def answer(request: Request, _error: Exception) -> Response:
        return plain(
            "refused.html",
            request,
            console.settings,
            console.now(),
            status=500,
            text="An internal error occurred.",
        )

    return answer
