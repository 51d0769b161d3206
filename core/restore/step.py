"""One step of a restore: a round of requests or of placing, from its turn to its record."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from core.concurrency.cancellation import StopSignal
from core.config.settings import Settings
from core.errors import Code, FatalError, Severity
from core.files.mounts import mount_of
from core.model import Progress, RunKind, RunRecord, RunState
from core.ports import ProgressSink
from core.resources.shortage import patiently
from core.restore.folder import RestoreFolder
from core.restore.model import ObjectState, RestoreEntry, RestoreOutcome, Stage, Step, Thaw, Tier
from core.restore.names import Names
from core.restore.place_collector import PlaceResult, PlaceRunner
from core.restore.placer import clear_leftovers
from core.restore.ports import RestoreStore
from core.restore.requester import Requested, Requests
from core.restore.status import (
    OPEN_STAGES,
    READY_STAGES,
    RestoreStatus,
    State,
    States,
    look,
    never_requested,
    status_of,
    summed_up,
)
from core.restore.target import Directory, Target, free_bytes, require_mounted, require_room
from core.runs.base import in_turn
from core.runs.locks import RunLock

OpenStore = Callable[[], RestoreStore]


class _Recorded(Protocol):
    record: RunRecord


class RestoreStep:
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
        self._failed_before: dict[str, RestoreOutcome] = {}

    def request(
        self,
        tier: Tier,
        days: int,
        open_store: OpenStore,
        stop: StopSignal,
        progress: ProgressSink,
    ) -> RunRecord:
        try:
            self._remember_failures()
            result = Requested(stopped=True)
            with in_turn(self._settings, stop, progress) as turn:
                if turn.has_come:
                    self._started(tier=tier.value, days=days)
                    store = open_store()
                    store.check()
                    result = Requests(
                        self._folder.standings(),
                        store,
                        self._folder,
                        tier=tier,
                        days=days,
                        stop=stop,
                        progress=progress,
                        now=self._now,
                    ).execute()
            if turn.fatal:
                result = Requested(fatal=turn.fatal)
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
        before = self._run.record.target_mount
        try:
            self._remember_failures()
            result = PlaceResult(None, stopped=True)
            with in_turn(self._settings, stop, progress) as turn:
                if turn.has_come:
                    # It may have waited for its turn for hours.
                    require_mounted(self._settings, target.typed, target.local, before)
                    lies_on = str(mount_of(target.local) or "")
                    self._started(target=target.typed, target_mount=lies_on)
                    store = open_store()
                    store.check()
                    self._forget_places(again)
                    result = self._place(store, target, stop, progress)
            if turn.fatal:
                result = PlaceResult(turn.fatal, stopped=False)
            return self._conclude(result.fatal, stopped=result.stopped)
        finally:
            self._folder.close()
            self._lock.release()

    def _forget_places(self, again: set[str]) -> None:
        """Note that files, by their keys, are to be placed once more."""
        when = self._now()
        lost = [RestoreOutcome(key, Step.LOST, when) for key in sorted(again)]
        if lost:
            self._folder.add_events(lost)

    def _remember_failures(self) -> None:
        # Not by time: where a clock was set back, old failures would be those of this step.
        standings = self._folder.standings()
        self._failed_before = {s.item.key: s.failed for s in standings if s.failed}

    def _place(
        self, store: RestoreStore, target: Target, stop: StopSignal, progress: ProgressSink
    ) -> PlaceResult:
        standings = self._folder.standings()
        unknown = [s for s in standings if s.item.key not in self.states]
        progress(Progress(total_files=len(unknown), phase="S3の状態を確認しています"))
        self.states = {**self.states, **look(unknown, store, lambda: stop.requested)}
        if stop.requested:
            return PlaceResult(None, stopped=True)
        days = self._run.record.days or self._settings.restore_days
        status = status_of(standings, self.states, days, self._now())
        ready = [file.item for file in status.files if file.stage in READY_STAGES]
        if not ready and not target.exists:
            return PlaceResult(None, stopped=False)  # nothing to make a directory for
        require_mounted(self._settings, target.typed, target.local, self._run.record.target_mount)
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
            result = runner.execute()
            if result.fatal is None:
                # What could not be removed in its moment must not stay for ever.
                clear_leftovers(directory, {_short_id(self._folder.run_id)})
            return result
        finally:
            directory.close()

    def _clear_leftovers(self, directory: Directory) -> None:
        """Remove what runs that were killed have left half done in the target."""
        runs = self._settings.runs_dir
        # While this run has its turn no other one of this installation is placing anything.
        known = {
            _short_id(path.name)
            for path in patiently(lambda: list(runs.glob(f"*-{RunKind.RESTORE}-*")))
        }
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
            paths = {s.item.key: s.item.path for s in standings}
            where = paths.get(fatal.at, fatal.at) or self._settings.bucket or "-"
            self._folder.log(self._now(), Severity.ERROR, where, str(fatal), fatal.code)
        self._folder.write_lists(standings, status.stages)
        self._run.record = summed_up(self._run.record, status)
        state, message = ending(self._run.record, status, fatal, stopped=stopped)
        self._run.record = replace(
            self._run.record, state=state, message=message, finished_at=self._now()
        )
        self._folder.write_record(self._run.record)
        return self._run.record

    def _still_so(self, standings: Iterable[RestoreEntry]) -> Iterator[tuple[str, State]]:
        """Yield what S3 said at the beginning, as far as the step has not shown otherwise."""
        failed = {
            s.item.key: s.failed.code
            for s in standings
            if s.failed and s.failed != self._failed_before.get(s.item.key)
        }
        for key, state in self.states.items():
            if key not in failed:
                yield key, state
            elif failed[key] is Code.NOT_READABLE:
                yield key, ObjectState(Thaw.FROZEN)


def _short_id(run_id: str) -> str:
    return run_id.rpartition("-")[2]


def owned_names(target: Target, standings: Iterable[RestoreEntry]) -> list[str]:
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
    unrequested = never_requested(record.unrequested_files)
    if stopped:
        message = "停止したため、残りのファイルを処理していません"
        return RunState.STOPPED, message + (f"（{unrequested}）" if unrequested else "")
    parts = [
        f"{number:,}件{words}"
        for number, words in (
            (status.count(*OPEN_STAGES), "は取り出し準備中です"),
            (record.unrequested_files, "はまだ要求していません"),
            (status.count(*READY_STAGES), "は取り出せます"),
            (status.count(Stage.EXPIRED), "は期限切れです"),
            (status.count(Stage.FAILED), "は失敗しました"),
        )
        if number
    ]
    if record.left_out_rows:
        parts.append(f"{record.left_out_rows:,}行は対象外です")
    message = "、".join(parts)
    if status.count(*OPEN_STAGES, *READY_STAGES, Stage.UNREQUESTED):
        return RunState.WAITING, message
    if record.failed_files or record.left_out_rows:
        return RunState.FAILED_FILES, message
    return RunState.DONE, ""
