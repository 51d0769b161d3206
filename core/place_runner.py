"""Places files with several threads: workers fetch and name, one collector writes and decides.

Only the collector (the thread that calls ``execute``) touches the run folder and the progress.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from core.errors import Code, FatalError, HimuroError, ItemError
from core.growth import Growth
from core.model import Progress
from core.placing import Names, Placed, Placer
from core.ports import ProgressSink, RestoreStore, silent
from core.record import utc_now
from core.requesting import log_failures
from core.restore_folder import RestoreFolder
from core.restore_model import RestoreItem, RestoreOutcome, Standing, Step
from core.stop import StopSignal
from core.target import Directory, Target

THREADS, FIRST_THREADS = 16, 1
LARGE_BYTES = 1024 * 1024
"""Files of this size on average wait for the network: all threads begin at once."""
POLL_SECONDS, REPORT_SECONDS = 0.02, 0.3
DRAIN_SECONDS = 30.0
"""How long files under way may go on after the environment broke."""
GIVE_UP_SECONDS = 2.0

_MIB = 1024 * 1024
_ADOPTED = "同じ内容のファイルが既にありました"

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Tally:
    """What one thread has done; only that thread writes it."""

    files: int = 0
    moved: int = 0
    """Bytes of large files."""
    under_way: int = 0
    busy_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class PlaceResult:
    """How a round of placing ended; what each file came to stands in the folder."""

    fatal: FatalError | None
    stopped: bool
    """True when a stop was asked for before everything was placed."""


class PlaceRunner:
    """One round: puts readable files into a target."""

    def __init__(
        self,
        items: Sequence[RestoreItem],
        store: RestoreStore,
        target: Target,
        directory: Directory,
        names: Names,
        folder: RestoreFolder,
        *,
        stop: StopSignal,
        progress: ProgressSink = silent,
        now: Callable[[], datetime] = utc_now,
        threads: int = THREADS,
    ) -> None:
        self._items = {item.key: item for item in items}
        self._store = store
        self._target = target
        self._directory = directory
        self._names = names
        self._folder = folder
        self._stop = stop
        self._progress = progress
        self._now = now
        self._threads = threads
        self._total_bytes = sum(item.size for item in items)
        self._todo = iter(items)
        self._taking = threading.Lock()
        self._taken = self._returned = self._placed = self._failed = 0
        self._done_bytes = 0
        self._tallies: list[_Tally] = []
        self._results: deque[tuple[RestoreItem, Placed | HimuroError]] = deque()
        self._halted = threading.Event()
        self._over = threading.Event()
        self._fatal: FatalError | None = None
        self._abandon_at: float | None = None
        self._current = ""
        self._growth = Growth()

    def execute(self) -> PlaceResult:
        """Place every file; a broken environment is in the result, not raised."""
        large = self._total_bytes > LARGE_BYTES * len(self._items)
        self._start(self._threads if large else FIRST_THREADS)
        try:
            self._collect()
        except Exception as exc:
            _logger.exception("the collector of run %s failed", self._folder.run_id)
            self._break(FatalError(Code.INTERNAL, type(exc).__name__))
        finally:
            self._halted.set()
            self._over.set()
        self._report()
        stopped = self._stop.requested and self._placed + self._failed < len(self._items)
        return PlaceResult(self._fatal, stopped)

    def _collect(self) -> None:
        reported = time.monotonic()
        while not self._abandoned():
            idle = self._is_idle()
            self._settle()
            now = time.monotonic()
            if now - reported >= REPORT_SECONDS:
                reported = now
                self._report()
            if idle:
                return
            if self._growth.is_due(now, *self._work_done()):
                self._start(len(self._tallies))
            time.sleep(POLL_SECONDS)
        self._settle()

    def _is_idle(self) -> bool:
        """Return whether all that was begun is in the results and nothing more will be."""
        with self._taking:
            ended = self._taken == len(self._items) or self._stopping()
            return ended and self._returned + len(self._results) == self._taken

    def _abandoned(self) -> bool:
        """Return whether workers that do not come back are no longer waited for."""
        now = time.monotonic()
        if self._stop.expired:
            limit = now + GIVE_UP_SECONDS
        elif self._halted.is_set():
            limit = now + DRAIN_SECONDS
        else:
            return False
        self._abandon_at = min(limit, self._abandon_at or limit)
        return now >= self._abandon_at

    def _settle(self) -> None:
        """Write what has ended since the last time."""
        events = []
        while self._results:
            item, result = self._results.popleft()
            self._returned += 1
            if isinstance(result, Placed):
                self._placed += 1
                self._done_bytes += item.size
                place = self._target.place_of(result.name)
                note = _ADOPTED if result.adopted else ""
                events.append(
                    RestoreOutcome(item.key, Step.PLACED, self._now(), detail=note, place=place)
                )
            elif isinstance(result, ItemError):
                if result.code is Code.STOPPED:
                    continue
                self._failed += 1
                self._done_bytes += item.size
                events.append(
                    RestoreOutcome(item.key, Step.FAILED, self._now(), result.code, result.detail)
                )
            elif isinstance(result, FatalError):
                self._break(result)
        if not events:
            return
        try:
            self._folder.add_events(events)
            standings = {e.key: Standing(self._items[e.key]) for e in events}
            log_failures(self._folder, events, standings)
        except FatalError as exc:
            self._break(exc)

    def _break(self, error: FatalError) -> None:
        self._halted.set()
        self._fatal = self._fatal or error

    def _report(self) -> None:
        """Tell how far it is. A screen that breaks must not cost the run its end."""
        try:
            self._progress(
                Progress(
                    total_files=len(self._items),
                    total_bytes=self._total_bytes,
                    done_files=self._placed + self._failed,
                    done_bytes=self._done_bytes + sum(t.under_way for t in self._tallies),
                    failed_files=self._failed,
                    current=self._current,
                    phase="停止しています" if self._stop.requested else "ファイルを配置しています",
                )
            )
        except Exception:
            _logger.exception("the progress of run %s cannot be shown", self._folder.run_id)
            self._progress = silent

    # In the threads

    def _start(self, more: int) -> None:
        for number in range(len(self._tallies), min(len(self._tallies) + more, self._threads)):
            tally = _Tally()
            self._tallies.append(tally)
            name = f"himuro-place-{number}"
            threading.Thread(target=self._work, args=(tally,), name=name, daemon=True).start()

    def _work_done(self) -> tuple[float, float]:
        seconds = sum(tally.busy_seconds for tally in self._tallies)
        return seconds, sum(tally.files + tally.moved / _MIB for tally in self._tallies)

    def _work(self, tally: _Tally) -> None:
        def got(size: int) -> None:
            tally.under_way += size
            tally.moved += size

        placer = Placer(
            self._store, self._directory, self._names, got=got, cancelled=self._cancelled
        )
        try:
            for item, result in placer.place_all(self._taking_items()):
                if isinstance(result, FatalError):
                    self._halted.set()
                self._results.append((item, result))
                tally.files += 1
                tally.under_way = 0
                tally.busy_seconds = time.thread_time()
        except Exception as exc:
            # Nobody may wait for the files that this thread had taken.
            _logger.exception("a worker failed")
            self._break(FatalError(Code.INTERNAL, type(exc).__name__))

    def _taking_items(self) -> Iterator[RestoreItem]:
        while True:
            with self._taking:
                item = None if self._stopping() else next(self._todo, None)
                if item is None:
                    return
                self._taken += 1
            self._current = item.path
            yield item

    def _cancelled(self) -> bool:
        return self._stop.expired or self._over.is_set()

    def _stopping(self) -> bool:
        return self._stop.requested or self._halted.is_set()
