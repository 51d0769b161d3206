"""A restore from the uploaded bytes to its requests, and every later step of it.

One run folder holds a restore from request to last file, over days and restarts. Between its
steps its state is ``waiting``; whether files wait, expired or are placed is not written down
but asked of S3 whenever somebody wants to know.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from core.errors import Code, FatalError, ListError, Severity, sentence
from core.locks import RunLock
from core.model import ListKind, ListSource, RunRecord, RunRequest, RunState
from core.place_runner import PlaceResult, PlaceRunner
from core.placing import Names, clear_leftovers
from core.ports import Catalogue, ProgressSink, RestoreStore, silent
from core.record import utc_now
from core.request_list import parse
from core.requesting import Requested, Requests
from core.restore_check import RestoreCheck
from core.restore_folder import RestoreFolder
from core.restore_model import (
    ObjectState,
    RestoreOutcome,
    RestorePlan,
    Stage,
    Standing,
    Step,
    Thaw,
    Tier,
    least_days,
)
from core.restore_status import (
    KIND,
    OPEN_STAGES,
    READY_STAGES,
    RestoreStatus,
    State,
    States,
    look,
    status_of,
    summed_up,
)
from core.run import Run, in_turn
from core.settings import Settings
from core.stop import StopSignal
from core.target import Directory, Target, free_bytes, require_room

OpenStore = Callable[[], RestoreStore]

_HOUR = timedelta(hours=1)
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
    if not least_days(tier) <= days <= 365:
        raise ListError(
            f"保持日数は{least_days(tier)}から365で指定してください（現在: {days}）。"
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
        now: Callable[[], datetime] = utc_now,
        kind: str = KIND,
    ) -> None:
        """``days``: how long copies are to stay readable; None: as the settings say."""
        super().__init__(settings, sources, request, kind=kind, folder=RestoreFolder, now=now)
        self._catalogue = catalogue
        self._tier = tier
        self._days = settings.restore_days if days is None else days
        if kind == KIND:
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
        parsed = parse(self._sources, ListKind.RESTORE, self._settings.timezone)
        check = RestoreCheck(
            self._catalogue, self._settings.bucket, progress=progress, cancelled=cancelled
        )
        return check.run(parsed)

    def refusal(self, plan: RestorePlan) -> str:
        if not plan.refused:
            return ""
        if any(problem.code is Code.LIST_TOO_LARGE for problem in plan.problems):
            return sentence(Code.LIST_TOO_LARGE)
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
        step = _Step(self, self._settings, self.folder, self._lock, self._now)
        return step.request(self._tier, self._days, open_store, stop, progress)


class OpenRestore:
    """A restore whose requests were sent: a later step of it.

    ``begin`` → ``execute``, by one thread at a time.
    """

    def __init__(
        self, settings: Settings, run_id: str, now: Callable[[], datetime] = utc_now
    ) -> None:
        """Raises ``ListError`` when there is no such restore or it has nothing to restore."""
        self._settings = settings
        self._now = now
        path = settings.runs_dir / run_id
        if Path(run_id).name != run_id or f"-{KIND}-" not in run_id:
            raise ListError(f"復元の実行番号ではありません: {run_id}。")
        self.folder = RestoreFolder(path, settings.timezone)
        record = self.folder.read_record()
        if record is None or record.kind != KIND:
            raise ListError(f"復元の記録が見つかりません: {run_id}。実行番号を確認してください。")
        self.record = record
        self._lock = RunLock(path)
        self._seen: States = {}
        self._seen_at: datetime | None = None
        if not self.folder.items():
            raise ListError(f"この復元には対象のファイルがありません: {run_id}。")

    @property
    def days(self) -> int:
        return self.record.days or self._settings.restore_days

    def standings(self) -> list[Standing]:
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
        step = _Step(self, self._settings, self.folder, self._lock, self._now)
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
        step = _Step(self, self._settings, self.folder, self._lock, self._now)
        if self._seen_at and self._now() - self._seen_at < _FRESH:
            step.states = self._seen
        return step.place(target, set(again), open_store, stop, progress)


class _Recorded(Protocol):
    record: RunRecord


class _Step:
    """One step of a restore that has begun; ends with the record and the lists written."""

    def __init__(
        self,
        run: _Recorded,
        settings: Settings,
        folder: RestoreFolder,
        lock: RunLock,
        now: Callable[[], datetime],
    ) -> None:
        """``run`` has the new record at once: others see by it that the step goes on."""
        self._run = run
        self._settings = settings
        self._folder = folder
        self._lock = lock
        self._now = now
        self.states: States = {}
        """What S3 has said; empty: it is asked when something is placed."""

    def request(
        self,
        tier: Tier,
        days: int,
        open_store: OpenStore,
        stop: StopSignal,
        progress: ProgressSink,
    ) -> RunRecord:
        def work() -> Requested:
            self._started(tier=tier.value, days=days)
            store = open_store()
            store.check()
            return Requests(
                self._folder.standings(),
                store,
                self._folder,
                tier=tier,
                days=days,
                stop=stop,
                progress=progress,
                now=self._now,
            ).execute()

        def otherwise(fatal: FatalError | None) -> Requested:
            return Requested(fatal=fatal, stopped=fatal is None)

        try:
            result = in_turn(self._settings, stop, progress, work, otherwise)
            if result.thawing:
                self._run.record = replace(self._run.record, ready_by=self._now() + tier.wait)
            self.states = {
                key: replace(state, thaw=Thaw.THAWING) if key in result.thawing else state
                for key, state in result.states.items()
            }
            return self._conclude(result.fatal, stopped=result.stopped)
        finally:
            self._folder.close()
            self._lock.release()

    def place(
        self,
        target: Target,
        again: set[str],
        open_store: OpenStore,
        stop: StopSignal,
        progress: ProgressSink,
    ) -> RunRecord:
        def work() -> PlaceResult:
            self._started(target=target.typed)
            store = open_store()
            store.check()
            if again:
                when = self._now()
                self._folder.add_events(
                    [RestoreOutcome(key, Step.LOST, when) for key in sorted(again)]
                )
            return self._place(store, target, stop, progress)

        def otherwise(fatal: FatalError | None) -> PlaceResult:
            return PlaceResult(fatal, stopped=fatal is None)

        try:
            result = in_turn(self._settings, stop, progress, work, otherwise)
            return self._conclude(result.fatal, stopped=result.stopped)
        finally:
            self._folder.close()
            self._lock.release()

    def _place(
        self, store: RestoreStore, target: Target, stop: StopSignal, progress: ProgressSink
    ) -> PlaceResult:
        standings = self._folder.standings()
        unknown = [s for s in standings if s.item.key not in self.states]
        self.states = {**self.states, **look(unknown, store, lambda: stop.requested)}
        if stop.requested:
            return PlaceResult(None, stopped=True)
        days = self._run.record.days or self._settings.restore_days
        status = status_of(standings, self.states, days, self._now())
        ready = [file.item for file in status.files if file.stage in READY_STAGES]
        directory = Directory(target)
        try:
            self._clear_leftovers(directory)
            require_room(target, sum(item.size for item in ready), free_bytes(target))
            names = Names(
                directory,
                f"{self._now().astimezone(self._settings.timezone):%Y%m%d}",
                self._folder.run_id,
                owned_names(target, standings),
            )
            runner = PlaceRunner(
                ready,
                store,
                target,
                directory,
                names,
                self._folder,
                stop=stop,
                progress=progress,
                now=self._now,
            )
            return runner.execute()
        finally:
            directory.close()

    def _clear_leftovers(self, directory: Directory) -> None:
        """Remove what runs that were killed have left half done in the target."""
        runs = self._settings.runs_dir
        # While this run has its turn no other one of this installation is placing anything.
        known = {path.name.rpartition("-")[2] for path in runs.glob(f"*-{KIND}-*")}
        clear_leftovers(directory, known)

    def _started(self, **changes: object) -> None:
        self._run.record = replace(self._run.record, started_at=self._now(), **changes)  # type: ignore[arg-type]
        self._folder.write_record(self._run.record)

    def _conclude(self, fatal: FatalError | None, *, stopped: bool) -> RunRecord:
        standings = self._folder.standings()
        status = status_of(
            standings,
            dict(self._still_so(standings)),
            self._run.record.days or self._settings.restore_days,
            self._now(),
        )
        if fatal:
            self._folder.log(
                self._now(), Severity.ERROR, self._settings.bucket or "-", str(fatal), fatal.code
            )
        self._folder.write_lists(standings, status.stages)
        self._run.record = summed_up(self._run.record, status)
        state, message = ending(self._run.record, status, fatal, stopped=stopped)
        self._run.record = replace(
            self._run.record, state=state, message=message, finished_at=self._now()
        )
        self._folder.write_record(self._run.record)
        return self._run.record

    def _still_so(self, standings: Iterable[Standing]) -> Iterator[tuple[str, State]]:
        """Yield what S3 said at the beginning, as far as the step has not shown otherwise."""
        begun = self._run.record.started_at
        failed = {
            s.item.key: s.failed.code
            for s in standings
            if s.failed and begun and s.failed.at >= begun
        }
        for key, state in self.states.items():
            if key not in failed:
                yield key, state
            elif failed[key] is Code.NOT_READABLE:
                yield key, ObjectState(Thaw.FROZEN)


def owned_names(target: Target, standings: Iterable[Standing]) -> list[str]:
    """Return the names in ``target`` that files of this restore have got before."""
    places = (s.placed.place for s in standings if s.placed)
    names = ((place, re.split(r"[\\/]", place)[-1]) for place in places)
    return [name for place, name in names if place == target.place_of(name)]


def ending(
    record: RunRecord, status: RestoreStatus, fatal: FatalError | None, *, stopped: bool
) -> tuple[RunState, str]:
    """Return the state of a restore after a step, and in Japanese why it is not done."""
    if fatal:
        return RunState.ERROR, str(fatal)
    if stopped:
        return RunState.STOPPED, "停止したため、残りのファイルを処理していません"
    parts = [
        f"{number:,}件{words}"
        for number, words in (
            (status.count(*OPEN_STAGES), "は取り出し準備中です"),
            (status.count(*READY_STAGES), "は取り出せます"),
            (status.count(Stage.EXPIRED), "は期限切れです"),
            (status.count(Stage.FAILED), "は失敗しました"),
        )
        if number
    ]
    if record.left_out_rows:
        parts.append(f"{record.left_out_rows:,}行は対象外です")
    message = "、".join(parts)
    if status.count(*OPEN_STAGES, *READY_STAGES):
        return RunState.WAITING, message
    if record.failed_files or record.left_out_rows:
        return RunState.FAILED_FILES, message
    return RunState.DONE, ""
