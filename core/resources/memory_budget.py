"""Admission control by memory: how many bytes the console may hold for people's requests.

Whatever keeps bytes for somebody (uploads, checks, files of hits in the making, sessions) asks
here first. What is not granted is refused with a sentence; nothing is ever held beyond the
limit. The bytes are what a thing takes at most, known or measured: memory itself cannot be asked.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType

from core.errors import ListError

MIB = 1024 * 1024
_SESSIONS, _EXPORTS, _UPLOADS = 4, 8, 4
"""Divisors of the whole: sessions may take a quarter of it, files of hits an eighth."""


class MemoryBudgetError(ListError):
    """The budget is used up: nothing was taken, and trying again later may help."""

    def __init__(self) -> None:
        super().__init__(
            "サーバーのメモリーに空きがないため、いまは受け付けられません。"
            "数分待ってから、もう一度お試しください。"
            "続くときは、管理者に連絡してください（設定 HIMURO_MEMORY_BUDGET）。"
        )


class MemoryBudget:
    """Counts bytes against a limit and refuses what exceeds it. Any thread may call it.

    A part has a limit of its own and counts in the whole as well.
    """

    def __init__(self, limit: int, whole: MemoryBudget | None = None) -> None:
        """``limit``: bytes."""
        self.limit = limit
        self._whole = whole
        self._lock: threading.RLock = whole._lock if whole else threading.RLock()
        self._reserved = 0
        self._counted: list[Callable[[], int]] = []
        self._parts: list[MemoryBudget] = []

    def part(self, limit: int) -> MemoryBudget:
        """Return a part of this budget that may take no more than ``limit`` bytes."""
        with self._lock:
            part = MemoryBudget(min(limit, self.limit), self)
            self._parts.append(part)
            return part

    def count(self, held: Callable[[], int]) -> None:
        """Count bytes that others hold without asking here; ``held`` tells how many."""
        with self._lock:
            self._counted.append(held)

    @property
    def held(self) -> int:
        """Bytes that are held now, those of all parts included."""
        with self._lock:
            own = self._reserved + sum(held() for held in self._counted)
            return own + sum(part.held for part in self._parts)

    def has_room(self, size: int) -> bool:
        """Return whether so many bytes would be granted now."""
        with self._lock:
            fits = self.held + size <= self.limit
            return fits and (self._whole is None or self._whole.has_room(size))

    def reserve(self, size: int) -> Reservation:
        """Take bytes until they are given back; raises ``MemoryBudgetError``."""
        reservation = Reservation(self)
        reservation.resize(size)
        return reservation

    def _change(self, change: int) -> None:
        with self._lock:
            if change > 0 and not self.has_room(change):
                raise MemoryBudgetError
            self._reserved += change


class Reservation:
    """Bytes that somebody has taken; as a context manager it gives them back at its end."""

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self.size = 0

    def resize(self, size: int) -> None:
        """Take more or give some back; raises ``MemoryBudgetError`` and keeps what it has."""
        with self._budget._lock:
            self._budget._change(size - self.size)
            self.size = size

    def release(self) -> None:
        """Give everything back. A second call does nothing."""
        self.resize(0)

    def __enter__(self) -> Reservation:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.release()


class ConsoleMemory:
    """The budget of one console, and its parts.

    Sessions and files of hits are had by anybody, also without signing in; their parts are
    limited, so that nobody takes from the operators what checks and uploads need.
    """

    def __init__(self, limit: int) -> None:
        """``limit``: bytes of everything together."""
        self.whole = MemoryBudget(limit)
        self.sessions = self.whole.part(limit // _SESSIONS)
        self.exports = self.whole.part(limit // _EXPORTS)
        self.uploads = self.whole.part(limit // _UPLOADS)
        self.checks = self.whole.part(limit)
        """And the plans of runs that wait: what the others leave."""
