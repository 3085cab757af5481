"""Reports the problem with a kubeconfig in one line."""

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
    """Handle errors while a kubeconfig is read or a session is opened.

    The library raises any error of its parsers and OpenSSL.

    Args:
        context: The wanted context; None for the current one.

    Raises:
        MalformedError: there is no kubeconfig, it lacks the context, or it can't be read.
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
    except Exception as error:  # noqa: BLE001 - see above
        reason = f"{type(error).__name__}; it is not a kubeconfig, or a file that it names is broken"
        if isinstance(error, ConfigException):
            reason = str(error).rstrip(".")
        raise MalformedError(
            f"no kubeconfig with {wanted} can be used ({reason}); set KUBECONFIG, or name a --context",
            field="KUBECONFIG",
        ) from None
    finally:
        log.removeFilter(captured)


def named_files() -> str:
    """The kubeconfig files of the environment, after checking that they exist and can be read.

    The library reads the environment only once, when it is imported. Give it this as ``config_file``.

    Returns:
        Their paths, separated as in ``KUBECONFIG``.

    Raises:
        MalformedError: names each file and its problem. If one of several files is missing, that is normal
            and no error.
    """
    named = os.environ.get("KUBECONFIG")
    paths = [Path(name).expanduser() for name in (named or "~/.kube/config").split(os.pathsep) if name]
    problems = [_file(path) for path in paths]
    if not all(problems):
        return os.pathsep.join(map(str, paths))
    wrong = "; ".join(f"{path} {problem}" for path, problem in zip(paths, problems, strict=True))
    raise MalformedError(
        f"no kubeconfig can be read: {wrong}; {'correct' if named else 'set'} KUBECONFIG", field="KUBECONFIG"
    )


def _file(path: Path) -> str:
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
    """Records an error that the library only logs: a failed ``exec`` command.

    The library would continue without a login.
    """

    message = ""

    def filter(self, record: logging.LogRecord) -> bool:
        """Record it, without the command's own output."""
        if record.levelno < logging.ERROR:
            return True
        self.message = re.split(r"\. b['\"]", record.getMessage().removeprefix("exec: "))[0][:200]
        return False
