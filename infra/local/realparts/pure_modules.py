"""The pure modules in pyproject.toml's import contract. The unit tests measure their branches."""

from __future__ import annotations

import importlib
import pkgutil
import tomllib

from .build import LOCAL

PROJECT = LOCAL.parents[1] / "pyproject.toml"


def names() -> list[str]:
    """Return the modules of the import contract for pure modules."""
    contracts = tomllib.loads(PROJECT.read_text())["tool"]["importlinter"]["contracts"]
    (found,) = (contract for contract in contracts if contract["name"].startswith("Pure modules"))
    return list(found["source_modules"])


def import_all() -> None:
    """Import the pure modules, including all modules of pure packages."""
    for name in names():
        module = importlib.import_module(name)
        for inner in pkgutil.walk_packages(getattr(module, "__path__", ()), f"{name}."):
            importlib.import_module(inner.name)


def coverage_options() -> list[str]:
    """Return the options of pytest that measure the branches of these modules.

    pytest fails below `fail_under` in pyproject.toml.
    """
    return ["--cov-branch", "--cov-report=term:skip-covered", *(f"--cov={name}" for name in names())]
