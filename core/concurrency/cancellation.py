"""Asking a run to stop: from the page, from the keyboard, from the operating system."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

DRAIN_SECONDS = 20.0
"""How long files in flight may go on when the process is told to end (SIGTERM)."""


class StopSignal:
    """A request to stop that any thread may make and everybody can see."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._requested = threading.Event()
        self._deadline: float | None = None

    def request(self, within: float | None = None) -> None:
        """Ask to stop. Files under way finish, for ``within`` seconds at most; None: no limit.
        Asked twice, the earlier deadline counts."""
        if within is not None:
            deadline = self._clock() + within
            self._deadline = min(deadline, self._deadline or deadline)
        self._requested.set()

    @property
    def requested(self) -> bool:
        return self._requested.is_set()

    @property
    def expired(self) -> bool:
        """True once files under way have to be given up as well."""
        return self._deadline is not None and self._clock() >= self._deadline
