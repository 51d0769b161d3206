"""Questions that take a moment, answered in the background and remembered for a while.

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

from core.errors import FatalError, HimuroError, unexpected
from core.threads import start_thread

T = TypeVar("T")

_MOST = 100
"""Answers that are kept."""

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


class Lookups(Generic[T]):
    """Answers by key. Any thread may ask."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Condition()
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
            self._entries.move_to_end(key)
            while len(self._entries) > _MOST:
                self._entries.popitem(last=False)
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
            entry.value = value if value is not None else entry.value
            entry.message, entry.answered_at, entry.working = message, self._clock(), False
            self._lock.notify_all()
