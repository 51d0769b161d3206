"""Why files of a run failed, and how many for each reason, within bounds.

The numbers are counted in ``outcomes.csv``, which has a code for each failed file. The log adds
what is no file's outcome: what a check found, what ended the run, and everything of a run whose
outcomes are gone. Of its lines severity and code count, never the sentence.

Both files may have any size and hold anything. They are read in one pass, line by line, with a
bound on what is read and on what is kept; whoever asks is told when something was left out.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from zoneinfo import ZoneInfo

from core.errors import Code, Explanation, Severity
from core.files.csv_file import read_row
from core.files.regular_file import open_plain
from core.model import RunKind
from core.paths.normalization import printable
from core.runs.error_log import Lines, LogLine, parse_line
from core.runs.folder import RunFolder

MAX_SCANNED = 256 * 1024 * 1024
"""Bytes that are read of the log, and of the outcomes: about two seconds each."""
_LONGEST_ROW = 65536
"""Bytes of a line of ``outcomes.csv``."""
_EXAMPLES = 3
_LOOKS = 1000
"""Lines of one code that are looked at for examples."""
_CODES = 200
"""Codes that are told apart, as a bound."""
_FAILED = frozenset(("failed", "left_out"))
"""Results in ``outcomes.csv`` that have a cause: ``Result.FAILED``, and of a restore
``Step.FAILED`` and ``Step.LEFT_OUT``."""
_ERROR = f"{Severity.ERROR.value}: "
_AFTER_TIME = len("[2026-10-05 10:15:00] ")


@dataclass(frozen=True, slots=True)
class Cause:
    """All that has one code."""

    code: str
    """Empty for lines of another form."""
    severity: str
    files: int
    """How many files failed for it; of what is no file's outcome: how many lines there are."""
    examples: tuple[LogLine, ...]
    """The first few that are about different paths."""

    @property
    def explanation(self) -> Explanation | None:
        """What the code means and what to do; None for a code that is not known."""
        known = Code.__members__.get(self.code)
        return known.value if known else None


@dataclass(frozen=True, slots=True)
class Causes:
    """Why files of a run failed, errors first, then by number of files."""

    causes: tuple[Cause, ...]
    cut: bool
    """True when the log, or the outcomes, are longer than what was read."""


def causes(path: Path, most_bytes: int = MAX_SCANNED) -> Causes:
    """Return why files failed in the run whose folder this log is in.

    Reads at most ``most_bytes`` from the beginning of the log and of ``outcomes.csv``. Raises
    ``OSError`` when the log cannot be read; without outcomes or a record its lines alone are
    counted. A second call for unchanged files reads nothing.
    """
    others = (path.with_name(name) for name in ("outcomes.csv", "run.json"))
    return _causes(path, (_mark(path.lstat()), *map(_mark_of, others)), most_bytes)


_Mark = tuple[int, ...]
"""What changes with a file; empty for one that is not there."""


def _mark(status: os.stat_result) -> _Mark:
    return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _mark_of(path: Path) -> _Mark:
    try:
        return _mark(path.lstat())
    except OSError:
        return ()


@lru_cache(maxsize=64)
def _causes(path: Path, _marks: tuple[_Mark, ...], most_bytes: int) -> Causes:
    found = _Tallies()
    outcomes_cut = _take_outcomes(found, path.with_name("outcomes.csv"), most_bytes)
    recorded = found.files
    with open_plain(path) as file:
        lines = Lines(file, most_bytes)
        for raw in lines:
            found.take_line(raw)
    if not outcomes_cut:
        _add_not_begun(found, path.parent, recorded)
    return Causes(found.causes(), lines.cut or outcomes_cut)


def _take_outcomes(found: _Tallies, path: Path, most_bytes: int) -> bool:
    """Count the failures in ``outcomes.csv``, of an archive run or of a restore; returns whether
    there is more of it than was read. What cannot be read has none."""
    try:
        file = open_plain(path)
    except OSError:
        return False
    with file:
        lines = Lines(file, most_bytes, _LONGEST_ROW)
        rows = iter(lines)
        header = read_row(next(rows, "").removeprefix("\ufeff"))
        if not {"結果", "コード", "理由", "パス"}.issubset(header):
            return False
        result, code, detail, place = map(header.index, ("結果", "コード", "理由", "パス"))
        for raw in rows:
            # The look at the whole line spares nearly all of them: what succeeded has no cause.
            if not any(f",{word}," in raw for word in _FAILED):
                continue
            row = read_row(raw)
            if len(row) == len(header) and row[result] in _FAILED and row[code]:
                found.take_outcome(row[code], row[place], row[detail])
        return lines.cut


def _add_not_begun(found: _Tallies, folder: Path, recorded: int) -> None:
    """Let the line that stands for all files that an archive run did not come to count so many.

    Its record has them among the failed files; ``recorded`` are those that have an outcome.
    """
    record = RunFolder(folder, ZoneInfo("UTC")).read_record()
    rest = record.failed_files - recorded if record and record.kind == RunKind.ARCHIVE else 0
    tally = found.get(Code.INTERRUPTED.name) or found.get(Code.STOPPED.name)
    if tally and rest > 0:
        tally.lines = rest


class _Tallies:
    """What was counted, by code."""

    def __init__(self) -> None:
        self._found: dict[str, _Tally] = {}

    @property
    def files(self) -> int:
        return sum(tally.files for tally in self._found.values())

    def get(self, code: str) -> _Tally | None:
        return self._found.get(code)

    def take_outcome(self, code: str, path: str, detail: str) -> None:
        """Count a failure. ``path``: empty when the outcome has none; the log knows it."""
        line = LogLine("", Severity.ERROR.value, printable(path), printable(detail), code)
        tally = self._of(code)
        tally.outcomes += 1
        if path:
            tally.show(line)
        tally.severity = line.severity

    def take_line(self, raw: str) -> None:
        """Count a line of the log, unless it tells of a failure that has an outcome."""
        tally = self._found.get(raw[raw.rfind("(") + 1 : -1])
        if tally and tally.has_examples and raw.startswith("["):
            # Nobody needs to look inside.
            tally.lines += not (tally.outcomes and raw.startswith(_ERROR, _AFTER_TIME))
            return
        line = parse_line(raw)
        tally = self._of(line.code)
        tally.lines += not (tally.outcomes and line.severity == Severity.ERROR)
        tally.severity = tally.severity or line.severity
        tally.show(line)

    def causes(self) -> tuple[Cause, ...]:
        """Return errors first, then by number of files."""
        rank = {severity.value: place for place, severity in enumerate(Severity)}
        found = self._found.values()
        ordered = sorted(found, key=lambda t: (rank.get(t.severity, len(rank)), -t.files))
        return tuple(Cause(t.code, t.severity, t.files, tuple(t.examples)) for t in ordered)

    def _of(self, code: str) -> _Tally:
        # Somebody else's file may hold any number of codes.
        known = code in Code.__members__ or len(self._found) < _CODES
        return self._found.setdefault(code if known else "", _Tally(code if known else ""))


@dataclass(slots=True)
class _Tally:
    """What was counted of one code."""

    code: str
    severity: str = ""
    outcomes: int = 0
    lines: int = 0
    """Of the log, those that are not among the outcomes."""
    examples: list[LogLine] = field(default_factory=list)
    looks: int = 0

    @property
    def files(self) -> int:
        return self.outcomes + self.lines

    @property
    def has_examples(self) -> bool:
        return len(self.examples) == _EXAMPLES or self.looks > _LOOKS

    def show(self, line: LogLine) -> None:
        """Keep a line as an example unless there are enough, or one of the same path."""
        self.looks += 1
        known = any(example.path == line.path for example in self.examples)
        if len(self.examples) < _EXAMPLES and not known:
            self.examples.append(line)
