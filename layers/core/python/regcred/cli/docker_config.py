"""The logins in Docker's ``config.json``, which docker, crane, podman and skopeo read.

Only ``read`` and ``write`` access the file. All other functions are pure.

Contract: https://docs.docker.com/reference/cli/docker/login/#credential-helpers
"""

from __future__ import annotations

import base64
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from regcred.errors import MalformedError

HELPER = "regcred"
"""The name of the credential helper ``docker-credential-regcred``."""

Config = dict[str, Any]


def path(environment: Mapping[str, str], home: Path) -> Path:
    """The path of the file: in ``DOCKER_CONFIG``, or else in ``~/.docker``."""
    folder = environment.get("DOCKER_CONFIG", "")
    return (Path(folder) if folder else home / ".docker") / "config.json"


def with_helper(config: Config, host: str) -> Config:
    """Set the credential helper for a host, and remove its password."""
    return without(config, host) | {"credHelpers": {**_table(config, "credHelpers"), host: HELPER}}


def with_login(config: Config, host: str, user: str, password: SecretStr) -> Config:
    """Set the user name and the password for a host."""
    encoded = base64.b64encode(f"{user}:{password.get_secret_value()}".encode()).decode()
    left = without(config, host)
    return left | {"auths": {**_table(left, "auths"), host: {"auth": encoded}}}


def without(config: Config, host: str) -> Config:
    """Remove all entries for a host."""
    tables = {
        name: {key: value for key, value in _table(config, name).items() if key != host}
        for name in ("auths", "credHelpers")
        if name in config
    }
    return config | tables


def _table(config: Config, name: str) -> dict[str, Any]:
    table = config.get(name) or {}
    if not isinstance(table, dict):
        raise MalformedError(f"{name} in Docker's config.json is not an object; fix the file", field=name)
    return table


def read(file: Path) -> Config:
    """The contents of the file; empty if it does not exist.

    Raises:
        MalformedError: it is not a JSON object.
    """
    try:
        content = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        raise MalformedError(f"{file}: is not JSON; fix it, or move it away", field=str(file)) from None
    if not isinstance(content, dict):
        raise MalformedError(f"{file}: is not a JSON object; fix it, or move it away", field=str(file))
    return content


def write(file: Path, config: Config) -> None:
    """Replace the file atomically. Only its owner may read it."""
    target = file.resolve()
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".config-")  # mode 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            json.dump(config, out, indent=2)
            out.write("\n")
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
