"""Every error that Regcred raises on purpose.

The class says whether a retry helps: only after a :class:`TransientError` may the same call succeed later.
Messages name the wrong input and the remedy. They never contain a secret or a raw response body.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """The parts of a server's error answer that code decides by. An error's text is for people only."""

    status: int
    """The HTTP status. It alone is not a cause."""
    reason: str = ""
    """The server's code for the cause; empty if the answer was not in the server's format."""
    about: str = ""
    """The resource type that the error concerns, as in ``namespaces``."""
    causes: frozenset[str] = frozenset()
    """The server's codes for single causes."""
    fields: frozenset[str] = frozenset()
    """The fields of the request that are wrong."""
    policy: bool = False
    """Whether a validating policy of the API server denied the request, not a webhook, a quota or RBAC."""
    words: str = ""
    """The server's text for people: one printable line. It may repeat the request, so it can contain a
    secret."""


class RegcredError(Exception):
    """Base of all errors that Regcred raises on purpose. Its ``str()`` is one line that a user may see.

    Args:
        message: What was wrong with which input, and what to do, in one line without secrets.
    """

    kind = "error"
    answer: ErrorAnswer | None = None
    """The server's answer, if an answer in the server's format caused this error."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class TransientError(RegcredError):
    """The same call may succeed later: a network failure, a throttle, a sealed Vault, a 5xx.

    Args:
        message: See :class:`RegcredError`.
        retry_after: How long the server asked clients to wait, if it did.
    """

    kind = "transient"

    def __init__(self, message: str, *, retry_after: timedelta | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class TooSoonError(TransientError):
    """The request would end something that is still in use. Ask again after ``retry_after``."""


class UnverifiedError(TransientError):
    """A credential could not be verified at its registry."""

    kind = "unverified"


class RefusedError(RegcredError):
    """The server understood the request and refused it: a wrong secret, a missing permission."""

    kind = "refused"


class MalformedError(RegcredError):
    """An input can't be parsed.

    Args:
        message: See :class:`RegcredError`.
        field: The field that is wrong, as its owner would write it (``scope.repositories[0]``), or ``""``.
        problems: Each wrong field with its problem, if the message names several.
    """

    kind = "malformed"

    def __init__(self, message: str, *, field: str = "", problems: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(message)
        self.field = field
        self.problems = tuple(problems)


class MissingError(RegcredError):
    """The object does not exist. This is known, not guessed from a failure."""

    kind = "missing"


class ConflictError(RegcredError):
    """Another writer was faster: a check-and-set version or resourceVersion no longer matches.

    Read again and decide again.
    """

    kind = "conflict"
