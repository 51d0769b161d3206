"""A sliding-window rate limiter: calls stay below a quota, however many threads make them."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable


class RateLimiter:
    """At most ``most`` calls of ``wait`` return in any second. Safe in any thread."""

    def __init__(
        self,
        most: int,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._clock, self._sleep = clock, sleep
        self._turns: deque[float] = deque([float("-inf")] * most, most)
        """When the last turns were given, oldest first."""
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Return when it is the caller's turn."""
        with self._lock:
            now = self._clock()
            turn = max(now, self._turns[0] + 1.0)
            self._turns.append(turn)
        if turn > now:
            self._sleep(turn - now)
