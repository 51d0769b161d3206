"""Locks between the processes of one installation.

They tell a run that is alive from one whose process was killed, and let one run upload at a
time: the console and a command started beside it share the queue. The operating system
frees them with the process, which no note of a process number can promise.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from core.concurrency.cancellation import StopSignal
from core.errors import Code, FatalError, os_reason
from core.files.private_file import make_private_directory
from core.model import Progress
from core.ports import ProgressSink
from core.resources.shortage import insistently, is_shortage, keep_spares, unexpected

_LOOK_UP_SECONDS = 0.25
"""How long a wait for the turn may keep a request to stop waiting."""

_logger = logging.getLogger(__name__)


def _unusable(path: Path, exc: OSError) -> FatalError:
    if is_shortage(exc):
        return unexpected(exc)
    return FatalError(Code.DATA_DIR_UNWRITABLE, f"{path}: {os_reason(exc)}")


def file_lock(path: Path) -> FileLock:
    """Return a lock of the kernel's at a path, not taken yet; makes the directory that it is in.
    Raises ``FatalError(DATA_DIR_UNWRITABLE)``."""
    try:
        make_private_directory(path.parent)
    except OSError as exc:
        raise _unusable(path.parent, exc) from exc
    return FileLock(path, mode=0o600, thread_local=False)


def acquire(lock: FileLock, seconds: float) -> bool:
    """Take a lock; False when somebody else had it all the time.

    Raises ``FatalError`` when the place or this machine does not allow it.
    """
    try:
        insistently(lock.acquire, timeout=seconds)
    except Timeout:
        return False
    except OSError as exc:
        raise _unusable(Path(lock.lock_file), exc) from exc
    return True


class RunLock:
    """Held by the process that a run lives in, as a file in the run's folder.

    Nothing else is written before it is acquired.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / "lock"
        self._lock: FileLock | None = None

    def acquire(self) -> None:
        """Take the lock; raises ``FatalError`` when the folder cannot be made or written."""
        if not self.try_acquire():
            raise FatalError(Code.DATA_DIR_UNWRITABLE, f"{self._folder.name} は使用中です")

    def try_acquire(self) -> bool:
        """Take the lock; False when another process lives with it."""
        keep_spares()
        lock = file_lock(self._path)
        if not acquire(lock, 0):
            return False
        self._lock = lock
        return True

    def is_left(self) -> bool:
        """Return whether there is a lock, of a process that lives or of one that was killed."""
        return self._path.exists()

    def release(self) -> None:
        """Let go, and leave no file behind; a second call does nothing."""
        if self._lock is not None:
            with suppress(OSError):
                Path(self._lock.lock_file).unlink()
            self._lock.release()
            self._lock = None


@contextmanager
def wait_for_turn(data_dir: Path, stop: StopSignal, progress: ProgressSink) -> Iterator[bool]:
    """Wait until no other run uploads; yields False when a stop was asked for meanwhile.

    Raises ``FatalError`` when the data directory does not allow the lock.
    """
    if stop.requested:
        yield False
        return
    lock = file_lock(data_dir / "locks" / "archive.lock")
    mine = False
    while not mine and not stop.requested:
        mine = acquire(lock, _LOOK_UP_SECONDS)
        if not mine:
            _tell(progress)
    try:
        yield mine
    finally:
        lock.release()


def _tell(progress: ProgressSink) -> None:
    try:
        progress(Progress(phase="ほかの実行の終了を待っています"))
    except Exception:
        # A screen that breaks must not cost the run its end.
        _logger.exception("the wait for the turn cannot be shown")
