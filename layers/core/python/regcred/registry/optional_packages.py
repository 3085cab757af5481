"""Reports a vendor's package that this deployment does not include."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from regcred.errors import MalformedError


@contextmanager
def needed(package: str, *, extra: str, field: str = "provider") -> Iterator[None]:
    """Raise a clear error if an import in the block fails.

    Args:
        package: The imported package.
        extra: The extra of regcred that installs it.
        field: The field of the definition that needs it.

    Raises:
        MalformedError: The package is not installed.
    """
    try:
        yield
    except ImportError:
        raise MalformedError(
            f"{field}: needs {package}, which this deployment does not include; build the layer with all "
            f"vendors, or install regcred[{extra}]",
            field=field,
        ) from None
