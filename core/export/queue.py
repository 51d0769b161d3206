"""Whose file is made next: the turn goes round the addresses that ask, whoever came first.

An address has at most ``MAX_EACH`` files that wait, so that one machine that asks for many
keeps nobody waiting for all of them; and it has its turn again only when everybody else who
waits has had one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, Protocol, TypeVar

MAX_WAITING = 20
"""Of all addresses together."""
MAX_EACH = 2
"""Of one address."""
AWAY = timedelta(seconds=30)
"""Who has not come back for so long has left: a network that fails for a moment is no reason."""


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks for a file."""

    address: str = ""
    """What one customer of a network has (``core.auth.waiting_line.Networks.own``)."""
    is_there: Callable[[], bool] = lambda: True
    """Whether the page that asked is still open. Called from any thread; must not wait."""


NOBODY = Asker()
"""Whoever cannot be told from others, and never leaves."""


class Waiting(Protocol):
    """What the line needs to know of a file."""

    asker: Asker
    number: int
    """The order in which they were asked for."""
    away_since: datetime | None


T = TypeVar("T", bound=Waiting)


class Line(Generic[T]):
    """Files that wait. Not safe by itself: whoever holds it has the lock."""

    def __init__(self) -> None:
        self._waiting: list[T] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, job: T) -> bool:
        return job in self._waiting

    def add(self, job: T) -> None:
        self._waiting.append(job)

    def remove(self, job: T) -> None:
        self._waiting.remove(job)

    def clear(self) -> None:
        self._waiting.clear()

    def waiting_of(self, address: str) -> int:
        return sum(job.asker.address == address for job in self._waiting)

    def in_order(self, working: Iterable[T]) -> list[T]:
        """Return all in the order of their turns, while those of ``working`` are made."""
        turns = Counter(job.asker.address for job in working)
        ordered = []
        for job in sorted(self._waiting, key=lambda job: job.number):
            ordered.append((turns[job.asker.address], job.number, job))
            turns[job.asker.address] += 1
        return [job for _turn, _number, job in sorted(ordered, key=lambda entry: entry[:2])]


def has_left(job: Waiting, now: datetime) -> bool:
    """Look whether somebody is still there; return whether he has been away for ``AWAY``."""
    if job.asker.is_there():
        job.away_since = None
        return False
    if job.away_since is None:
        job.away_since = now
    return now - job.away_since >= AWAY
