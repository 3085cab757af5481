"""What is wrong with a kubeconfig, in one line."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from regcred.errors import MalformedError


@contextmanager
def usable(context: str | None) -> Iterator[None]:
    """Read a kubeconfig, or open a session by it, inside; the library raises whatever its parsers and OpenSSL do.

    Args:
        context: The context that is wanted, None for the current one.

    Raises:
        MalformedError: there is no kubeconfig, it has no such context, or it can't be read.
    """
    from kubernetes.aio.config import ConfigException

    # Its warning that there is no file would be a second line.
    logging.getLogger("kubernetes.aio.config").setLevel(logging.ERROR)
    wanted = f"the context {context!r}" if context else "a current context"
    try:
        yield
    except Exception as error:  # noqa: BLE001 - see above
        reason = f"{type(error).__name__}; it is none, or a file that it names is broken"
        if isinstance(error, ConfigException):
            reason = str(error).rstrip(".")
        raise MalformedError(
            f"no kubeconfig with {wanted} can be used ({reason}); set KUBECONFIG, or name a --context",
            field="KUBECONFIG",
        ) from None
