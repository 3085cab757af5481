"""Turns the errors of a kubeconfig into one message."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from regcred.errors import MalformedError


@contextmanager
def usable(context: str | None) -> Iterator[None]:
    """Convert every error inside the context: it reads a kubeconfig or opens a session.

    The Kubernetes library also raises the errors of its parsers and of OpenSSL, of any type.

    Args:
        context: The kubeconfig's context that the user named; None for the current one.

    Raises:
        MalformedError: there is no kubeconfig, it has no such context, or it can't be read.
    """
    from kubernetes.aio.config import ConfigException

    # The library's warning about a missing file would be a second line.
    logging.getLogger("kubernetes.aio.config").setLevel(logging.ERROR)
    log, captured = logging.getLogger("kubernetes.aio.config.kube_config"), _ErrorCapture()
    wanted = f"the context {context!r}" if context else "a current context"
    log.addFilter(captured)
    try:
        yield
        if captured.message:
            raise ConfigException(f"its user's command failed: {captured.message}: run it by hand")
    except Exception as error:  # noqa: BLE001 - see the docstring
        reason = f"{type(error).__name__}: it is not a kubeconfig, or a file that it names is broken"
        if isinstance(error, ConfigException):
            reason = str(error).rstrip(".")
        raise MalformedError(
            f"no kubeconfig with {wanted} can be used ({reason}); set KUBECONFIG, or name a --context",
            field="KUBECONFIG",
        ) from None
    finally:
        log.removeFilter(captured)


def named_files() -> str:
    """The kubeconfig files that the environment names. At least one of them exists and can be read.

    Give the result to the library as ``config_file``, because it reads the environment only at its import.

    Returns:
        Their paths, separated as in ``KUBECONFIG``.

    Raises:
        MalformedError: none of the files can be read. The message names each file and its problem.
    """
    named = os.environ.get("KUBECONFIG")
    paths = [Path(name).expanduser() for name in (named or "~/.kube/config").split(os.pathsep) if name]
    problems = [_problem(path) for path in paths]
    if not all(problems):
        return os.pathsep.join(map(str, paths))
    wrong = "; ".join(f"{path} {problem}" for path, problem in zip(paths, problems, strict=True))
    raise MalformedError(
        f"no kubeconfig can be read: {wrong}; {'correct' if named else 'set'} KUBECONFIG", field="KUBECONFIG"
    )


def _problem(path: Path) -> str:
    """Why a file can't be read; empty if it can be."""
    try:
        if path.is_dir():
            return "is a folder"
        path.open("rb").close()
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"can't be read: {(error.strerror or type(error).__name__).lower()}"
    return ""


class _ErrorCapture(logging.Filter):
    """Records that an ``exec`` command failed. The library only logs this, and continues without a login."""

    message = ""

    def filter(self, record: logging.LogRecord) -> bool:
        """Record an error, without the output of the command."""
        if record.levelno < logging.ERROR:
            return True
        self.message = re.split(r"\. b['\"]", record.getMessage().removeprefix("exec: "))[0][:200]
        return False
