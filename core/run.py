"""One archive run from the uploaded bytes to its final state.

The same steps for the command and for the page: ``check`` → (the operator confirms the plan)
→ ``begin`` → ``execute``; or ``refuse``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from datetime import datetime

from core.archive import Archiver
from core.check import ArchiveCheck, refusal
from core.errors import Code, FatalError, HimuroError, ListError, Severity
from core.locks import RunLock, wait_for_turn
from core.model import MOST_TYPED, ListKind, ListSource, Plan, RunRecord, RunRequest, RunState
from core.names import printable, typed
from core.ports import Catalogue, ObjectStore, ProgressSink, silent
from core.record import counted, utc_now
from core.recovery import recover as recover
from core.request_list import parse
from core.restore_check import check_restore
from core.runfolder import RunFolder, new_run_id
from core.runner import ArchiveRunner, RunResult, clear_leftovers
from core.settings import Settings
from core.shares import Shares
from core.stop import StopSignal
from core.workers import Cancelled, parallel

_logger = logging.getLogger(__name__)


class ArchiveRun:
    """One archive run. Its methods are called in order, by one thread at a time."""

    def __init__(
        self,
        settings: Settings,
        catalogue: Catalogue,
        sources: Sequence[ListSource],
        request: RunRequest,
        *,
        shares: Shares | None = None,
        now: Callable[[], datetime] = utc_now,
        kind: str = "archive",
    ) -> None:
        self._settings = settings
        self._catalogue = catalogue
        self._sources = tuple(sources)
        self._shares = shares or Shares(settings.shares)
        self._now = now
        created = now()
        run_id = new_run_id(kind, created.astimezone(settings.timezone))
        self.folder = RunFolder(settings.runs_dir / run_id, settings.timezone)
        self._lock = RunLock(self.folder.path)
        self.record = RunRecord(
            run_id=run_id,
            kind=kind,
            state=RunState.RUNNING,
            request=_cleaned(request),
            created_at=created,
            inputs=tuple(printable(source.name) for source in sources),
            settings=settings.without_secrets(),
        )
        self.plan = Plan((), ())

    def check(
        self, progress: ProgressSink = silent, cancelled: Callable[[], bool] = lambda: False
    ) -> Plan:
        """Return the plan. Writes nothing. Raises ``FatalError`` and ``Cancelled``."""
        parsed = parse(self._sources, ListKind.ARCHIVE, self._settings.timezone)
        check = ArchiveCheck(
            self._shares,
            self._catalogue,
            self._settings.key_prefix,
            progress=progress,
            cancelled=cancelled,
        )
        return check.run(parsed)

    def refuse(self, plan: Plan) -> RunRecord:
        """Record that nothing was touched, with the reasons in ``error_log.txt``."""
        return self._record_check(plan, RunState.REFUSED, refusal(plan))

    def pass_check(self, plan: Plan) -> RunRecord:
        """Record a check that found nothing wrong and was all that was asked for."""
        return self._record_check(plan, RunState.DONE, "")

    def check_restore(self) -> RunRecord:
        """Check a restore list against the archive list and record it; asks nothing of S3.

        Rows that match nothing are left out: the record counts them as failed files.
        """
        parsed = parse(self._sources, ListKind.RESTORE, self._settings.timezone)
        matched, problems = check_restore(parsed, self._catalogue)
        wrong = sum(problem.is_error for problem in problems)
        if matched == 0:
            state, message = RunState.REFUSED, "アーカイブ一覧に一致する行がありません"
        elif wrong:
            state, message = RunState.FAILED_FILES, f"{wrong:,}行を除きます"
        else:
            state, message = RunState.DONE, ""
        plan = Plan((), tuple(problems), parsed.detected)
        self.record = replace(self.record, failed_files=wrong)
        self.plan = plan
        return self._record_check(plan, state, message)

    def fail(self, error: FatalError) -> RunRecord:
        """Record that the environment did not even allow the check."""
        with self._opened():
            self._log_fatal(error)
            return self._end(RunState.ERROR, str(error))

    def begin(self, plan: Plan) -> RunRecord:
        """Freeze the plan; from here on a crash leaves a run that can be retried.

        After a ``FatalError`` it may be called again: nothing was touched.
        """
        self.plan = plan
        self._lock.acquire()
        begun = False
        try:
            self._create(plan)
            self.folder.write_plan(plan.items)
            self.folder.log_problems(self._now(), plan.problems)
            begun = True
        except FatalError as exc:
            self._take_back(exc)
            raise
        finally:
            if not begun:
                self._lock.release()
        return self.record

    def _take_back(self, error: FatalError) -> None:
        """Let the folder say that nothing was touched, as far as the disk takes it."""
        self.folder.drop_plan()
        try:
            self._end(RunState.ERROR, str(error))
            self._log_fatal(error)
        except FatalError as exc:
            _logger.warning("run %s: %s", self.record.run_id, exc)

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
            return self._conclude(self._in_turn(open_store, stop, progress))
        finally:
            self.folder.close()
            self._lock.release()

    def _in_turn(
        self, open_store: Callable[[], ObjectStore], stop: StopSignal, progress: ProgressSink
    ) -> RunResult:
        """Return how it went; an error is in the result, because the lists are still owed."""
        try:
            with wait_for_turn(self._settings.data_dir, stop, progress) as my_turn:
                if my_turn:
                    return self._execute(open_store, stop, progress)
        except FatalError as exc:
            return RunResult({}, exc, stopped=False)
        except Exception as exc:
            _logger.exception("run %s failed", self.record.run_id)
            return RunResult({}, FatalError(Code.INTERNAL, type(exc).__name__), stopped=False)
        return RunResult({}, None, stopped=True)

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
            return clear_leftovers(plan, archiver, store)

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
        if result.fatal:
            self._log_fatal(result.fatal)
        not_begun = sum(path not in result.outcomes for path in paths)
        if not_begun:
            text = f"{not_begun:,}件を処理していません。対処: {Code.STOPPED.remedy}"
            self.folder.log(self._now(), Severity.ERROR, self._settings.bucket, text, Code.STOPPED)
        self.record = counted(self.record, len(paths), result.outcomes)
        return self._end(*_final(result, self.record.failed_files))

    def _record_check(self, plan: Plan, state: RunState, message: str) -> RunRecord:
        with self._opened(plan):
            self.folder.log_problems(self._now(), plan.problems)
            return self._end(state, message)

    @contextmanager
    def _opened(self, plan: Plan | None = None) -> Iterator[None]:
        self._lock.acquire()
        try:
            self._create(plan or self.plan)
            yield
        finally:
            self._lock.release()

    def _create(self, plan: Plan) -> None:
        self.record = replace(
            self.record,
            state=RunState.RUNNING,
            message="",
            finished_at=None,
            total_files=len(plan.items),
            total_bytes=plan.total_bytes,
        )
        self.folder.create(self.record, self._sources)

    def _log_fatal(self, error: FatalError) -> None:
        self.folder.log(
            self._now(), Severity.ERROR, self._settings.bucket or "-", str(error), error.code
        )

    def _end(self, state: RunState, message: str) -> RunRecord:
        self.record = replace(self.record, state=state, message=message, finished_at=self._now())
        self.folder.write_record(self.record)
        return self.record


def _cleaned(request: RunRequest) -> RunRequest:
    """Return a request as it can be stored; raises ``ListError`` for one that cannot."""
    cleaned = RunRequest(*(typed(getattr(request, f.name)) for f in fields(request)))
    if max(len(cleaned.request_id), len(cleaned.requester)) > MOST_TYPED:
        raise ListError(f"依頼IDと依頼者は{MOST_TYPED}文字までで指定してください。")
    return cleaned


def _final(result: RunResult, failed: int) -> tuple[RunState, str]:
    if result.fatal:
        return RunState.ERROR, str(result.fatal)
    if result.stopped:
        return RunState.STOPPED, f"停止したため、{failed:,}件が残っています"
    if failed:
        return RunState.FAILED_FILES, f"{failed:,}件が失敗しました"
    return RunState.DONE, ""
