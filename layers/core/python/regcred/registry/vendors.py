"""Vendors' own packages, which a deployment can leave out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from regcred.errors import MalformedError


@contextmanager
def needed(package: str, *, extra: str, field: str = "provider") -> Iterator[None]:
    """Turn a package that is not there into one clear line. For the block that imports it.

    Args:
        package: The package that is imported.
        extra: The extra of regcred that brings it.
        field: The field of the definition that asks for it.

    Raises:
        MalformedError: It is not installed here.
    """
    try:
        yield
    except ImportError:
        raise MalformedError(
            f"{field}: needs {package}, which this deployment leaves out; build the layer with all vendors, or "
            f"install regcred[{extra}]",
            field=field,
        ) from None
