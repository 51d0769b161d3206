"""One console for one data directory: two would write each other's list of sessions away.

The lock is the kernel's and ends with the process; between containers that share a volume it holds
as well. Who holds it is written beside it, for people only: nothing is decided by that. Commands
(``python -m core``) work beside a console, run by run.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from filelock import FileLock

from core.clock import utc_now
from core.errors import Code, FatalError
from core.files.private_file import replace_private
from core.files.regular_file import open_plain
from core.paths.normalization import printable
from core.runs.locks import acquire, file_lock

LOCK, NOTE = "console.lock", "console.json"
_MAX_BYTES = 4096
_MAX_LETTERS = 64
_MAX_NUMBER = 2**31

_logger = logging.getLogger(__name__)
_held: dict[Path, FileLock] = {}
_holding = threading.Lock()


def hold(data_dir: Path, timezone: ZoneInfo) -> None:
    """Hold a data directory until this process ends; a second call in it changes nothing.

    Raises ``FatalError``: ``DATA_DIR_IN_USE`` when another process holds it, with what is noted
    of that one, its time in ``timezone``; ``DATA_DIR_UNWRITABLE``.
    """
    path = data_dir / LOCK
    with _holding:
        if path in _held:
            return
        try:
            lock = file_lock(path)
            mine = acquire(lock, 0)
        except NotImplementedError as exc:
            # A network drive without locks: the check-up warns of such a place.
            _logger.warning("%s: nothing keeps a second console away: %s", data_dir, exc)
            return
        if not mine:
            detail = f"{data_dir}: {_noted(data_dir / NOTE, timezone)}"
            raise FatalError(Code.DATA_DIR_IN_USE, detail)
        _held[path] = lock
        _note(data_dir / NOTE)


def release(data_dir: Path) -> None:
    """Let go of a directory before this process ends. For tests."""
    with _holding:
        lock = _held.pop(data_dir / LOCK, None)
        if lock is not None:
            lock.release()


def _note(path: Path) -> None:
    """Write who this is; where that is refused, others only read less."""
    who = {"pid": os.getpid(), "host": socket.gethostname(), "since": utc_now().isoformat()}
    try:
        replace_private(path, json.dumps(who).encode())
    except FatalError as exc:
        _logger.warning("%s", exc)


def _noted(path: Path, timezone: ZoneInfo) -> str:
    """Return what is noted of the holder, as a clause; anybody may have written it."""
    try:
        with open_plain(path) as file:
            who = json.loads(file.read(_MAX_BYTES))
        number, host = int(who["pid"]), printable(str(who["host"]))[:_MAX_LETTERS]
        since = datetime.fromisoformat(str(who["since"])).astimezone(timezone)
        if not 0 < number < _MAX_NUMBER:
            raise ValueError(number)
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError) as exc:
        _logger.warning("%s cannot be read: %s", path, type(exc).__name__)
        return "使用中のコンソールの記録は読み取れません"
    return f"記録ではホスト {host} のプロセス {number}、{since:%Y-%m-%d %H:%M:%S} から"
