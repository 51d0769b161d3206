"""A log line that is repeated is written once, and then once more with its count.

A loop that cannot accept a connection says so every second, with its traceback; 21 MB of that
were seen. Only lines that are the same in every letter count as one.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

WINDOW_SECONDS = 30.0
"""How long the count of a line may stay unwritten."""
MAX_LINES = 64
"""Lines that are remembered at one time: of one that makes room its count is written."""
_MAX_LETTERS = 500
"""Of a line that is written with its count; it stood there whole before."""
_COUNT = "himuro_count"

Schedule = Callable[[float, Callable[[], None]], bool]


@dataclass(slots=True)
class _Line:
    """One line within its window."""

    ends: float
    """Of its window, on the clock of the filter."""
    name: str
    level: int
    text: str
    repeats: int = 0


def _later(seconds: float, work: Callable[[], None]) -> bool:
    """Have ``work`` called in a thread of its own; False where there is none to be had."""
    timer = threading.Timer(seconds, work)
    timer.daemon = True
    try:
        timer.start()
    except (RuntimeError, MemoryError):
        return False
    return True


class Repeats(logging.Filter):
    """Filter of one handler. Safe in any thread.

    The first of equal lines passes at once, those of the next ``seconds`` are counted; the
    count is written when they are over, or by ``flush``, which is to be called at the end.
    """

    def __init__(
        self,
        handler: logging.Handler,
        shown: Callable[[str], str],
        *,
        seconds: float = WINDOW_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        schedule: Schedule = _later,
    ) -> None:
        """``shown``: takes secrets out of a text before it is cut."""
        super().__init__()
        self._handler = handler
        self._shown = shown
        self._seconds = seconds
        self._clock = clock
        self._schedule = schedule
        self._lock = threading.Lock()
        self._lines: OrderedDict[bytes, _Line] = OrderedDict()
        """By digest, the one that began first at the front."""
        self._scheduled = False

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record is to be written now."""
        if hasattr(record, _COUNT):
            return True
        digest, now = _digest(record), self._clock()
        with self._lock:
            ended = self._ended(now)
            line = self._lines.get(digest)
            if line is None:
                if len(self._lines) >= MAX_LINES:
                    ended.append(self._lines.popitem(last=False)[1])
                self._lines[digest] = self._begun(record, now)
            else:
                line.repeats += 1
            wait = self._wait(now) if line is not None else None
        self._write(ended)
        self._look_in(wait)
        return line is None

    def flush(self) -> None:
        """Write every count there is; whoever repeats a line now begins anew."""
        with self._lock:
            lines = list(self._lines.values())
            self._lines.clear()
        self._write(lines)

    def _begun(self, record: logging.LogRecord, now: float) -> _Line:
        text = self._shown(record.getMessage().partition("\n")[0])
        return _Line(now + self._seconds, record.name, record.levelno, text[:_MAX_LETTERS])

    def _wait(self, now: float) -> float | None:
        """Return in how many seconds somebody has to look; None: somebody will already."""
        if self._scheduled:
            return None
        self._scheduled = True
        return max(0.0, min(line.ends for line in self._lines.values() if line.repeats) - now)

    def _due(self) -> None:
        now = self._clock()
        with self._lock:
            self._scheduled = False
            ended = self._ended(now)
            wait = self._wait(now) if any(x.repeats for x in self._lines.values()) else None
        self._write(ended)
        self._look_in(wait)

    def _look_in(self, wait: float | None) -> None:
        """Have somebody look in so many seconds; where nobody can, the next line does."""
        if wait is not None and not self._schedule(wait, self._due):
            with self._lock:
                self._scheduled = False

    def _ended(self, now: float) -> list[_Line]:
        """Take the lines out whose window is over."""
        ended = []
        while self._lines and next(iter(self._lines.values())).ends <= now:
            ended.append(self._lines.popitem(last=False)[1])
        return ended

    def _write(self, lines: list[_Line]) -> None:
        for line in lines:
            if line.repeats:
                text = f"{line.text}（同じ行がほかに{line.repeats:,}回）"
                record = logging.LogRecord(line.name, line.level, "", 0, text, None, None)
                setattr(record, _COUNT, line.repeats)
                self._handler.handle(record)


def _digest(record: logging.LogRecord) -> bytes:
    """Return what tells a line from all others, its time left out."""
    if record.exc_info and not record.exc_text:
        # Kept in the record, so that nobody formats it twice.
        record.exc_text = logging.Formatter().formatException(record.exc_info)
    parts = (
        record.name,
        record.levelname,
        record.getMessage(),
        record.exc_text or "",
        record.stack_info or "",
    )
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
