"""One archive run from the uploaded bytes to its final state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from core.archive.archiver import Archiver
from core.archive.check import ArchiveCheck, refusal
from core.archive.collector import ArchiveRunner, RunResult, clear_leftovers
from core.archive.orphans import Unlisted
from core.archive.ports import ObjectStore
from core.clock import utc_now
from core.concurrency.cancellation import StopSignal
from core.concurrency.parallel import Cancelled, parallel
from core.config.settings import Settings
from core.errors import Code, HimuroError, Severity
from core.lists.parser import parse
from core.model import (
    HiddenRows,
    ListKind,
    ListSource,
    Plan,
    RunKind,
    RunRecord,
    RunRequest,
    RunState,
)
from core.ports import Catalogue, ProgressSink, silent
from core.runs.base import Run, in_turn
from core.runs.folder import RunFolder
from core.runs.record import counted
from core.share.shares import Shares


class ArchiveRun(Run[Plan, RunFolder]):
    """One archive run. Its methods are called in order, by one thread at a time."""

    def __init__(
        self,
        settings: Settings,
        catalogue: Catalogue,
        sources: Sequence[ListSource],
        request: RunRequest,
        *,
        shares: Shares | None = None,
        hidden_rows: HiddenRows = HiddenRows.ASK,
        now: Callable[[], datetime] = utc_now,
        kind: RunKind = RunKind.ARCHIVE,
    ) -> None:
        super().__init__(settings, sources, request, kind=kind, folder=RunFolder, now=now)
        self._catalogue = catalogue
        self._shares = shares or Shares(settings.shares)
        self._hidden_rows = hidden_rows
        self.plan = Plan((), ())
        self._unlisted = Unlisted()

    def check(
        self, progress: ProgressSink = silent, cancelled: Callable[[], bool] = lambda: False
    ) -> Plan:
        timezone, hidden_rows = self._settings.timezone, self._hidden_rows
        check = ArchiveCheck(
            self._shares,
            self._catalogue,
            self._settings.key_prefix,
            progress=progress,
            cancelled=cancelled,
        )
        return check.run(parse(self._sources, ListKind.ARCHIVE, timezone, hidden_rows))

    def refusal(self, plan: Plan) -> str:
        return refusal(plan)

    def _freeze(self, plan: Plan) -> None:
        self.plan = plan
        self.folder.write_plan(plan.items)

    def execute(
        self,
        open_store: Callable[[], ObjectStore],
        stop: StopSignal,
        progress: ProgressSink = silent,
    ) -> RunRecord:
        """Run the plan when no other run of this installation is busy, and record the end.

        With a stop asked for already nothing is begun. Raises ``FatalError`` only when the
        run folder cannot be written any more; the run then becomes ``interrupted`` at the
        next start.
        """
        try:
            result = RunResult({}, None, stopped=True)
            with in_turn(self._settings, stop, progress) as turn:
                if turn.has_come:
                    result = self._execute(open_store, stop, progress)
            if turn.fatal:
                result = RunResult({}, turn.fatal, stopped=False)
            return self._conclude(result)
        finally:
            self.folder.close()
            self._lock.release()

    def _execute(
        self, open_store: Callable[[], ObjectStore], stop: StopSignal, progress: ProgressSink
    ) -> RunResult:
        self.record = replace(self.record, started_at=self._now())
        self.folder.write_record(self.record)
        store = open_store()
        store.check()
        archiver = Archiver(
            self._shares,
            store,
            bucket=self._settings.bucket,
            timezone=self._settings.timezone,
            request=self.record.request,
            now=self._now,
        )
        self._unlisted = archiver.unlisted
        self._clear_leftovers(archiver, store, stop)
        if stop.requested:
            return RunResult({}, None, stopped=True)
        runner = ArchiveRunner(
            self.plan, archiver, self._catalogue, self.folder, stop=stop, progress=progress
        )
        return runner.execute()

    def _clear_leftovers(self, archiver: Archiver, store: ObjectStore, stop: StopSignal) -> None:
        """Give up parts of killed runs; one that hangs is left alone when time is over."""
        if stop.requested:
            return

        def clear(plan: Plan) -> HimuroError | None:
            return clear_leftovers(plan, archiver, self._catalogue, store)

        try:
            ((_, problem),) = parallel(clear, [self.plan], cancelled=lambda: stop.expired)
        except Cancelled:
            return
        if problem is not None:
            text = f"以前の未完了アップロードを整理できません: {problem}"
            self.folder.log(
                self._now(), Severity.WARNING, self._settings.bucket, text, Code.UPLOAD_FAILED
            )

    def _conclude(self, result: RunResult) -> RunRecord:
        missing = result.fatal.code if result.fatal else Code.STOPPED
        paths = [item.path for item in self.plan.items]
        self.folder.finish(paths, result.outcomes, missing)
        self._unlisted.note(self.folder)  # there is room on the disk again
        if result.fatal:
            self._log_fatal(result.fatal)
        not_begun = sum(path not in result.outcomes for path in paths)
        if not_begun:
            text = f"{not_begun:,}件を処理していません。対処: {Code.STOPPED.remedy}"
            self.folder.log(self._now(), Severity.ERROR, self._settings.bucket, text, Code.STOPPED)
        self.record = counted(self.record, len(paths), result.outcomes)
        return self._end(*_final(result, self.record.failed_files))


def _final(result: RunResult, failed: int) -> tuple[RunState, str]:
    if result.fatal:
        return RunState.ERROR, str(result.fatal)
    if result.stopped:
        return RunState.STOPPED, f"停止したため、{failed:,}件が残っています"
    if failed:
        return RunState.FAILED_FILES, f"{failed:,}件が失敗しました"
    return RunState.DONE, ""
