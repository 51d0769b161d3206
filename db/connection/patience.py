"""How long this process waits for a database, whatever the database does.

A server that is frozen (stopped, or on a disk that hangs) acknowledges every packet: no limit of
its own, no keepalive and no ``tcp_user_timeout`` ever ends a wait for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

STATEMENT_SECONDS = 60
"""Statement timeout of the server."""
_LOOK_SECONDS = 0.25
"""Poll interval of a wait: after so many seconds it sees that ``hurry`` was called."""


@dataclass(slots=True)
class Patience:
    """Limits in seconds. Any thread may ask, and make it hurry."""

    answer: float = STATEMENT_SECONDS + 5.0
    """Seconds without a byte from the server; longer than its own statement timeout."""
    ping: float = 5.0
    """Seconds for the ping of a pooled connection; then a new one is made."""
    connect: float = 2.0
    """Seconds for connecting."""
    last: float = 2.0
    """Seconds for an answer after the deadline of ``hurry``: one that comes at all comes sooner."""
    clock: Callable[[], float] = time.monotonic
    _deadline: float | None = field(default=None, init=False)

    def hurry(self, within: float) -> None:
        """Let every wait end ``within`` seconds, those that have begun included.

        Asked twice, the earlier end counts. There is no way back: the process is ending.
        """
        deadline = self.clock() + within
        self._deadline = min(deadline, self._deadline or deadline)

    def left(self, since: float, seconds: float) -> float:
        """Return how much longer something may be waited for that has been since ``since``
        and may take ``seconds``; 0 or less: no longer."""
        end = since + seconds
        if self._deadline is not None:
            end = min(end, max(self._deadline, since + self.last))
        return end - self.clock()

    def next_look(self, left: float) -> float:
        """Return for how long to sleep at most."""
        return min(left, _LOOK_SECONDS)
