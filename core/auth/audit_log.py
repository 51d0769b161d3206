"""``signin.log`` and ``signin-failures.log``: who signed in, when and from where, and who tried.

What only somebody with a right can bring about (signing in and out, ends of sessions, changes of
the accounts file) has a line each in ``signin.log``. What anybody can (wrong passwords, forged
cookies and forms) is counted by address and minute, and each of them is one line of
``signin-failures.log``: a flood makes some twenty lines a minute, and none in ``signin.log``.
Nothing that a stranger typed is in either: names are those of the accounts file, addresses are
taken apart and put together again.
"""

from __future__ import annotations

import logging
import os
import re
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from zoneinfo import ZoneInfo

from core.auth.waiting_line import networks
from core.errors import FatalError
from core.files.private_file import make_private_directory
from core.paths.normalization import printable
from core.resources.shortage import insistently

_MAX_BYTES = 5 * 1024 * 1024
_KEPT = 5
"""Older files, ``signin.log.1`` the youngest; some 300,000 lines in all, of either log."""
_MAX_LETTERS = 200
_MAX_ADDRESSES = 20
"""With a line of their own in one minute; all others are summed up in one."""
_MAX_ACCOUNTS = 5
"""Named in one line."""

_logger = logging.getLogger(__name__)


class Event(Enum):
    """The second word of a line in ``signin.log``."""

    SIGNED_IN = "SIGNED_IN"
    SIGNED_OUT = "SIGNED_OUT"
    ENDED = "ENDED"
    """A session came to an end: a limit, a change of its account, or its owner elsewhere."""
    ACCOUNT_ADDED = "ACCOUNT_ADDED"
    ACCOUNT_REMOVED = "ACCOUNT_REMOVED"
    ROLE_CHANGED = "ROLE_CHANGED"
    PASSWORD_CHANGED = "PASSWORD_CHANGED"  # noqa: S105 - a word of the log
    RULE_ADDED = "RULE_ADDED"
    """Of an identity provider's people, as ``RULE_REMOVED``."""
    RULE_REMOVED = "RULE_REMOVED"


class Failure(Enum):
    """What is counted in a line of ``signin-failures.log``."""

    PASSWORD = "password"  # noqa: S105 - a word of the log
    """The wrong one for an account that exists."""
    NAME = "name"
    """An account that does not exist."""
    LOCKED = "locked"
    """Refused without a look at the password, after too many failures."""
    BUSY = "busy"
    """Refused without a look at the password: too many others were being compared."""
    COOKIE = "cookie"
    """A session cookie that is not ours."""
    ENDED = "ended"
    """A session cookie that was ours."""
    DEVICE = "device"
    """A device cookie that is not ours."""
    FORM = "form"
    """A form without our seal, or from another site."""
    OIDC = "oidc"
    """An identity without a role, a cookie of it that is forged or too old, or a sign-in at the
    provider that failed."""


class SignInLog:
    """Appends to ``path``; times in ``timezone``. ``clock``: seconds since 1970."""

    def __init__(self, path: Path, timezone: ZoneInfo, clock: Callable[[], float]) -> None:
        self._file, self._timezone, self._clock = _File(path), timezone, clock

    def write(self, event: Event, account: str, address: str = "", detail: str = "") -> None:
        """Append one line. A disk that refuses it is reported in the console's log, no more:
        nobody can be asked to wait for it."""
        words = [event.value, f"account={_word(account)}"]
        if address:
            words.append(f"address={_word(address)}")
        if detail:
            words.append(f"({printable(detail)[:_MAX_LETTERS]})")
        self._file.append(f"{_stamp(self._clock(), self._timezone)} {' '.join(words)}\n")


@dataclass(slots=True)
class _Minute:
    """What failed within one minute."""

    begin: float
    """Seconds since 1970."""
    by_address: dict[str, Counter[str]] = field(default_factory=dict)
    accounts: dict[str, dict[str, None]] = field(default_factory=dict)


class FailureLog:
    """Counts failures, and writes a line for each address once their minute is over."""

    OTHERS = "(others)"

    def __init__(self, path: Path, timezone: ZoneInfo, clock: Callable[[], float]) -> None:
        self._file, self._timezone, self._clock = _File(path), timezone, clock
        self._lock = threading.Lock()
        self._minute = _Minute(0.0)

    def count(self, failure: Failure, address: str, account: str = "") -> None:
        """Count one failure; ``account`` is the name of one that exists."""
        with self._lock:
            self._write_past()
            minute, place = self._minute, networks(address).own
            if place not in minute.by_address and len(minute.by_address) >= _MAX_ADDRESSES:
                place = self.OTHERS
            minute.by_address.setdefault(place, Counter())[failure.value] += 1
            named = minute.accounts.setdefault(place, {})
            if account and len(named) <= _MAX_ACCOUNTS:
                named[account] = None

    def write(self, *, all_of_it: bool = False) -> None:
        """Write the lines of a minute that is over; ``all_of_it``: of the current one as well."""
        with self._lock:
            self._write_past(all_of_it=all_of_it)

    def _write_past(self, *, all_of_it: bool = False) -> None:
        now = self._clock()
        minute, current = self._minute, now - now % 60
        if minute.begin == current and not all_of_it:
            return
        self._minute = _Minute(current)
        lines = (
            _failure_line(_stamp(minute.begin, self._timezone), place, counts, names)
            for place, counts in minute.by_address.items()
            for names in [list(minute.accounts[place])]
        )
        if text := "".join(lines):
            self._file.append(text)


def _failure_line(stamp: str, place: str, counts: Counter[str], names: list[str]) -> str:
    words = [stamp, "FAILED", f"address={_word(place)}"]
    words += [f"{each.value}={counts[each.value]}" for each in Failure if counts[each.value]]
    if names:
        shown = ",".join(_word(name) for name in names[:_MAX_ACCOUNTS])
        words.append(f"accounts={shown}" + (",…" if len(names) > _MAX_ACCOUNTS else ""))
    return " ".join(words) + "\n"


class _File:
    """A file of lines that is put aside when it is full, with the last few kept."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def append(self, text: str) -> None:
        content = text.encode("utf-8", "replace")
        with self._lock:
            try:
                self._append(content)
            except (OSError, FatalError) as exc:
                _logger.error("%s: %s; lost: %s", self._path, exc, text)  # noqa: TRY400

    def _append(self, content: bytes) -> None:
        make_private_directory(self._path.parent)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        number = insistently(os.open, self._path, flags, 0o600)
        with os.fdopen(number, "ab") as file:
            full = bool(file.tell()) and file.tell() + len(content) > _MAX_BYTES
            if not full:
                file.write(content)
        if full:
            self._rotate()
            self._append(content)

    def _rotate(self) -> None:
        for number in range(_KEPT, 0, -1):
            older = self._path.with_name(f"{self._path.name}.{number}")
            newer = self._path.with_name(f"{self._path.name}.{number - 1}")
            source = newer if number > 1 else self._path
            if source.exists():
                source.replace(older)


def _stamp(seconds: float, timezone: ZoneInfo) -> str:
    when = datetime.fromtimestamp(seconds, UTC).astimezone(timezone)
    return f"[{when:%Y-%m-%d %H:%M:%S}]"


def _word(text: str) -> str:
    """Return ``text`` without a blank of any kind, so that nobody's name adds a word to the
    line, nor, with a comma, a name."""
    word = printable(text)[:_MAX_LETTERS]
    return re.sub(r"[\s,]", lambda found: f"\\u{ord(found[0]):04x}", word) or "-"
