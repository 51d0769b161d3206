"""The files of one restore (``docs/contract.md``, "Run folder"), from first request to last file.

``plan.csv`` is frozen before the first request and never changes; ``outcomes.csv`` grows by a
flushed line per event over all steps, days apart. The lists are made again from these two at
the end of each step.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TextIO
from zoneinfo import ZoneInfo

from core.errors import Code
from core.files.csv_file import create_csv, write_rows
from core.files.regular_file import open_plain
from core.model import Problem
from core.paths.normalization import printable
from core.resources.shortage import insistently
from core.restore.model import (
    STAGE_WORDS,
    RestoreEntry,
    RestoreItem,
    RestoreOutcome,
    RestorePlan,
    Stage,
    Step,
)
from core.runs.folder import RunFolder, guarded

_PLAN_HEADER = ("パス", "S3キー", "サイズ", "SHA256", "更新日時", "アーカイブ日時")
_OUTCOME_HEADER = ("S3キー", "結果", "日時", "コード", "理由", "パス")
_REPORT_HEADER = ("ファイル名", "結果", "復元日時", "配置先", "元のパス", "理由")
_SHA256 = re.compile("[0-9a-f]{64}")
_MAX_DIGITS = 18
_STEPS = {step.value: step for step in Step}
_WORDS = {Stage.PLACED: "成功", Stage.FAILED: "失敗"}
_LEFT_OUT = "対象外"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A row of the list that is not restored."""

    text: str
    """What stands in the list."""
    reason: str


class RestoreFolder(RunFolder):
    """``RunFolder`` of a restore. What is logged goes to ``restore_errors.txt`` as well."""

    logs = ("error_log.txt", "restore_errors.txt")

    def __init__(self, path: Path, timezone: ZoneInfo) -> None:
        super().__init__(path, timezone)
        self._items: list[RestoreItem] | None = None
        self._standings: dict[str, RestoreEntry] | None = None
        self._left_out: list[LeftOut] = []
        self._read_bytes = 0
        """Of ``outcomes.csv``, which only grows: whether there is more to be read."""

    def freeze(self, plan: RestorePlan, when: datetime) -> None:
        """Write ``plan.csv``, and the rows that are left out as the first outcomes."""
        rows = (
            (
                item.path,
                item.key,
                item.size,
                item.sha256,
                item.modified_at.isoformat(),
                item.archived_at.isoformat(),
            )
            for item in plan.items
        )
        self._freeze_rows(_PLAN_HEADER, rows)
        self._items = list(plan.items)
        self.add_events([_left_out(p, when) for p in plan.problems if p.is_error])

    def items(self) -> list[RestoreItem]:
        """Return ``plan.csv`` in its order; lines that are damaged are left out."""
        if self._items is None:
            self._items = [item for row in self._rows("plan.csv", 6) if (item := _item(row))]
        return self._items

    def add_events(self, events: Sequence[RestoreOutcome]) -> None:
        """Append a line each to ``outcomes.csv`` and hand them to the operating system."""
        self._append_outcomes(
            _OUTCOME_HEADER,
            (
                (
                    event.key,
                    event.step.value,
                    event.at.isoformat(),
                    event.code.name if event.code else "",
                    printable(event.detail),
                    event.place,
                )
                for event in events
            ),
        )
        if self._standings is not None:
            self._take_in(events)
            self._read_bytes = self._bytes()

    def _opened_outcomes(self, header: Sequence[str]) -> TextIO:
        """Go on where an earlier step ended; a line torn by a crash is cut off first."""
        path = self.path / "outcomes.csv"
        try:
            with open_plain(path) as before:
                content = before.read()
        except FileNotFoundError:
            return super()._opened_outcomes(header)
        whole = content.rfind(b"\n") + 1
        if not whole:
            return super()._opened_outcomes(header)
        os.truncate(path, whole)
        file: TextIO = insistently(path.open, "a", encoding="utf-8", newline="")
        return file

    def standings(self) -> list[RestoreEntry]:
        """Return where every file of the plan stands, in the plan's order."""
        return list(self._loaded().values())

    def left_out(self) -> list[LeftOut]:
        """Return the rows of the list that are not restored."""
        self._loaded()
        return list(self._left_out)

    def _loaded(self) -> dict[str, RestoreEntry]:
        """Return standings by key; what another process has added is read."""
        size = self._bytes()
        if self._standings is None or size != self._read_bytes:
            self._standings = {item.key: RestoreEntry(item) for item in self.items()}
            self._left_out = []
            self._take_in([e for row in self._rows("outcomes.csv", 6) if (e := _event(row))])
            self._read_bytes = size
        return self._standings

    def _bytes(self) -> int:
        try:
            return (self.path / "outcomes.csv").stat().st_size
        except OSError:
            return 0

    def _take_in(self, events: Iterable[RestoreOutcome]) -> None:
        standings = self._standings or {}
        for event in events:
            if event.step is Step.LEFT_OUT:
                self._left_out.append(LeftOut(event.place, event.reason))
            elif before := standings.get(event.key):
                standings[event.key] = after(before, event)

    def write_lists(self, standings: Sequence[RestoreEntry], stages: Mapping[str, Stage]) -> None:
        """Write ``restore_requests.txt`` and ``report.csv`` as things stand now.

        ``stages``: by key, where files stand that are not placed.
        """
        self.give_room()
        self.close()
        waiting = "".join(f"{s.item.key}\n" for s in standings if not s.placed)
        self._replace("restore_requests.txt", waiting)
        with guarded(self.path):
            draft = self.path / "report.csv.tmp"
            with create_csv(draft) as file:
                write_rows(file, [_REPORT_HEADER])
                write_rows(file, (self._report_row(s, stages) for s in standings))
                write_rows(
                    file, ((r.text, _LEFT_OUT, "", "", "", r.reason) for r in self.left_out())
                )
            draft.replace(self.path / "report.csv")

    def _report_row(
        self, standing: RestoreEntry, stages: Mapping[str, Stage]
    ) -> tuple[object, ...]:
        item, placed, failed = standing.item, standing.placed, standing.failed
        if placed:
            when = f"{placed.at.astimezone(self.timezone):%Y/%m/%d %H:%M:%S}"
            return (item.name, _WORDS[Stage.PLACED], when, placed.place, item.path, placed.detail)
        # What S3 says wins over a request whose answer was lost.
        stage = stages.get(item.key) or (Stage.FAILED if failed else Stage.UNREQUESTED)
        word = _WORDS.get(stage) or STAGE_WORDS[stage]
        reason = failed.reason if failed and stage not in (Stage.REQUESTED, Stage.THAWING) else ""
        return (item.name, word, "", "", item.path, reason)


def after(before: RestoreEntry, event: RestoreOutcome) -> RestoreEntry:
    """Return where a file stands once this has happened to it."""
    if event.step is Step.PLACED:
        return replace(before, placed=event, failed=None)
    if event.step is Step.FAILED:
        return replace(before, failed=event)
    if event.step is Step.LOST:
        return replace(before, placed=None)
    if event.step is Step.READABLE:
        return RestoreEntry(before.item, readable_at=event.at)
    return RestoreEntry(before.item, requested_at=event.at)


def _item(row: Sequence[str]) -> RestoreItem | None:
    """Return what a line of ``plan.csv`` says; None for one that is damaged."""
    path, key, size, sha256, modified, archived = row
    modified_at, archived_at = _moment(modified), _moment(archived)
    if not modified_at or not archived_at or not _SHA256.fullmatch(sha256):
        return None
    if not size.isdecimal() or len(size) > _MAX_DIGITS:
        return None
    return RestoreItem.made(path, key, int(size), sha256, modified_at, archived_at)


def _event(row: Sequence[str]) -> RestoreOutcome | None:
    """Return what a line of ``outcomes.csv`` says; None for one that is damaged."""
    key, word, at, code, detail, place = row
    step, moment = _STEPS.get(word), _moment(at)
    if step is None or moment is None:
        return None
    known = Code[code] if code in Code.__members__ else None
    return RestoreOutcome(key, step, moment, known, detail, place)


def _left_out(problem: Problem, when: datetime) -> RestoreOutcome:
    return RestoreOutcome("", Step.LEFT_OUT, when, problem.code, problem.detail, problem.path)


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else None
