"""The configuration of a Distribution registry."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def configuration(directory: Path, *, http: dict[str, Any], token: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration of a registry with token authentication, as YAML or JSON.

    Args:
        directory: a folder. Its folder `data` contains the images.
        http: the section `http`.
        token: the section `auth.token`.
    """
    return {
        "version": "0.1",
        "log": {"level": "info", "accesslog": {"disabled": True}},
        "storage": {
            "filesystem": {"rootdirectory": str(directory / "data")},
            "delete": {"enabled": True},
        },
        "http": http,
        "auth": {"token": token | {"signingalgorithms": ["ES256"]}},
    }
