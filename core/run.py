"""One archive run from the uploaded bytes to its final state.

The same steps for the command and for the page: ``check`` → (the operator confirms the plan)
→ ``begin`` → ``execute``; or ``refuse``. Also what happens to runs whose process died.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from datetime import UTC, datetime

from core.archive import Archiver
from core.check import ArchiveCheck, refusal
from core.errors import Code, FatalError, ListError, Severity
from core.locks import RunLock, wait_for_turn
from core.model import (
    ArchiveItem,
    ListKind,
    ListSource,
    Outcome,
    Plan,
    Result,
    RunRecord,
    RunRequest,
    RunState,
)
from core.names import typed
from core.ports import Catalogue, ObjectStore, ProgressSink, silent
from core.request_list import parse
from core.restore_check import check_restore
from core.runfolder import RunFolder, new_run_id
from core.runner import ArchiveRunner, RunResult, StopSignal, clear_leftovers
from core.settings import Settings
from core.shares import Shares


def utc_now() -> datetime:
    return datetime.now(UTC)


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
        self._lock = RunLock(settings.data_dir, run_id)
        self.record = RunRecord(
            run_id=run_id,
            kind=kind,
            state=RunState.RUNNING,
            request=_cleaned(request),
            created_at=created,
            inputs=tuple(source.name for source in sources),
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
        """Freeze the plan; from here on a crash leaves a run that can be retried."""
        self.plan = plan
        self._lock.acquire()
        try:
            self._create(plan)
            self.folder.write_plan(plan.items)
            self.folder.log_problems(self._now(), plan.problems)
        except FatalError as exc:
            # Nothing was touched, and the folder says so as far as the disk lets it.
            self.folder.drop_plan()
            self._end(RunState.ERROR, str(exc))
            self._lock.release()
            raise
        return self.record

    def execute(
        self,
        open_store: Callable[[], ObjectStore],
        stop: StopSignal,
        progress: ProgressSink = silent,
    ) -> RunRecord:
        """Run the plan when no other run of this installation is busy, and record the end.

        Raises ``FatalError`` only when the run folder cannot be written any more; the run
        then becomes ``interrupted`` at the next start.
        """
        try:
            with wait_for_turn(self._settings.data_dir, stop, progress) as my_turn:
                if my_turn:
                    result = self._execute(open_store, stop, progress)
                else:
                    result = RunResult({}, None, stopped=True)
                return self._conclude(result)
        finally:
            self.folder.close()
            self._lock.release()

    def _execute(
        self, open_store: Callable[[], ObjectStore], stop: StopSignal, progress: ProgressSink
    ) -> RunResult:
        self.record = replace(self.record, started_at=self._now())
        self.folder.write_record(self.record)
        try:
            store = open_store()
            store.check()
        except FatalError as exc:
            return RunResult({}, exc, stopped=False)
        archiver = Archiver(
            self._shares,
            store,
            bucket=self._settings.bucket,
            timezone=self._settings.timezone,
            request=self.record.request,
            now=self._now,
        )
        problem = clear_leftovers(self.plan, archiver, store)
        if problem is not None:
            text = f"以前の未完了アップロードを整理できません: {problem}"
            self.folder.log(
                self._now(), Severity.WARNING, self._settings.bucket, text, Code.UPLOAD_FAILED
            )
        runner = ArchiveRunner(
            self.plan, archiver, self._catalogue, self.folder, stop=stop, progress=progress
        )
        return runner.execute()

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
        self.record = counted(self.record, self.plan.items, result.outcomes)
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
            self.record, total_files=len(plan.items), total_bytes=plan.total_bytes
        )
        self.folder.create(self._sources)
        self.folder.write_record(self.record)

    def _log_fatal(self, error: FatalError) -> None:
        self.folder.log(
            self._now(), Severity.ERROR, self._settings.bucket or "-", str(error), error.code
        )

    def _end(self, state: RunState, message: str) -> RunRecord:
        self.record = replace(self.record, state=state, message=message, finished_at=self._now())
        self.folder.write_record(self.record)
        return self.record


MOST_TYPED = 255
"""Longest request ID and requester (contract, "Table")."""


def _cleaned(request: RunRequest) -> RunRequest:
    """Return a request as it can be stored; raises ``ListError`` for one that cannot."""
    cleaned = RunRequest(*(typed(getattr(request, f.name)) for f in fields(request)))
    if max(len(cleaned.request_id), len(cleaned.requester)) > MOST_TYPED:
        raise ListError(f"依頼IDと依頼者は{MOST_TYPED}文字までで指定してください。")
    return cleaned


def counted(
    record: RunRecord, items: Sequence[ArchiveItem], outcomes: Mapping[str, Outcome]
) -> RunRecord:
    """Return ``record`` with the numbers of a run that has ended."""
    archived = [o for o in outcomes.values() if o.result is Result.ARCHIVED]
    unchanged = sum(o.result is Result.UNCHANGED for o in outcomes.values())
    return replace(
        record,
        archived_files=len(archived),
        archived_bytes=sum(o.size for o in archived),
        unchanged_files=unchanged,
        failed_files=len(items) - len(archived) - unchanged,
    )


def _final(result: RunResult, failed: int) -> tuple[RunState, str]:
    if result.fatal:
        return RunState.ERROR, str(result.fatal)
    if result.stopped:
        return RunState.STOPPED, f"停止したため、{failed:,}件が残っています"
    if failed:
        return RunState.FAILED_FILES, f"{failed:,}件が失敗しました"
    return RunState.DONE, ""


def recover(settings: Settings, now: Callable[[], datetime] = utc_now) -> list[RunRecord]:
    """Give every run whose process is gone its end; returns those that were found.

    Its error file list is the plan minus what is settled (contract, "Run folder"). Runs that
    are still alive in another process are left alone.
    """
    found = []
    for path in sorted(settings.runs_dir.glob("*")):
        folder = RunFolder(path, settings.timezone)
        record = folder.read_record()
        if record is None or record.state is not RunState.RUNNING:
            continue
        lock = RunLock(settings.data_dir, record.run_id)
        if not lock.try_acquire():
            continue
        try:
            # It may have ended between the two looks.
            record = folder.read_record()
            if record is not None and record.state is RunState.RUNNING:
                found.append(_interrupt(folder, record, now()))
        finally:
            lock.release()
    return found


def _interrupt(folder: RunFolder, record: RunRecord, when: datetime) -> RunRecord:
    planned = folder.read_plan()
    outcomes = {outcome.path: outcome for outcome in folder.read_outcomes()}
    folder.finish(planned, outcomes, Code.INTERRUPTED)
    settled = [o for o in outcomes.values() if o.settled]
    archived = [o for o in settled if o.result is Result.ARCHIVED]
    left = len(planned) - len(settled)
    if planned:
        message = f"実行中に終了したため、{left:,}件の完了を確認できません"
    else:
        message = "確認の途中で終了したため、何も処理していません"
    folder.log(when, Severity.ERROR, record.run_id, message, Code.INTERRUPTED)
    ended = replace(
        record,
        state=RunState.INTERRUPTED,
        message=message,
        finished_at=when,
        archived_files=len(archived),
        archived_bytes=sum(o.size for o in archived),
        unchanged_files=len(settled) - len(archived),
        failed_files=left,
    )
    folder.write_record(ended)
    return ended
