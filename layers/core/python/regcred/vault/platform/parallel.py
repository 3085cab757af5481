"""Reads many resources of Vault at the same time."""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

WORKERS = 8
"""The maximum number of parallel reads."""


def read_each(read: Callable[[str], T], names: Collection[str]) -> dict[str, T]:
    """Call a function with each name, in several threads. Return the results by name, in the same order.

    Raises:
        RegcredError: the first error of the function, in the order of the names.
    """
    with ThreadPoolExecutor(WORKERS) as pool:
        return dict(zip(names, pool.map(read, names), strict=True))
