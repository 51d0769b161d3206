"""How many threads a pool needs: more while they wait, no more once the processor is the limit."""

from __future__ import annotations

LOOK_SECONDS = 0.25
"""Between two looks; a single slow answer is no reason to grow."""
BUSY_CORES = 0.5
"""Threads of one interpreter that use more than this together hinder each other: on a local disk
one keeps busy, and more only fight over the interpreter lock; a share at 2 ms a call needs all."""
WORTH = 1.1
"""How many times faster it must have become for the next growth."""


class PoolScaling:
    """Says when a pool is to be doubled. Times in seconds, on the monotonic clock."""

    def __init__(self, look_seconds: float = LOOK_SECONDS, worth: float = WORTH) -> None:
        """``worth``: how many times faster it must have become for the next growth; 0: growth is
        never in vain, as where single answers are so quick that only the processor limits."""
        self._look_seconds = look_seconds
        self._worth = worth
        self._looked_at: float | None = None
        self._busy = 0.0
        self._done = 0.0
        self._rate: float | None = None
        """Before the last growth."""
        self._grown = False
        self._over = False

    def is_due(self, now: float, busy_seconds: float, done: float) -> bool:
        """Return whether more threads are worth a try.

        ``busy_seconds``: processor time of all threads so far; ``done``: how much they have
        done so far, in whatever unit. Growth that brought nothing is the last one.
        """
        if self._looked_at is None:
            self._looked_at = now
            return False
        elapsed = now - self._looked_at
        if self._over or elapsed < self._look_seconds:
            return False
        cores, rate = (busy_seconds - self._busy) / elapsed, (done - self._done) / elapsed
        self._looked_at, self._busy, self._done = now, busy_seconds, done
        if self._grown and self._worth:
            # What was under way meanwhile was begun by fewer threads.
            self._grown = False
            return False
        if self._rate is not None and rate < self._rate * self._worth:
            self._over = True
            return False
        if cores >= BUSY_CORES:
            return False
        self._rate, self._grown = rate, True
        return True
