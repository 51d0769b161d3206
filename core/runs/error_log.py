"""Reading ``error_log.txt`` back: what failed how often and why, within bounds.

A log may have any size and hold anything. It is read in one pass, line by line, with a bound
on the length of a line, on what is read and on what is kept; whoever asks is told when
something was left out.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from core.errors import Code, Explanation, Severity
from core.files.regular_file import open_plain
from core.paths.normalization import fold, printable

LOG_FILES = ("error_log.txt", "restore_errors.txt")
MAX_SCANNED = 256 * 1024 * 1024
"""Bytes of a log whose causes are counted: about two seconds."""
MAX_SEARCHED = 16 * 1024 * 1024
"""Bytes at the end of a log that are searched: 90,000 lines, about a second."""
MAX_LINES = 500
"""Lines that are shown."""
_LONGEST_LINE = 8192
"""Bytes; our own lines have two paths of 1 KB at most."""
_EXAMPLES = 3
_LOOKS = 1000
"""Lines of one code that are looked at for examples."""
_CODES = 200
"""Codes that are told apart, as a bound."""

_LINE = re.compile(
    r"\[(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)\] (ERROR|WARNING|INFO): (.*) \(([A-Z][A-Z0-9_]{2,40})\)",
    re.ASCII | re.DOTALL,
)
_MANY = re.compile(r"(?:実行中に終了したため、)?([\d,]{1,15})件(?:を処理していません|の完了を確認)")
"""One line that stands for many files: those that a run did not come to."""
_FOR_MANY = frozenset((Code.STOPPED.name, Code.INTERRUPTED.name))
"""Codes of such lines."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of an error log."""

    time: str
    """As written, in the time zone of the settings; empty for a line of another form."""
    severity: str
    """``ERROR``, ``WARNING`` or ``INFO``; empty for a line of another form."""
    path: str
    """UNC path, or whatever the line is about; empty for a line of another form."""
    text: str
    """What happened; the whole line when it has another form."""
    code: str
    """Name of a ``Code``, perhaps of another version; empty for a line of another form."""

    @property
    def files(self) -> int:
        """How many files the line speaks of."""
        many = _MANY.match(self.text)
        digits = many[1].replace(",", "") if many else ""
        return int(digits) if digits else 1


@dataclass(frozen=True, slots=True)
class Cause:
    """All lines of one code."""

    code: str
    """Empty for lines of another form."""
    severity: str
    files: int
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
    """True when the log is longer than what was read."""


@dataclass(frozen=True, slots=True)
class LogExcerpt:
    """The last lines of a log that match."""

    lines: tuple[LogLine, ...]
    """In the order of the log."""
    matching: int
    """How many matched, those that are not in ``lines`` included."""
    cut: bool
    """True when the beginning of the log was not searched."""


def parse_line(text: str) -> LogLine:
    """Return a line of a log in its parts; never fails. What is returned can be shown."""
    text = printable(text)
    match = _LINE.fullmatch(text)
    if match is None:
        return LogLine("", "", "", text, "")
    time, severity, rest, code = match.groups()
    known = Code.__members__.get(code)
    # A path may hold " - " itself; what the code says tells where it ends.
    place = rest.find(f" - {known.what}") if known else -1
    path, _, said = (rest[:place], "", rest[place + 3 :]) if place >= 0 else rest.partition(" - ")
    return LogLine(time, severity, path, said, code)


def causes(path: Path, most_bytes: int = MAX_SCANNED) -> Causes:
    """Return the causes in a log; reads at most ``most_bytes`` from its beginning.

    Raises ``OSError`` when it cannot be read. A second call for the same file reads nothing.
    """
    status = path.lstat()
    changed = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return _causes(path, changed, most_bytes)


@lru_cache(maxsize=64)
def _causes(path: Path, _changed: tuple[int, ...], most_bytes: int) -> Causes:
    found: dict[str, _Tally] = {}
    with open_plain(path) as file:
        lines = _Lines(file, most_bytes)
        for raw in lines:
            tally = found.get(raw[raw.rfind("(") + 1 : -1])
            if tally and tally.well_known and raw.startswith("["):
                tally.files += 1
                continue
            line = parse_line(raw)
            # Somebody else's file may hold any number of codes.
            code = line.code if line.code in Code.__members__ or len(found) < _CODES else ""
            found.setdefault(code, _Tally(code)).add(line)
    rank = {severity.value: place for place, severity in enumerate(Severity)}
    ordered = sorted(found.values(), key=lambda t: (rank.get(t.severity, len(rank)), -t.files))
    return Causes(tuple(tally.cause() for tally in ordered), lines.cut)


class _Tally:
    """Counts the lines of one code."""

    def __init__(self, code: str) -> None:
        self._code = code
        self._examples: list[LogLine] = []
        self._seen = 0
        self.severity = ""
        self.files = 0

    @property
    def well_known(self) -> bool:
        """True when a further line needs no look inside: it only counts."""
        full = len(self._examples) == _EXAMPLES or self._seen > _LOOKS
        return full and self._code not in _FOR_MANY

    def add(self, line: LogLine) -> None:
        self._seen += 1
        self.files += line.files
        self.severity = self.severity or line.severity
        known = any(example.path == line.path for example in self._examples)
        if len(self._examples) < _EXAMPLES and not known:
            self._examples.append(line)

    def cause(self) -> Cause:
        return Cause(self._code, self.severity, self.files, tuple(self._examples))


def excerpt(
    path: Path, words: str = "", code: str = "", most_bytes: int = MAX_SEARCHED
) -> LogExcerpt:
    """Return the last lines that hold all words (``fold``) and are of this code.

    Searches at most ``most_bytes`` at the end of the log. Raises ``OSError`` when it cannot
    be read.
    """
    wanted = [fold(word) for word in words.split()]
    ending = f"({code})"
    kept: deque[str] = deque(maxlen=MAX_LINES)
    matching = 0
    with open_plain(path) as file:
        start = max(0, file.seek(0, 2) - most_bytes)
        file.seek(start)
        if start:
            _skip_line(file)
        for raw in _Lines(file, most_bytes):
            if code and not raw.endswith(ending):
                continue
            folded = fold(raw) if wanted else ""
            if all(word in folded for word in wanted):
                kept.append(raw)
                matching += 1
    return LogExcerpt(tuple(map(parse_line, kept)), matching, start > 0)


class _Lines:
    """The lines of a file, each cut at a bound, up to a number of bytes."""

    def __init__(self, file: BinaryIO, most_bytes: int) -> None:
        self._file = file
        self._left = most_bytes
        self.cut = False
        """True when not everything was read."""

    def __iter__(self) -> Iterator[str]:
        while raw := self._file.readline(_LONGEST_LINE):
            if self._left <= 0:
                self.cut = True
                return
            self._left -= len(raw)
            if not raw.endswith(b"\n") and len(raw) == _LONGEST_LINE:
                self._left -= _skip_line(self._file)
            text = raw.decode("utf-8", "replace").rstrip("\r\n")
            if text:
                yield text


def _skip_line(file: BinaryIO) -> int:
    """Read to the end of a line; returns how many bytes that were."""
    skipped = 0
    while part := file.readline(_LONGEST_LINE):
        skipped += len(part)
        if part.endswith(b"\n"):
            break
    return skipped
