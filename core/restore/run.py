"""A restore from the uploaded bytes to its requests, and every later step of it.

One run folder holds a restore from request to last file, over days and restarts. Between its
steps its state is ``waiting``; whether files wait, expired or are placed is not written down
but asked of S3 whenever somebody wants to know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from core.clock import utc_now
from core.concurrency.cancellation import StopSignal
from core.config.settings import MAX_RESTORE_DAYS, Settings
from core.errors import Code, ListError, os_reason, sentence
from core.model import HiddenRows, ListKind, ListSource, RunKind, RunRecord, RunRequest, RunState
from core.ports import Catalogue, ProgressSink, silent
from core.restore.folder import RestoreFolder
from core.restore.model import RestoreEntry, RestorePlan, Tier, least_days
from core.restore.ports import RestoreStore
from core.restore.status import RestoreStatus, States, look, status_of
from core.restore.step import OpenStore, RestoreStep
from core.restore.target import Target
from core.runs.base import Run
from core.runs.locks import RunLock
from core.runs.named import run_named

_HOUR = timedelta(hours=1)
MAX_TOGETHER = 50_000
"""Files of several restores that S3 is asked about in one pass, and that are held at once; one
restore may have more."""
_FRESH = timedelta(minutes=1)
"""For so long what S3 said need not be asked again; a fetch notices what has changed."""


def chosen_tier(text: str) -> Tier:
    """Return the tier that somebody named; raises ``ListError`` for one that there is not."""
    for tier in Tier:
        if tier.value.lower() == text.strip().lower():
            return tier
    if text.strip().lower() == "expedited":
        raise ListError(
            "Expedited は S3 Glacier Deep Archive にはありません。"
            "Bulk（48時間以内）か Standard（12時間以内）を指定してください。"
        )
    raise ListError(
        f"取り出しの種類が正しくありません: {text}。Bulk か Standard を指定してください。"
    )


def require_days(tier: Tier, days: int) -> None:
    """Raise ``ListError`` for days in which a copy expires before it can be fetched."""
    if not least_days(tier) <= days <= MAX_RESTORE_DAYS:
        raise ListError(
            f"保持日数は{least_days(tier)}から{MAX_RESTORE_DAYS}で指定してください"
            f"（現在: {days}）。"
            f"{tier.value} は最大{tier.wait // _HOUR}時間かかり、その時間も日数に含まれます。"
        )


class RestoreRun(Run[RestorePlan, RestoreFolder]):
    """A new restore: its list is checked against the archive list, then S3 is asked."""

    def __init__(
        self,
        settings: Settings,
        catalogue: Catalogue,
        sources: Sequence[ListSource],
        request: RunRequest,
        *,
        tier: Tier = Tier.BULK,
        days: int | None = None,
        hidden_rows: HiddenRows = HiddenRows.ASK,
        now: Callable[[], datetime] = utc_now,
        kind: RunKind = RunKind.RESTORE,
    ) -> None:
        """``days``: how long copies are to stay readable; None: as the settings say."""
        super().__init__(settings, sources, request, kind=kind, folder=RestoreFolder, now=now)
        self._catalogue = catalogue
        self._hidden_rows = hidden_rows
        self._tier = tier
        self._days = settings.restore_days if days is None else days
        if kind is RunKind.RESTORE:
            require_days(tier, self._days)
            self.record = replace(self.record, tier=tier.value, days=self._days)
        self.plan = RestorePlan((), ())

    def choose(self, tier: Tier, days: int) -> None:
        """Take what the operator chose after the check; raises ``ListError``."""
        require_days(tier, days)
        self._tier, self._days = tier, days
        self.record = replace(self.record, tier=tier.value, days=days)

    def check(
        self, progress: ProgressSink = silent, cancelled: Callable[[], bool] = lambda: False
    ) -> RestorePlan:
        # Nothing but a new restore reads lists: its later steps do not wait for that.
        from core.lists.parser import parse  # noqa: PLC0415
        from core.restore.check import RestoreCheck  # noqa: PLC0415

        timezone, hidden_rows = self._settings.timezone, self._hidden_rows
        check = RestoreCheck(
            self._catalogue, self._settings.bucket, progress=progress, cancelled=cancelled
        )
        return check.run(parse(self._sources, ListKind.RESTORE, timezone, hidden_rows))

    def refusal(self, plan: RestorePlan) -> str:
        if not plan.refused:
            return ""
        if any(problem.code is Code.LIST_TOO_LARGE for problem in plan.problems):
            return sentence(Code.LIST_TOO_LARGE)
        if plan.undecided:
            return sentence(Code.ROWS_HIDDEN)
        return "アーカイブ一覧に一致する行がありません"

    def pass_check(self, plan: RestorePlan) -> RunRecord:
        """Record a check that was all that was asked for; rows left out count as failed."""
        self.record = replace(self.record, failed_files=plan.left_out, left_out_rows=plan.left_out)
        if plan.left_out:
            return self._record_check(plan, RunState.FAILED_FILES, f"{plan.left_out:,}行を除きます")
        return super().pass_check(plan)

    def refuse(self, plan: RestorePlan) -> RunRecord:
        self.record = replace(self.record, failed_files=plan.left_out, left_out_rows=plan.left_out)
        return super().refuse(plan)

    def _freeze(self, plan: RestorePlan) -> None:
        self.plan = plan
        self.record = replace(self.record, left_out_rows=plan.left_out)
        self.folder.write_record(self.record)
        self.folder.freeze(plan, self._now())

    def execute(
        self, open_store: OpenStore, stop: StopSignal, progress: ProgressSink = silent
    ) -> RunRecord:
        """Send the requests when no other run of this installation is busy.

        Raises ``FatalError`` only when the run folder cannot be written any more.
        """
        step = RestoreStep(self, self._settings, self.folder, self._lock, self._now)
        return step.request(self._tier, self._days, open_store, stop, progress)


class OpenRestore:
    """A restore whose requests were sent: a later step of it.

    ``begin`` → ``execute``, by one thread at a time.
    """

    def __init__(
        self, settings: Settings, run_id: str, now: Callable[[], datetime] = utc_now
    ) -> None:
        """``run_id``: also the path of its folder. Raises ``ListError`` when there is no such
        restore, it has nothing to restore, or its folder is damaged."""
        self._settings = settings
        self._now = now
        run_id = run_named(settings, run_id)
        path = settings.runs_dir / run_id
        if f"-{RunKind.RESTORE}-" not in run_id:
            raise ListError(f"復元の実行番号ではありません: {run_id}。")
        self.folder = RestoreFolder(path, settings.timezone)
        record = self.folder.read_record()
        if record is None or record.kind != RunKind.RESTORE:
            raise ListError(f"復元の記録が見つかりません: {run_id}。実行番号を確認してください。")
        self.record = record
        self._lock = RunLock(path)
        self._seen: States = {}
        self._seen_at: datetime | None = None
        try:
            found = len(self.standings())
        except OSError as exc:
            why = os_reason(exc)
            raise ListError(
                f"復元の記録を読み取れません: {run_id}（{why}）。管理者に連絡してください。"
            ) from exc
        if found < record.total_files:
            # The rest of a plan would be taken for all of it.
            raise ListError(
                f"対象のファイルの記録（plan.csv）が壊れています: {run_id}。"
                "管理者に連絡するか、同じ一覧で新しく復元してください。"
            )
        if not found:
            raise ListError(
                f"この復元には対象のファイルがありません: {run_id}。"
                "同じ一覧で新しく復元してください。"
            )

    @property
    def days(self) -> int:
        return self.record.days or self._settings.restore_days

    def standings(self) -> list[RestoreEntry]:
        return self.folder.standings()

    def status(
        self, store: RestoreStore, cancelled: Callable[[], bool] = lambda: False
    ) -> RestoreStatus:
        """Ask S3 where every file stands. Changes nothing. Raises ``FatalError``."""
        # The time before: what a step does in the meantime is newer than this.
        self._seen_at = self._now()
        standings = self.standings()
        self._seen = look(standings, store, cancelled)
        return status_of(standings, self._seen, self.days, self._seen_at)

    def status_as(self, states: States, at: datetime) -> RestoreStatus:
        """Return where every file stands, when S3 has said so at that time."""
        return status_of(self.standings(), states, self.days, at)

    def begin(self, started_by: str) -> RunRecord:
        """Take the restore for a step. Raises ``ListError`` while another step has it."""
        if not self._lock.try_acquire():
            raise ListError(
                f"この復元はほかの処理の途中です: {self.record.run_id}。終わるまでお待ちください。"
            )
        try:
            record = self.folder.read_record()
            self.record = replace(
                record or self.record,
                state=RunState.RUNNING,
                message="",
                started_at=None,
                finished_at=None,
                last_by=started_by,
            )
            self.folder.write_record(self.record)
        except BaseException:
            self._lock.release()
            raise
        return self.record

    def request(
        self, open_store: OpenStore, stop: StopSignal, progress: ProgressSink = silent
    ) -> RunRecord:
        """Ask S3 again for what is not placed and not readable for long enough."""
        step = RestoreStep(self, self._settings, self.folder, self._lock, self._now)
        tier = Tier(self.record.tier or Tier.BULK)
        return step.request(tier, self.days, open_store, stop, progress)

    def place(
        self,
        open_store: OpenStore,
        target: Target,
        stop: StopSignal,
        progress: ProgressSink = silent,
        *,
        again: Iterable[str] = (),
    ) -> RunRecord:
        """Put what is readable into ``target``; the rest is carried over.

        ``again``: keys of files that were placed and are to be placed once more.
        """
        step = RestoreStep(self, self._settings, self.folder, self._lock, self._now)
        if self._seen_at and self._now() - self._seen_at < _FRESH:
            step.states = self._seen
        return step.place(target, set(again), open_store, stop, progress)


def statuses(
    restores: Iterable[OpenRestore],
    store: RestoreStore,
    cancelled: Callable[[], bool] = lambda: False,
    now: Callable[[], datetime] = utc_now,
) -> Iterator[tuple[OpenRestore, RestoreStatus]]:
    """Yield where the files of restores stand, in their order. Raises ``FatalError``.

    S3 is asked for many restores in one pass: a listing pays for many keys only, and each
    restore by itself would be one HEAD a file.
    """
    for batch in _batches(restores):
        at = now()
        states = look([s for restore in batch for s in restore.standings()], store, cancelled)
        for restore in batch:
            yield restore, restore.status_as(states, at)


def _batches(restores: Iterable[OpenRestore]) -> Iterator[list[OpenRestore]]:
    batch: list[OpenRestore] = []
    files = 0
    for restore in restores:
        number = restore.record.total_files
        if batch and files + number > MAX_TOGETHER:
            yield batch
            batch, files = [], 0
        batch.append(restore)
        files += number
    if batch:
        yield batch
