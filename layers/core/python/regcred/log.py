"""Removes secrets from log lines.

Regcred's code does not log secrets, which are ``SecretStr``. This is the second safeguard. It works on the
finished line, so it also covers the logs of libraries, the texts of exceptions, and extra fields.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from traceback import extract_tb

HIDDEN = "***"
"""The replacement for a secret."""

_FIELDS = (
    r"password|passwd|secret|token|auth|authorization|authorizationtoken|identitytoken|registrytoken|"
    r"secretaccesskey|aws_secret_access_key|secret_access_key|sessiontoken|session_token|aws_session_token|"
    r"client_token|client_secret|client_assertion|access_token|refresh_token|id_token|subject_token|webidentitytoken|"
    r"x-vault-token|x-amz-security-token|private_key|\.dockerconfigjson|jwt"
)
_QUOTE = r"\\{0,127}+[\"']"
"""A quote in JSON that may be nested in JSON: each level doubles the backslashes."""

_PATTERNS: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    (re.compile(r"\b(?:hv[sbr]|[sbr])\.[A-Za-z0-9_-]{20,}"), HIDDEN),  # Vault and OpenBao tokens
    # JSON Web Tokens. The header has a maximum length, because a search starts at each "eyJ".
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,2000}+\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)?"), HIDDEN),
    (re.compile(r"\b(Basic|Bearer)\s++[A-Za-z0-9+/=._~-]{8,}", re.IGNORECASE), rf"\1 {HIDDEN}"),
    (re.compile(r"(://)[^/\s:@\"']+:[^/\s@\"']+@"), rf"\1{HIDDEN}@"),  # user and password in a URL
    # A field of JSON or of a Python dict. If the line was cut, the value ends with the line.
    (
        re.compile(
            rf"([\"'](?:{_FIELDS}){_QUOTE}\s*+:\s*+)({_QUOTE})(?:(?!(?<!\\)\2).)++((?:\2)?)",
            re.IGNORECASE,
        ),
        rf"\1\2{HIDDEN}\3",
    ),
    (re.compile(rf"\b((?:{_FIELDS})=)[^\s&,;\"'\\]{{6,}}", re.IGNORECASE), rf"\1{HIDDEN}"),
    # Longer than any digest, id or ARN: ECR and session tokens, keys, certificates.
    (re.compile(r"[A-Za-z0-9+/=_-]{120,}"), HIDDEN),
)


LINE_MAX = 64 * 1024
"""The maximum length of a line in characters. Longer lines are cut before the search for secrets."""


def cut(text: str, most: int) -> str:
    """The text, cut after ``most`` characters, with the number of characters that are missing."""
    return text if len(text) <= most else f"{text[:most]}... ({len(text) - most} more characters)"


def redact(line: str) -> str:
    """Replace everything that looks like a secret: tokens by their form, fields by their name.

    The time is linear in the length of the line, whatever it contains.
    """
    for pattern, replacement in _PATTERNS:
        line = pattern.sub(replacement, line)
    return line


class RedactingFormatter(logging.Formatter):
    """Redacts the lines of another formatter."""

    def __init__(self, inner: logging.Formatter | None = None) -> None:
        super().__init__()
        self._inner = inner or logging.Formatter()

    def format(self, record: logging.LogRecord) -> str:
        """The finished line, without secrets."""
        return redact(cut(self._inner.format(record), LINE_MAX))


def guard(logger: logging.Logger) -> None:
    """Redact what the logger's handlers write, also for other loggers that use them.

    A second call has no effect.
    """
    for handler in logger.handlers:
        if not isinstance(handler.formatter, RedactingFormatter):
            handler.setFormatter(RedactingFormatter(handler.formatter))


def describe_bug(error: Exception) -> dict[str, str]:
    """The fields to log about an unexpected error: its type and its place.

    Its text is left out, because it may contain a secret.
    """
    place = extract_tb(error.__traceback__)[-1]
    return {"error": type(error).__name__, "at": f"{place.filename}:{place.lineno}"}
