"""Renders the templates.

Values are always escaped. An undefined name is an error, so that tests find misspelt names.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from regcred import __version__
from regcred.console.interface import ConsoleOptions
from regcred.printable import printable_lines
from regcred.wording import duration, expires_in, plural

_HERE = Path(__file__).parent


@cache
def static() -> dict[str, tuple[bytes, str]]:
    """By file name: the static file and its media type."""
    kinds = {
        ".css": "text/css; charset=utf-8",
        ".js": "text/javascript; charset=utf-8",
        ".svg": "image/svg+xml",
    }
    files = sorted((_HERE / "static").iterdir())
    return {path.name: (path.read_bytes(), kinds[path.suffix]) for path in files if path.suffix in kinds}


@cache
def mark() -> str:
    """The digest of the static files in their address, so that browsers may cache them forever."""
    return sha256(b"".join(content for content, _ in static().values())).hexdigest()[:12]


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {"utc": utc, "iso": iso, "few": few}
    environment.globals |= {
        "asset": lambda name: f"/static/{mark()}/{name}",
        "plural": plural,
        "duration": duration,
        "expires_in": expires_in,
        "version": __version__,
    }
    return environment


def _shown(value: Any) -> Any:
    """Show control and bidirectional characters as escapes, so that external texts can't hide anything."""
    return printable_lines(value) if type(value) is str else value


def render(template: str, **values: Any) -> str:
    """The HTML of a page."""
    return _environment().get_template(template).render(values)


def plain(
    template: str, request: Request, settings: ConsoleOptions, now: datetime, *, status: int, **values: Any
) -> Response:
    """A page for a person who is not signed in."""
    common = {"now": now, "path": request.url.path, "settings": settings, "csrf": "", "session": None}
    return HTMLResponse(render(template, **common, token_expires=None, **values), status_code=status)


def utc(time: datetime) -> str:
    """A time for people, in UTC."""
    return time.astimezone(UTC).strftime("%d %b %Y, %H:%M UTC")


def iso(time: datetime) -> str:
    """A time for programs."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def few(items: list[str] | tuple[str, ...], most: int = 1) -> str:
    """The first items, and the number of remaining ones."""
    more = len(items) - most
    return ", ".join(items[:most]) + (f" +{more}" if more > 0 else "")
