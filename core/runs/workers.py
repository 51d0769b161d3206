"""The worker pool of a run: one that can be asked to stop, and is not waited for without end.

Nothing here touches the archive list or the run folder. What a thread finds out it puts into
``RunWorkers.results``, for the one collector that started the pool.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Generic, Protocol, TypeVar

from core.concurrency.cancellation import StopSignal
from core.concurrency.scaling import PoolScaling
from core.concurrency.worker_pool import WorkerPool
from core.errors import FatalError
from core.resources.shortage import unexpected

THREADS, FIRST_THREADS = 16, 1
LARGE_BYTES = 1024 * 1024
"""Files of this size on average wait for the network, never for the interpreter: all threads
begin at once, because what so few files an instant tell about growth is chance."""
FATAL_DRAIN_SECONDS = 30.0
"""How long files that are under way may go on after the environment broke."""
STALLED_DRAIN_SECONDS = 5.0
"""How long they may go on after S3 was found stalled: nothing will succeed any more."""
GIVE_UP_SECONDS = 2.0
"""How long a file that was told to give up may take to clear up behind it."""

_logger = logging.getLogger(__name__)


class _Item(Protocol):
    @property
    def path(self) -> str: ...
    @property
    def size(self) -> int: ...


I = TypeVar("I", bound=_Item)  # noqa: E741
D = TypeVar("D")


class RunWorkers(WorkerPool[I], Generic[I, D]):
    """Worker threads over the files of one run. Every public method is the collector's to call."""

    def __init__(
        self,
        items: Sequence[I],
        stop: StopSignal,
        threads: int,
        name: str,
        prepared: Iterator[I] | None = None,
    ) -> None:
        """``prepared`` yields the items once more, made ready for the work; a ``FatalError`` of it
        ends the run."""
        source = prepared or iter(items)
        super().__init__(source, len(items), threads=threads, name=name, scaling=PoolScaling())
        self._all = items
        self._stop = stop
        self._drain = FATAL_DRAIN_SECONDS
        self._abandon_at: float | None = None
        self.results: deque[D] = deque()
        self.lost: FatalError | None = None
        """Why a thread died; the items it had taken do not come back."""
        self.current = ""
        """Path of the item that was begun last."""

    def begin(self, threads: int = FIRST_THREADS) -> None:
        """Start so many threads; for large files all of them.

        Raises ``FatalError(MACHINE_SHORT)`` when not even one can be started.
        """
        large = sum(item.size for item in self._all) > LARGE_BYTES * len(self._all)
        super().begin(self._threads if large else threads)

    def halt(self, drain: float | None = None) -> None:
        """Let no item be begun any more; those under way go on for ``drain`` seconds."""
        if drain is not None:
            self._drain = drain
        self._halted.set()

    def is_idle(self, returned: int) -> bool:
        """Return whether no item is under way and none will be begun, when ``returned`` items
        have been seen in ``results``."""
        with self._changed:
            ended = self._taken == self._total or self._stopping()
            return ended and returned == self._taken

    def is_abandoned(self, now: float) -> bool:
        """Return whether threads that do not come back are no longer waited for."""
        if self._stop.expired:
            limit = now + GIVE_UP_SECONDS
        elif self._halted.is_set():
            limit = now + self._drain
        else:
            return False
        self._abandon_at = min(limit, self._abandon_at or limit)
        return now >= self._abandon_at

    @property
    def bytes_under_way(self) -> int:
        return sum(tally.under_way for tally in self._tallies)

    # In the threads

    def _take(self) -> list[I]:
        some = super()._take()
        if some:
            self.current = some[-1].path
        return some

    def _cancelled(self) -> bool:
        """Tell a file under way to give up: its time is over, or nobody waits for it."""
        return self._stop.expired or self._over.is_set()

    def _stopping(self) -> bool:
        return self._stop.requested or self._halted.is_set()

    def _failed(self, exc: BaseException) -> None:
        if not isinstance(exc, FatalError):
            _logger.error("a worker failed", exc_info=exc)
            exc = unexpected(exc)
        self.lost = exc
