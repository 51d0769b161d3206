"""Locks between the processes of one installation.

They tell a run that is alive from one whose process was killed, and let one run upload at a
time: the console and a command started beside it share the queue. The operating system
frees them with the process, which no note of a process number can promise.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from core.errors import Code, FatalError, os_reason
from core.model import Progress
from core.ports import ProgressSink
from core.runner import StopSignal


def _lock(data_dir: Path, name: str) -> FileLock:
    directory = data_dir / "locks"
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise FatalError(Code.DATA_DIR_UNWRITABLE, f"{directory}: {os_reason(exc)}") from exc
    return FileLock(directory / f"{name}.lock", thread_local=False)


class RunLock:
    """Held by the process that a run lives in. Nothing is written before it is acquired."""

    def __init__(self, data_dir: Path, run_id: str) -> None:
        self._data_dir = data_dir
        self._run_id = run_id
        self._lock: FileLock | None = None

    def acquire(self) -> None:
        """Take the lock; raises ``FatalError`` when the data directory cannot be written."""
        if not self.try_acquire():
            raise FatalError(Code.DATA_DIR_UNWRITABLE, f"{self._run_id} は使用中です")

    def try_acquire(self) -> bool:
        """Take the lock; False when another process lives with it."""
        lock = _lock(self._data_dir, self._run_id)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return False
        except OSError as exc:
            raise FatalError(
                Code.DATA_DIR_UNWRITABLE, f"{lock.lock_file}: {os_reason(exc)}"
            ) from exc
        self._lock = lock
        return True

    def release(self) -> None:
        """Let go, and leave no file behind; a second call does nothing."""
        if self._lock is not None:
            Path(self._lock.lock_file).unlink(missing_ok=True)
            self._lock.release()
            self._lock = None


@contextmanager
def wait_for_turn(data_dir: Path, stop: StopSignal, progress: ProgressSink) -> Iterator[bool]:
    """Wait until no other run uploads; yields False when a stop was asked for meanwhile."""
    lock = _lock(data_dir, "archive")
    mine = False
    while not mine and not stop.requested:
        try:
            lock.acquire(timeout=0.25)
            mine = True
        except Timeout:
            progress(Progress(phase="ほかの実行の終了を待っています"))
    try:
        yield mine
    finally:
        lock.release()
