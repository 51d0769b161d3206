"""A clock that a test turns by hand."""

from __future__ import annotations


class Clock:
    """Returns ``now``, seconds, when it is called; they pass when the test says so."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now
