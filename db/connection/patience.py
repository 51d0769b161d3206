"""How long this process waits for a database, whatever the database does.

A server that is frozen (stopped, or on a disk that hangs) acknowledges every packet: no limit of
its own, no keepalive and no ``tcp_user_timeout`` ever ends a wait for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

STATEMENT_SECONDS = 60
"""After which the server itself ends a statement."""
_LOOK_SECONDS = 0.25
"""How long a wait may keep a request to hurry waiting."""


@dataclass(slots=True)
class Patience:
    """Limits in seconds. Any thread may ask, and make it hurry."""

    answer: float = STATEMENT_SECONDS + 5.0
    """Without a byte from the server; more than it allows a statement."""
    ping: float = 5.0
    """For a connection that is to be used again: so long until a new one is tried."""
    connect: float = 2.0
    """For the making of a connection."""
    last: float = 2.0
    """What an answer may take when time is over: one that is there at all comes much sooner."""
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
