"""Lists that are let go of while they are worked through, so that memory does not hold both them
and what comes of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

T = TypeVar("T")


def drained(items: list[T], at_once: int) -> Iterator[list[T]]:
    """Yield the items in their order, some at a time; each leaves its list before it is yielded.

    Taken from the end of the turned list, where that costs nothing.
    """
    items.reverse()
    while items:
        some = items[-at_once:]
        del items[-at_once:]
        some.reverse()
        yield some
