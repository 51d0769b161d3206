"""Runs a plan: a pool uploads and marks, one collector registers, writes and decides.

Only the collector (the thread that calls ``execute``) touches the archive list, the run
folder and the progress. A file's failure is a value; what concerns every file stops the run
(``docs/contract.md``, "Invariants", 7).
"""

from __future__ import annotations

import logging
import time
from collections import deque
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from core.archive.archiver import Archiver
from core.archive.generations import with_history
from core.archive.ports import ObjectStore
from core.archive.workers import ArchiveWorkers, Done, Mark, failure
from core.concurrency.cancellation import StopSignal
from core.errors import Code, FatalError, HimuroError, Severity
from core.model import ArchiveItem, Entry, Outcome, Plan, Progress, Result
from core.ports import Catalogue, ProgressSink, silent
from core.resources.shortage import patiently, unexpected
from core.runs.folder import RunFolder
from core.runs.workers import STALLED_DRAIN_SECONDS, THREADS

BATCH_ROWS = 200
BATCH_SECONDS = 0.3
"""Rows are committed when so many have come together or the oldest has waited so long."""
POLL_SECONDS, LAST_POLL_SECONDS = 0.02, 0.002
"""Between two looks at what has ended; the second once nothing is on its way to S3 any more."""
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended."""

    outcomes: dict[str, Outcome]
    """By path; files that were not begun are missing."""
    fatal: FatalError | None
    """What stopped the run early."""
    stopped: bool
    """True when a stop was asked for before everything was done."""


class ArchiveRunner:
    """One execution of one plan."""

    def __init__(
        self,
        plan: Plan,
        archiver: Archiver,
        catalogue: Catalogue,
        folder: RunFolder,
        *,
        stop: StopSignal,
        progress: ProgressSink = silent,
        threads: int = THREADS,
    ) -> None:
        self._plan = plan
        self._archiver = archiver
        self._catalogue = catalogue
        self._folder = folder
        self._stop = stop
        self._progress = progress
        self._pool = ArchiveWorkers(plan.items, archiver, catalogue, stop, threads)
        self._total_bytes = plan.total_bytes
        self._to_mark: list[Mark] = []
        self._again: deque[ArchiveItem] = deque()
        """Files whose key turned out to be another's; at most those of the plan."""
        self._finished: list[Outcome] = []
        self._outcomes: dict[str, Outcome] = {}
        self._done_bytes = 0
        self._failed = 0
        self._fatal: FatalError | None = None
        self._origin = ""
        self._list_gone = False
        """True once the rows of this run lie where nobody finds them any more."""
        self._refused = False
        """True once the database took no rows."""

    def execute(self) -> RunResult:
        """Archive every file of the plan and return how each ended.

        Never raises for a broken environment: that is in the result, so that the lists of
        what was not done can still be written.
        """
        try:
            self._origin = self._catalogue.origin()
            self._pool.begin()
            self._collect()
            self._require_same_list()
        except FatalError as exc:
            self._break(exc, "")
            if exc.code is Code.DATABASE_REPLACED:
                self._take_back()
                self._write_outcomes()
        except Exception as exc:
            # The lists of what was not done are still owed, so it ends like any broken run.
            _logger.exception("the collector of run %s failed", self._folder.run_id)
            self._break(unexpected(exc), "")
        finally:
            self._pool.dismiss()
        self._report()
        unsettled = len(self._plan.items) - sum(o.settled for o in self._outcomes.values())
        stopped = self._stop.requested and unsettled > 0
        return RunResult(self._outcomes, self._fatal, stopped)

    def _collect(self) -> None:
        batch: list[Done] = []
        since = reported = time.monotonic()
        returned = marking = 0
        while not self._pool.is_abandoned(time.monotonic()):
            while self._pool.results:
                done = self._pool.results.popleft()
                returned += not done.marked
                marking -= done.marked
                if isinstance(done.value, Entry) and done.value is not done.item.history.newest:
                    since = since if batch else time.monotonic()
                    batch.append(done)
                else:
                    self._settle(done)
            now = time.monotonic()
            idle = self._pool.is_idle(returned)
            due = len(batch) >= BATCH_ROWS or now - since >= BATCH_SECONDS
            # A database that failed is asked once more, at the end, and not for every batch:
            # each may wait for it as long as the first.
            if batch and (idle or (due and not self._refused)):
                self._register(batch)
                batch = []
            if self._pool.lost:
                self._break(self._pool.lost, "")
            self._require_life()
            marking += self._ask_for_marks()
            self._write_outcomes()
            # What is to be stored again waits for all others: it must not hold them back.
            self._pool.settled(len(self._outcomes) + len(self._again))
            self._note_unlisted()
            if now - reported >= BATCH_SECONDS:
                reported = now
                self._report()
            if not idle:
                self._pool.grow(now)
            if idle and not batch and not marking:
                if not self._again or self._stop.requested or self._fatal:
                    return
                batch = self._store_again(self._again.popleft())
            # A look every now and then costs far less than being woken for every file: each
            # waking is a fight over the interpreter lock with the workers.
            time.sleep(LAST_POLL_SECONDS if idle else POLL_SECONDS)
        if batch:
            self._register(batch)
            self._write_outcomes()

    def _require_life(self) -> None:
        """Stop when nothing has been stored for too long, whatever the threads still hope for."""
        try:
            if self._fatal is None:
                self._archiver.require_life()
        except FatalError as exc:
            self._break(exc, self._pool.current)

    def _ask_for_marks(self) -> int:
        """Hand the pool what is to be marked; returns how many markers that is."""
        marks, self._to_mark = self._to_mark, []
        self._pool.ask_for(marks)
        return len(marks)

    def _settle(self, done: Done) -> None:
        """Take in what is not to be registered."""
        value = done.value
        if isinstance(value, FatalError):
            self._break(value, done.item.path)
        elif isinstance(value, Entry):
            unchanged = Outcome(
                done.item.path, Result.UNCHANGED, value.size, value.key, value.sha256
            )
            self._to_mark.append((done.item, unchanged))
        else:
            self._finish(value)

    def _register(self, batch: list[Done]) -> None:
        """Commit rows; what is registered is to be marked next."""
        rows = [(d.item, d.value) for d in batch if isinstance(d.value, Entry)]
        try:
            refused = {(e.path, e.key) for e in self._catalogue.add([row for _, row in rows])}
            self._require_same_list()
        except FatalError as exc:
            self._refused = True
            gone = self._list_that_is_gone()
            self._break(gone or exc, "")
            for item, _ in rows:
                self._finish(Outcome(item.path, Result.FAILED, code=Code.NOT_REGISTERED))
            if gone:
                self._take_back()
            return
        for item, row in rows:
            history = item.history
            if (row.path, row.key) in refused and row.key not in history.taken_keys:
                history = replace(history, taken_keys=history.taken_keys | {row.key})
                self._again.append(replace(item, history=history))
            elif (row.path, row.key) in refused:
                failed = Outcome(item.path, Result.FAILED, code=Code.KEY_OCCUPIED, detail=row.key)
                self._finish(failed)
            else:
                archived = Outcome(item.path, Result.ARCHIVED, row.size, row.key, row.sha256)
                self._to_mark.append((item, archived))

    def _require_same_list(self) -> None:
        """Raise ``FatalError(DATABASE_REPLACED)`` when rows went into a list that is no more."""
        if gone := self._list_that_is_gone():
            raise gone

    def _list_that_is_gone(self) -> FatalError | None:
        try:
            same = self._catalogue.origin() == self._origin
        except FatalError as exc:
            return exc
        return None if same else FatalError(Code.DATABASE_REPLACED)

    def _take_back(self) -> None:
        """Count nothing as done: the rows of this run are gone with their list."""
        self._list_gone = True
        for outcome in list(self._outcomes.values()):
            if outcome.settled:
                self._done_bytes -= outcome.size
                self._finish(outcome)

    def _store_again(self, item: ArchiveItem) -> list[Done]:
        """Store a file under its next key, and return what is to be registered.

        The object that it had adopted belongs to a row of another file, which its metadata
        could not tell: a path that is too long is left out of them. That is rare, and all
        others are done by now: so this thread does it.
        """
        try:
            value: Entry | Outcome | FatalError = patiently(
                self._archiver.store,
                item,
                sent=lambda _size: None,
                cancelled=lambda: self._stop.expired,
                stopping=lambda: self._stop.requested,
            )
        except FatalError as exc:
            value = exc
        except Exception as exc:  # noqa: BLE001 - one file's failure must not end the others
            value = failure(item, exc)
        done = Done(item, value)
        if isinstance(value, Entry) and value is not item.history.newest:
            return [done]
        self._settle(done)
        return []

    def _finish(self, outcome: Outcome) -> None:
        if self._list_gone and outcome.settled:
            outcome = Outcome(outcome.path, Result.FAILED, code=Code.NOT_REGISTERED)
        self._outcomes[outcome.path] = outcome
        self._finished.append(outcome)
        self._done_bytes += outcome.size
        self._failed += not outcome.settled

    def _write_outcomes(self) -> None:
        """Write what has finished since the last time."""
        finished, self._finished = self._finished, []
        if not finished:
            return
        try:
            self._folder.add_outcomes(finished)
            for outcome in finished:
                if outcome.code and outcome.code is not Code.STOPPED:
                    text = f"{outcome.reason} 対処: {outcome.code.remedy}"
                    now = datetime.now(UTC)
                    self._folder.log(now, Severity.ERROR, outcome.path, text, outcome.code)
        except FatalError as exc:
            self._break(exc, "")

    def _note_unlisted(self) -> None:
        try:
            self._archiver.unlisted.note(self._folder)
        except FatalError as exc:
            self._break(exc, "")

    def _break(self, error: FatalError, path: str) -> None:
        """Note why the run stops; the first reason is the one that counts."""
        self._pool.halt(STALLED_DRAIN_SECONDS if error.code is Code.S3_STALLED else None)
        if self._fatal is None:
            error.at = error.at or path
            self._fatal = error
            _logger.info("run %s stops at %s: %s", self._folder.run_id, path or "-", error)

    def _report(self) -> None:
        """Tell how far it is. A screen that breaks must not cost the run its end."""
        try:
            self._progress(self._so_far())
        except Exception:
            _logger.exception("the progress of run %s cannot be shown", self._folder.run_id)
            self._progress = silent

    def _so_far(self) -> Progress:
        return Progress(
            total_files=len(self._plan.items),
            total_bytes=self._total_bytes,
            done_files=len(self._outcomes),
            done_bytes=self._done_bytes + self._pool.bytes_under_way,
            failed_files=self._failed,
            current=self._pool.current,
            phase="停止しています" if self._stop.requested else "アーカイブしています",
        )


def clear_leftovers(
    plan: Plan, archiver: Archiver, catalogue: Catalogue, store: ObjectStore
) -> HimuroError | None:
    """Give up parts that a killed run left for files of this plan; S3 bills them for ever.

    Returns what prevented it: the run itself can go on without.
    """
    large = [item for item in plan.items if store.part_size(item.size)]
    if not large:
        return None
    try:
        large = list(with_history(large, catalogue))
        store.abort_unfinished({key for item in large for key in archiver.likely_keys(item)})
    except HimuroError as exc:
        return exc
    return None
