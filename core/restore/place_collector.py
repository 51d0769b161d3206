"""Places files with several threads: workers fetch and name, one collector writes and decides.

Only the collector (the thread that calls ``execute``) touches the run folder and the progress.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from core.clock import utc_now
from core.concurrency.cancellation import StopSignal
from core.concurrency.worker_pool import Tally
from core.errors import Code, FatalError, HimuroError, ItemError
from core.model import Progress
from core.ports import ProgressSink, silent
from core.resources.shortage import unexpected
from core.restore.folder import RestoreFolder
from core.restore.model import RestoreEntry, RestoreItem, RestoreOutcome, Step
from core.restore.names import Names
from core.restore.placer import Placed, Placer
from core.restore.ports import RestoreStore
from core.restore.requester import log_failures
from core.restore.target import Directory, Target
from core.runs.workers import STALLED_DRAIN_SECONDS, THREADS, RunWorkers

POLL_SECONDS, REPORT_SECONDS = 0.02, 0.3
_ADOPTED = "同じ内容のファイルが既にありました"

_logger = logging.getLogger(__name__)


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
        self._folder = folder
        self._stop = stop
        self._progress = progress
        self._now = now
        self._pool = _PlaceWorkers(items, store, directory, names, stop, threads)
        self._total_bytes = sum(item.size for item in items)
        self._returned = self._placed = self._failed = 0
        self._done_bytes = 0
        self._fatal: FatalError | None = None

    def execute(self) -> PlaceResult:
        """Place every file; a broken environment is in the result, not raised."""
        try:
            self._pool.begin()
            self._collect()
        except FatalError as exc:
            self._break(exc)
        except Exception as exc:
            _logger.exception("the collector of run %s failed", self._folder.run_id)
            self._break(unexpected(exc))
        finally:
            self._pool.dismiss()
        self._report()
        stopped = self._stop.requested and self._placed + self._failed < len(self._items)
        return PlaceResult(self._fatal, stopped)

    def _collect(self) -> None:
        reported = time.monotonic()
        while not self._pool.is_abandoned(time.monotonic()):
            self._settle()
            idle = self._pool.is_idle(self._returned)
            if self._pool.lost:
                self._break(self._pool.lost)
            self._require_life()
            now = time.monotonic()
            if now - reported >= REPORT_SECONDS:
                reported = now
                self._report()
            if idle:
                return
            self._pool.grow(now)
            time.sleep(POLL_SECONDS)
        self._settle()

    def _settle(self) -> None:
        """Write what has ended since the last time."""
        events = []
        while self._pool.results:
            item, result = self._pool.results.popleft()
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
                self._break(result, item.path)
        self._pool.settled(self._returned)
        if not events:
            return
        try:
            self._folder.add_events(events)
            standings = {e.key: RestoreEntry(self._items[e.key]) for e in events}
            log_failures(self._folder, events, standings)
        except FatalError as exc:
            self._break(exc)

    def _require_life(self) -> None:
        """Stop when nothing has come for too long, whatever the threads still hope for."""
        try:
            if self._fatal is None:
                self._store.require_life()
        except FatalError as exc:
            self._break(exc, self._pool.current)

    def _break(self, error: FatalError, at: str = "") -> None:
        """Note why placing stops; ``at``: path or key of the file at which it does."""
        self._pool.halt(STALLED_DRAIN_SECONDS if error.code is Code.S3_STALLED else None)
        if self._fatal is None:
            error.at = error.at or at
            self._fatal = error

    def _report(self) -> None:
        """Tell how far it is. A screen that breaks must not cost the run its end."""
        try:
            self._progress(
                Progress(
                    total_files=len(self._items),
                    total_bytes=self._total_bytes,
                    done_files=self._placed + self._failed,
                    done_bytes=self._done_bytes + self._pool.bytes_under_way,
                    failed_files=self._failed,
                    current=self._pool.current,
                    phase="停止しています" if self._stop.requested else "ファイルを配置しています",
                )
            )
        except Exception:
            _logger.exception("the progress of run %s cannot be shown", self._folder.run_id)
            self._progress = silent


class _PlaceWorkers(RunWorkers[RestoreItem, tuple[RestoreItem, Placed | HimuroError]]):
    """Worker threads, each with a placer of its own."""

    def __init__(
        self,
        items: Sequence[RestoreItem],
        store: RestoreStore,
        directory: Directory,
        names: Names,
        stop: StopSignal,
        threads: int,
    ) -> None:
        super().__init__(items, stop, threads, "himuro-place")
        self._store = store
        self._directory = directory
        self._names = names

    def _work(self, tally: Tally) -> None:
        placer = Placer(
            self._store, self._directory, self._names, got=tally.move, cancelled=self._cancelled
        )
        while self._has_more():
            for item, result in placer.place_all(self._items()):
                if isinstance(result, FatalError):
                    self._halted.set()
                self.results.append((item, result))
                tally.end_files()
