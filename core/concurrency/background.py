"""A cache whose values are computed in a background thread and expire.

A page asks, shows that an answer is on its way, and asks again; all sessions share an answer.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from core.concurrency.threads import start_thread
from core.errors import FatalError, HimuroError
from core.resources.shortage import unexpected

T = TypeVar("T")

_MOST = 100
"""Answers that are kept; beyond, the one that was asked for longest ago goes."""
_FOR_EVER = float("inf")

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Lookup(Generic[T]):
    """What is known of an answer."""

    working: bool
    """True while a newer answer is on its way."""
    value: T | None = None
    """The last good answer."""
    message: str = ""
    """Japanese: why the last try brought none; empty otherwise."""


@dataclass(slots=True)
class _Entry(Generic[T]):
    working: bool = False
    value: T | None = None
    message: str = ""
    answered_at: float = float("-inf")
    asked_at: float = 0.0
    size: int = 0
    """Bytes of ``value``."""


class Lookups(Generic[T]):
    """LRU cache by key, filled in background threads. Safe in any thread; times in seconds."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        *,
        size: Callable[[T], int] = lambda _value: 0,
        most_bytes: float = _FOR_EVER,
        kept: float = _FOR_EVER,
    ) -> None:
        """``size``: bytes that an answer takes; ``most_bytes``: of all answers, beyond which
        those go that were not asked for longest, never the one asked for last. ``kept``: seconds
        after which an answer goes that nobody asks for any more.
        """
        self._clock = clock
        self._size = size
        self._most_bytes = most_bytes
        self._kept = kept
        self._timer: threading.Timer | None = None
        self._lock = threading.Condition(threading.RLock())
        self._entries: OrderedDict[Hashable, _Entry[T]] = OrderedDict()

    def ask(
        self, key: Hashable, work: Callable[[], T], max_age: float, *, patience: float = 0.0
    ) -> Lookup[T]:
        """Return what is known, and look again in the background when it is older than
        ``max_age`` seconds. ``work`` may raise ``HimuroError``.

        While nothing at all is known, waits for ``patience`` seconds; otherwise never.
        """
        with self._lock:
            entry = self._entries.setdefault(key, _Entry())
            entry.asked_at = self._clock()
            self._entries.move_to_end(key)
            self._make_room()
            if not entry.working and self._clock() - entry.answered_at > max_age:
                try:
                    start_thread(self._look, entry, work, name="himuro-lookup")
                    entry.working = True
                except FatalError as exc:  # the next one who asks tries again
                    entry.message = str(exc)
            if patience and entry.value is None:
                self._lock.wait_for(lambda: not entry.working, patience)
            return Lookup(entry.working, entry.value, entry.message)

    def is_due(self, key: Hashable, max_age: float) -> bool:
        """Return whether ``ask`` would look again now."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return True
            return not entry.working and self._clock() - entry.answered_at > max_age

    def forget(self, key: Hashable) -> None:
        """Look anew when somebody asks again."""
        with self._lock:
            self._entries.pop(key, None)

    @property
    def held(self) -> tuple[int, int]:
        """How many answers are kept, and how many bytes they take."""
        with self._lock:
            sizes = [e.size for e in self._entries.values() if e.value is not None]
            return len(sizes), sum(sizes)

    def tidy(self) -> None:
        """Drop what nobody has asked for lately."""
        with self._lock:
            outdated = self._clock() - self._kept
            for key, entry in list(self._entries.items()):
                if entry.asked_at <= outdated and not entry.working:
                    del self._entries[key]

    def _make_room(self) -> None:
        self.tidy()
        while len(self._entries) > _MOST:
            self._entries.popitem(last=False)
        while self.held[0] > 1 and self.held[1] > self._most_bytes:
            oldest = next(k for k, e in self._entries.items() if e.value is not None)
            del self._entries[oldest]

    def _tidy_later(self) -> None:
        """Have answers dropped also when nobody asks for anything any more."""
        if self._timer is not None or self._kept == _FOR_EVER or not self._entries:
            return
        timer = threading.Timer(self._kept, self._tidy_now)
        timer.daemon = True
        try:
            timer.start()
        except (RuntimeError, MemoryError):  # whoever asks next tidies up
            return
        self._timer = timer

    def _tidy_now(self) -> None:
        with self._lock:
            self._timer = None
            self.tidy()
            self._tidy_later()

    def _look(self, entry: _Entry[T], work: Callable[[], T]) -> None:
        value, message = None, ""
        try:
            value = work()
        except HimuroError as exc:
            message = str(exc)
        except Exception as exc:
            _logger.exception("a question in the background failed")
            message = str(unexpected(exc))
        with self._lock:
            if value is not None:
                entry.value, entry.size = value, self._size(value)
            entry.message, entry.answered_at, entry.working = message, self._clock(), False
            self._make_room()
            self._tidy_later()
            self._lock.notify_all()
