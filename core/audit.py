"""``signin.log``: who signed in or tried to, when and from where, one line each."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from zoneinfo import ZoneInfo

from core.names import printable

_MOST_BYTES = 5 * 1024 * 1024
_KEPT = 5
"""Older files, ``signin.log.1`` the youngest; some 300,000 lines in all."""
_MOST_LETTERS = 200

_logger = logging.getLogger(__name__)


class Event(Enum):
    """The second word of a line."""

    SIGNED_IN = "SIGNED_IN"
    FAILED = "FAILED"
    """Unknown account or wrong password."""
    LOCKED = "LOCKED"
    """Refused without a look at the password, after too many failures."""
    SIGNED_OUT = "SIGNED_OUT"
    REFUSED = "REFUSED"
    """A cookie that is forged, ended, or too old."""


class SignInLog:
    """Appends to ``path``; times in ``timezone``. ``clock``: seconds since 1970."""

    def __init__(self, path: Path, timezone: ZoneInfo, clock: Callable[[], float]) -> None:
        self._path, self._timezone, self._clock = path, timezone, clock
        self._lock = threading.Lock()

    def write(self, event: Event, account: str, address: str, detail: str = "") -> None:
        """Append one line. A disk that refuses it is reported in the console's log, no more:
        nobody can be asked to wait for it."""
        when = datetime.fromtimestamp(self._clock(), UTC).astimezone(self._timezone)
        words = [event.value, f"account={_word(account)}", f"address={_word(address)}"]
        if detail:
            words.append(f"({printable(detail)[:_MOST_LETTERS]})")
        line = f"[{when:%Y-%m-%d %H:%M:%S}] {' '.join(words)}\n".encode("utf-8", "replace")
        with self._lock:
            try:
                self._append(line)
            except OSError as exc:
                _logger.error("%s: %s; lost: %s", self._path, exc, line.decode())  # noqa: TRY400

    def _append(self, line: bytes) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        number = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(number, "ab") as file:
            full = file.tell() + len(line) > _MOST_BYTES
            if not full:
                file.write(line)
        if full:
            self._rotate()
            self._append(line)

    def _rotate(self) -> None:
        for number in range(_KEPT, 0, -1):
            older = self._path.with_name(f"{self._path.name}.{number}")
            newer = self._path.with_name(f"{self._path.name}.{number - 1}")
            source = newer if number > 1 else self._path
            if source.exists():
                source.replace(older)


def _word(text: str) -> str:
    """Return ``text`` without a blank, so that nobody's name adds a word to the line."""
    return (
        printable(text)[:_MOST_LETTERS].replace(" ", "\\u0020").replace("\u3000", "\\u3000") or "-"
    )
