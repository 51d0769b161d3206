"""The lines of ``error_log.txt`` and the search in them, within bounds.

A log may have any size and hold anything. It is read line by line, with a bound on the length
of a line, on what is read and on what is kept; whoever asks is told when something was left out.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from core.errors import Code
from core.files.regular_file import open_plain
from core.paths.normalization import fold, printable

LOG_FILES = ("error_log.txt", "restore_errors.txt")
MAX_SEARCHED = 16 * 1024 * 1024
"""Bytes at the end of a log that are searched: 90,000 lines, about a second."""
MAX_LINES = 500
"""Lines that are shown."""
_LONGEST_LINE = 8192
"""Bytes of a log; our own lines have two paths of 1 KB at most."""

_LINE = re.compile(
    r"\[(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)\] (ERROR|WARNING|INFO): (.*) \(([A-Z][A-Z0-9_]{2,40})\)",
    re.ASCII | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of an error log."""

    time: str
    """Letters of the log, in the time zone of the settings; empty for a line of another form."""
    severity: str
    """``ERROR``, ``WARNING`` or ``INFO``; empty for a line of another form."""
    path: str
    """UNC path, or whatever the line is about; empty for a line of another form."""
    text: str
    """What happened; the whole line when it has another form."""
    code: str
    """Name of a ``Code``, perhaps of another version; empty for a line of another form."""


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
        for raw in Lines(file, most_bytes):
            if code and not raw.endswith(ending):
                continue
            folded = fold(raw) if wanted else ""
            if all(word in folded for word in wanted):
                kept.append(raw)
                matching += 1
    return LogExcerpt(tuple(map(parse_line, kept)), matching, start > 0)


class Lines:
    """The lines of a file that are not empty, each cut at a bound, up to a number of bytes."""

    def __init__(self, file: BinaryIO, most_bytes: int, longest: int = _LONGEST_LINE) -> None:
        self._file = file
        self._left = most_bytes
        self._longest = longest
        self.cut = False
        """True when not everything was read."""

    def __iter__(self) -> Iterator[str]:
        while raw := self._file.readline(self._longest):
            if self._left <= 0:
                self.cut = True
                return
            self._left -= len(raw)
            if not raw.endswith(b"\n") and len(raw) == self._longest:
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
