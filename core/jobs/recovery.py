"""The end of runs whose process died: what they left behind becomes their error file list."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from core.clock import utc_now
from core.config.settings import Settings
from core.errors import Code, HimuroError, Severity
from core.files.private_file import tighten
from core.model import RunKind, RunRecord, RunState
from core.resources.shortage import patiently
from core.restore.folder import RestoreFolder
from core.restore.model import Stage
from core.restore.status import never_requested, status_of, summed_up
from core.runs.folder import RunFolder
from core.runs.locks import RunLock
from core.runs.record import counted

_logger = logging.getLogger(__name__)


def recover(
    settings: Settings, now: Callable[[], datetime] = utc_now, *, thorough: bool = True
) -> list[RunRecord]:
    """Give every run whose process is gone its end; returns those that were found.

    Every job and console begins with it: it closes the data directory to other users as well.

    Its error file list is the plan minus what is settled (``docs/contract.md``, "Run folder").
    Runs that are still alive in another process are left alone. A folder that cannot be read or
    written harms no other: it stays ``running`` and is tried again by the next call.

    ``thorough``: read every record, also of folders that were put there by hand. Else only of
    runs that left their lock behind, as all that are killed do.
    """
    tighten(settings.data_dir)
    found = []
    for path in _folders(settings.runs_dir):
        try:
            if not thorough and not RunLock(path).is_left():
                continue
            record = _recover_one(RunFolder(path, settings.timezone), now)
        except (HimuroError, OSError, ValueError) as exc:
            _logger.warning("run %s cannot be ended: %s", path.name, exc)
            continue
        if record is not None:
            found.append(record)
    return found


def _folders(runs_dir: Path) -> list[Path]:
    try:
        return sorted(
            path
            for path in patiently(lambda: list(runs_dir.iterdir()))
            if not path.name.startswith(".")
        )
    except FileNotFoundError:
        return []
    except OSError as exc:
        _logger.warning("past runs cannot be read: %s", exc)
        return []


def _recover_one(folder: RunFolder, now: Callable[[], datetime]) -> RunRecord | None:
    if not folder.path.is_dir() or not _is_running(folder.read_record()):
        return None
    lock = RunLock(folder.path)
    if not lock.try_acquire():
        return None
    try:
        # It may have ended between the two looks.
        record = folder.read_record()
        return _interrupt(folder, record, now()) if record and _is_running(record) else None
    finally:
        lock.release()


def _is_running(record: RunRecord | None) -> bool:
    return record is not None and record.state is RunState.RUNNING


def _interrupt(folder: RunFolder, record: RunRecord, when: datetime) -> RunRecord:
    if record.kind == RunKind.RESTORE:
        return _interrupt_restore(RestoreFolder(folder.path, folder.timezone), record, when)
    planned = dict.fromkeys(folder.read_plan())
    outcomes = {o.path: o for o in folder.read_outcomes() if o.path in planned}
    folder.finish(list(planned), outcomes, Code.INTERRUPTED)
    ended = counted(record, len(planned), outcomes)
    if planned:
        message = f"実行中に終了したため、{ended.failed_files:,}件の完了を確認できません"
    else:
        message = "確認の途中で終了したため、何も処理していません"
    folder.log(when, Severity.ERROR, record.run_id, message, Code.INTERRUPTED)
    ended = replace(ended, state=RunState.INTERRUPTED, message=message, finished_at=when)
    folder.write_record(ended)
    return ended


def _interrupt_restore(folder: RestoreFolder, record: RunRecord, when: datetime) -> RunRecord:
    """A restore goes on with its next step; what S3 says of its files was not asked."""
    standings = folder.standings()
    status = status_of(standings, {}, record.days, when)
    if standings:
        message = "処理の途中で終了しました。状況を確認し、もう一度実行してください"
        if unrequested := never_requested(status.count(Stage.UNREQUESTED)):
            # As far as the folder knows: what died before it was written S3 knows better.
            message = f"処理の途中で終了しました。{unrequested}。続きを要求してください"
        folder.write_lists(standings, status.stages)
    else:
        message = "確認の途中で終了したため、何も処理していません"
    folder.log(when, Severity.ERROR, record.run_id, message, Code.INTERRUPTED)
    ended = replace(
        summed_up(record, status), state=RunState.INTERRUPTED, message=message, finished_at=when
    )
    if standings:
        # A plan that is damaged says less; how many files there were must not be forgotten.
        ended = replace(ended, total_files=max(record.total_files, len(standings)))
    folder.write_record(ended)
    return ended
