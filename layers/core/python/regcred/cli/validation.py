"""Creates records from the user's input."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import ValidationError

from regcred.cli.failures import user_input
from regcred.vault.records.document import Record, malformed

R = TypeVar("R", bound=Record)


def valid(model: type[R], **fields: Any) -> R:
    """Create a record.

    Raises:
        BadInputError: names each wrong field and the right form.
    """
    with user_input():
        try:
            return model(**fields)
        except ValidationError as error:
            raise malformed(error, where="not written") from None
