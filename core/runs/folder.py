"""The files of one run (``docs/contract.md``, "Run folder"): a crash leaves the truth.

``run.json`` and ``plan.csv`` are replaced atomically; ``outcomes.csv`` grows by one flushed
line per finished file. Everything else can be made again from these three.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import TextIO
from zoneinfo import ZoneInfo

from core.errors import Code, FatalError, Severity, os_reason
from core.files.csv_file import create_csv, marked_cell, read_rows, write_rows
from core.files.private_file import make_private_directory, open_private
from core.files.regular_file import open_plain
from core.model import (
    RESULT_WORDS,
    ArchiveItem,
    ListSource,
    Outcome,
    Problem,
    Result,
    RunRecord,
)
from core.paths.normalization import printable
from core.resources.shortage import insistently, is_shortage, unexpected
from core.runs.record import MAX_BYTES, dump_record, load_record

CONTRACT_FILES = (
    "run.json",
    "plan.csv",
    "outcomes.csv",
    "error_log.txt",
    "failed_uploads.txt",
    "restore_requests.txt",
    "restore_errors.txt",
    "report.csv",
)
_PLAN_HEADER = ("パス", "サイズ", "更新日時", "S3キー", "区分")
_OUTCOME_HEADER = ("パス", "結果", "コード", "理由", "S3キー", "サイズ", "SHA256")
_REPORT_HEADER = ("パス", "結果", "理由", "S3キー", "サイズ")
_MAX_DIGITS = 18
"""Of a file's size; more is damage."""
_LINES_AT_ONCE = 500
"""Of a log, in memory at one time."""
_RESERVE = "reserve"
"""Room on the disk that is given back when the last files of a run are written: a full disk
must not cost the error file list."""


def new_run_id(kind: str, now: datetime) -> str:
    """Return ``<yyyymmdd-hhmmss>-<kind>-<short id>``; ``now`` in the time zone of display."""
    return f"{now:%Y%m%d-%H%M%S}-{kind}-{secrets.token_hex(3)}"


class RunFolder:
    """One run's folder. Writers belong to one thread; readers may be anywhere.

    Every write raises ``FatalError(DATA_DIR_UNWRITABLE)`` when the disk does not take it.
    """

    logs: tuple[str, ...] = ("error_log.txt",)
    """The files that every logged line goes to."""

    def __init__(self, path: Path, timezone: ZoneInfo) -> None:
        self.path = path
        self.timezone = timezone
        self._created = False
        self._outcomes: TextIO | None = None

    @property
    def run_id(self) -> str:
        return self.path.name

    def create(self, record: RunRecord, sources: Sequence[ListSource]) -> None:
        """Write ``run.json`` and the uploaded bytes, untouched.

        The record comes first: a run that dies here is still found. A second call writes
        both anew; a folder that somebody else made a run of is refused.
        """
        with guarded(self.path):
            make_private_directory(self.path)
            if not self._created and (self.path / "run.json").exists():
                raise FileExistsError(errno.EEXIST, "run.json")
            self._created = True
        self.write_record(record)
        with guarded(self.path):
            for number, source in enumerate(sources, start=1):
                suffix = "".join(c for c in Path(source.name).suffix.lower() if c.isalnum())[:10]
                name = f"input{'' if number == 1 else f'-{number}'}.{suffix or 'txt'}"
                with insistently(open_private, self.path / name, "wb") as file:
                    file.write(source.content)

    def write_record(self, record: RunRecord) -> None:
        self._replace("run.json", dump_record(record, self.timezone))

    def read_record(self) -> RunRecord | None:
        """Return ``run.json``; None when it is missing, damaged or that of another folder."""
        found = self.record_or_damage()
        return found if isinstance(found, RunRecord) else None

    def record_or_damage(self) -> RunRecord | str:
        """Return ``run.json``, or in Japanese why it cannot be used.

        Raises nothing but ``FatalError(MACHINE_SHORT)``.
        """
        try:
            with open_plain(self.path / "run.json") as file:
                content = file.read(MAX_BYTES + 1)
            if len(content) > MAX_BYTES:
                return "run.json が大きすぎます"
            record = load_record(content)
        except FileNotFoundError:
            return "run.json がありません"
        except OSError as exc:
            if exc.errno in (errno.EINVAL, errno.ELOOP, errno.EISDIR, errno.ENXIO):
                return "run.json が通常のファイルではありません"
            return f"run.json を読み取れません（{os_reason(exc)}）"
        except ValueError:
            return "run.json の内容が壊れています"
        return record if record.run_id == self.run_id else "run.json が別の実行のものです"

    def write_plan(self, items: Sequence[ArchiveItem]) -> None:
        """Freeze ``plan.csv`` and set room aside for the lists written at the end."""
        rows = ((i.path, i.size, i.mtime_ns, i.key, i.standing.value) for i in items)
        self._freeze_rows(_PLAN_HEADER, rows)

    def _freeze_rows(self, header: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
        with guarded(self.path):
            draft = self.path / "plan.csv.tmp"
            with create_csv(draft) as file:
                write_rows(file, [header])
                write_rows(file, rows, marked_cell)
                _to_disk(file)
            self._keep_room(3 * draft.stat().st_size)
            draft.replace(self.path / "plan.csv")

    def _keep_room(self, size: int) -> None:
        room = size + 65536
        with insistently(open_private, self.path / _RESERVE, "wb") as reserve:
            while room > 0:
                room -= reserve.write(bytes(min(room, 1024 * 1024)))

    def give_room(self) -> None:
        """Free the room: lines that a full disk refused are still waiting to be written."""
        with guarded(self.path):
            (self.path / _RESERVE).unlink(missing_ok=True)

    def drop_plan(self) -> None:
        """Remove a plan that could not be written whole, and the room set aside for it."""
        for name in ("plan.csv.tmp", "plan.csv", _RESERVE):
            with suppress(OSError):
                (self.path / name).unlink()

    def read_plan(self) -> list[str]:
        """Return the paths of ``plan.csv`` in order; empty when no plan was frozen."""
        return [row[0] for row in self._rows("plan.csv", len(_PLAN_HEADER))]

    def add_outcomes(self, outcomes: Iterable[Outcome]) -> None:
        """Append a line each to ``outcomes.csv`` and hand them to the operating system."""
        rows = (
            (
                outcome.path,
                outcome.result.value,
                outcome.code.name if outcome.code else "",
                printable(outcome.detail),
                outcome.key,
                outcome.size,
                outcome.sha256,
            )
            for outcome in outcomes
        )
        self._append_outcomes(_OUTCOME_HEADER, rows)

    def _append_outcomes(self, header: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
        with guarded(self.path):
            if self._outcomes is None:
                self._outcomes = self._opened_outcomes(header)
            write_rows(self._outcomes, rows, marked_cell)
            self._outcomes.flush()

    def _opened_outcomes(self, header: Sequence[str]) -> TextIO:
        file = create_csv(self.path / "outcomes.csv")
        write_rows(file, [header])
        return file

    def read_outcomes(self) -> list[Outcome]:
        """Return the whole lines of ``outcomes.csv``; one torn by a crash is left out."""
        outcomes = []
        for path, result, code, detail, key, size, sha256 in self._rows(
            "outcomes.csv", len(_OUTCOME_HEADER)
        ):
            if result in set(Result) and size.isdecimal() and len(size) <= _MAX_DIGITS:
                known = Code[code] if code in Code.__members__ else None
                outcomes.append(
                    Outcome(path, Result(result), int(size), key, sha256, known, detail)
                )
        return outcomes

    def log(self, when: datetime, severity: Severity, path: str, text: str, code: Code) -> None:
        """Append one line to ``error_log.txt``."""
        self.log_lines([_log_line(when.astimezone(self.timezone), severity, path, text, code)])

    def log_problems(self, when: datetime, problems: Iterable[Problem]) -> None:
        """Append the problems of a check, with line and remedy; notes are left out."""
        moment = when.astimezone(self.timezone)
        self.log_lines(
            _log_line(moment, p.severity, p.path, _explained(p), p.code)
            for p in problems
            if p.severity is not Severity.NOTE
        )

    def log_lines(self, lines: Iterable[str]) -> None:
        """Append lines to the logs, some hundred at a time: the texts of all problems of a long
        list, in one piece and encoded, would take 200 MB."""
        left = iter(lines)
        while some := list(islice(left, _LINES_AT_ONCE)):
            for name in self.logs:
                self._append_text(name, "".join(line + "\n" for line in some))

    def _append_text(self, name: str, text: str) -> None:
        with guarded(self.path), insistently(open_private, self.path / name, "ab") as file:
            file.write(text.encode("utf-8", "backslashreplace"))

    def finish(self, planned: Sequence[str], outcomes: dict[str, Outcome], missing: Code) -> None:
        """Write ``report.csv`` and, when something is not settled, ``failed_uploads.txt``.

        ``missing`` is the reason given for planned files without an outcome.
        """
        unfinished = [p for p in planned if p not in outcomes or not outcomes[p].settled]
        self.give_room()
        self.close()
        if unfinished:
            paths = "".join(f"{path}\r\n" for path in unfinished)
            self._replace("failed_uploads.txt", "\ufeff" + paths)
        with guarded(self.path):
            draft = self.path / "report.csv.tmp"
            with create_csv(draft) as file:
                write_rows(file, [_REPORT_HEADER])
                write_rows(file, (_report_row(p, outcomes.get(p), missing) for p in planned))
            draft.replace(self.path / "report.csv")

    def close(self) -> None:
        """Bring ``outcomes.csv`` to the disk, as far as it takes it, and let go of it."""
        if self._outcomes is not None:
            # A full disk: a line that is missing here only means that its file is tried again.
            with suppress(OSError):
                _to_disk(self._outcomes)
            with suppress(OSError):
                self._outcomes.close()
            self._outcomes = None

    def _rows(self, name: str, width: int) -> list[list[str]]:
        try:
            with open_plain(self.path / name) as file:
                content = file.read()
        except FileNotFoundError:
            return []
        return [row for row in read_rows(content)[1:] if len(row) == width]

    def _replace(self, name: str, text: str) -> None:
        with guarded(self.path):
            draft = self.path / f"{name}.tmp"
            with insistently(open_private, draft, "wb") as file:
                # Half a surrogate pair, from a name that is not UTF-8, is no reason to fail.
                file.write(text.encode("utf-8", "backslashreplace"))
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self.path / name)


class guarded:  # noqa: N801 - reads as a statement: with guarded(path)
    """Turns what the disk refuses into the error that stops a run."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return

    def __exit__(self, _kind: object, exc: BaseException | None, _trace: object) -> None:
        if isinstance(exc, OSError):
            if is_shortage(exc):
                raise unexpected(exc) from exc
            detail = f"{self._path}: {os_reason(exc)}"
            raise FatalError(Code.DATA_DIR_UNWRITABLE, detail) from exc


def _to_disk(file: TextIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _explained(problem: Problem) -> str:
    where = f" [{problem.source} {problem.line}行目]" if problem.line else ""
    return f"{problem.reason}{where} 対処: {problem.remedy}"


def _log_line(when: datetime, severity: Severity, path: str, text: str, code: Code) -> str:
    return (
        f"[{when:%Y-%m-%d %H:%M:%S}] {severity.value}: "
        f"{printable(path)} - {printable(text)} ({code.name})"
    )


def _report_row(path: str, outcome: Outcome | None, missing: Code) -> tuple[object, ...]:
    if outcome is None:
        return (path, RESULT_WORDS[Result.FAILED], missing.what, "", "")
    size = outcome.size if outcome.settled else ""
    return (path, RESULT_WORDS[outcome.result], outcome.reason, outcome.key, size)
