"""Files that are made in the background for whoever looks at the archive list.

Nobody has to sign in for them, so all of them together are bounded: how many are made at once,
how many wait, how much of the disk they take, and for how long. What one address has of that
is taken from itself first; and nothing is made for who has left.
"""

from __future__ import annotations

import errno
import logging
import secrets
import shutil
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from itertools import count
from pathlib import Path

from core.clock import utc_now
from core.concurrency.parallel import Cancelled
from core.concurrency.threads import start_thread
from core.config.settings import Settings
from core.errors import FatalError, HimuroError, ListError, for_strangers
from core.export import writer
from core.export.disk_quota import FULL, KEPT, MAX_KNOWN, Room, to_forget, to_remove
from core.export.job import Export, ExportState, Job
from core.export.queue import MAX_EACH, MAX_WAITING, NOBODY, Asker, Line, has_left
from core.export.writer import Form, Written
from core.files.private_file import create_private
from core.model import Entry, SearchQuery
from core.ports import Catalogue, Hits
from core.resources.memory_budget import MIB, ConsoleMemory
from core.resources.shortage import is_shortage, patiently, unexpected
from core.runs.locks import RunLock

_AT_ONCE = 2
_LARGE = 50_000
"""Hits from which on only one is made at a time: the other turn is for those that are quick."""
_MEMORY = 64 * MIB
"""That one file takes while it is made, measured: 51 as CSV, 62 as Excel."""
_TIDY_SECONDS = 30
_GIVE_WAY_SECONDS = 0.001
"""After which a thread that makes a file lets pages go on. With Python's own 5 ms a search
beside it took 151 ms at the 95th percentile, with this one 99."""
_END_SECONDS = 5

_BUSY = "書き出しが混み合っています。数分待ってから、もう一度押してください。"
_BUSY_HERE = (
    f"このパソコンの書き出しが{MAX_EACH}件、順番を待っています。"
    "どちらかが終わってから、もう一度押すか、不要な書き出しを中止してください。"
)
_LEFT = (
    "ページが閉じられたか接続が切れたため、書き出しを中止しました。必要ならもう一度押してください。"
)
_UNWRITABLE = "サーバーに保存できないため、書き出せません。管理者に連絡してください。"
"""Without the path, which is in the log: everybody may read it."""
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_CLOSED = "コンソールが終了したため、書き出しを中止しました。もう一度押してください。"

_logger = logging.getLogger(__name__)


class Exports:
    """The files of this process. Any thread may call it."""

    def __init__(
        self,
        settings: Settings,
        catalogue: Catalogue,
        *,
        memory: ConsoleMemory | None = None,
        now: Callable[[], datetime] = utc_now,
        free_bytes: Callable[[Path], int] = lambda place: shutil.disk_usage(place).free,
    ) -> None:
        self._catalogue = catalogue
        self._memory = (memory or ConsoleMemory(settings.memory_bytes)).exports
        self._timezone = settings.timezone
        self._root = settings.data_dir / "exports"
        self._folder: Path | None = None
        self._owner: RunLock | None = None
        self._now = now
        self._room = Room(self._root, free_bytes, settings.timezone)
        self._lock = threading.RLock()
        self._jobs: dict[str, Job] = {}
        self._line: Line[Job] = Line()
        self._numbers = count()
        self._working: list[Job] = []
        self._workers: list[threading.Thread] = []
        self._timer: threading.Timer | None = None
        self._usual_interval = sys.getswitchinterval()
        self._closing = False

    def begin(self) -> None:
        """Remove what processes that died have left. Calling it again is fine."""
        with suppress(OSError):
            # Each has a lock in it; whatever else lies here is not ours.
            for lock in patiently(lambda: list(self._root.glob("*/lock"))):
                self._remove_left(lock.parent)

    # What the pages ask for

    def start(self, what: SearchQuery | Sequence[Entry], form: Form, asker: Asker = NOBODY) -> str:
        """Begin to make a file of all hits of a search, or of these entries; return its id.

        Raises ``ListError`` when too many wait already, of this address or of all, or the data
        directory cannot be written, ``FatalError(MACHINE_SHORT)`` when there is no thread to
        make it.
        """
        with self._lock:
            if self._closing:
                raise ListError(_CLOSED)
            self.tidy()
            if self._line.waiting_of(asker.address) >= MAX_EACH:
                raise ListError(_BUSY_HERE)
            if len(self._line) >= MAX_WAITING:
                raise ListError(_BUSY)
            if len(self._jobs) >= MAX_KNOWN:
                self._forget(to_forget(self._jobs.values()))
            try:
                folder = self._open()
            except FatalError as exc:
                _logger.error("%s", exc)  # noqa: TRY400
                raise ListError(_UNWRITABLE) from exc
            export_id = secrets.token_urlsafe(16)
            now = self._now()
            title = "復元一覧" if form is Form.RESTORE else "アーカイブ一覧"
            name = f"{title}_{now.astimezone(self._timezone):%Y%m%d-%H%M}{form.suffix}"
            path = folder / f"{secrets.token_hex(8)}{form.suffix}"
            job = Job(Export(export_id, form, name, now), what, path, asker, next(self._numbers))
            self._jobs[export_id] = job
            self._line.add(job)
            try:
                if len(self._workers) < _AT_ONCE:
                    self._workers.append(start_thread(self._serve, name="himuro-export"))
                    sys.setswitchinterval(_GIVE_WAY_SECONDS)
            except FatalError:
                if not self._workers:  # nobody would ever make it
                    self._line.remove(job)
                    del self._jobs[export_id]
                    raise
            self._look_again()
            return export_id

    def view(self, export_id: str) -> Export | None:
        """Return how a file stands; None when it is unknown or outdated."""
        with self._lock:
            self.tidy()
            job = self._jobs.get(export_id)
            if job is None:
                return None
            if job in self._line:
                ahead = self._line.in_order(self._working).index(job) + len(self._working)
                return replace(job.export, ahead=ahead)
            return job.export

    def cancel(self, export_id: str) -> None:
        """End the making of a file; one that is made already stays."""
        with self._lock:
            job = self._jobs.get(export_id)
            if job is not None and not job.export.state.is_final:
                self._stop(job)

    def file(self, export_id: str) -> tuple[Path, str] | None:
        """Return a file that is made and the name to save it under; None for any other."""
        with self._lock:
            self.tidy()
            job = self._jobs.get(export_id)
            if job is None or job.export.state is not ExportState.DONE or not job.path.is_file():
                return None
            return job.path, job.export.name

    def tidy(self) -> None:
        """Remove what is older than ``KEPT``, and give up what is made for who has left."""
        with self._lock:
            now = self._now()
            for job in list(self._jobs.values()):
                if job.is_older_than(KEPT, now):
                    self._forget(job)
                elif not job.export.state.is_final and has_left(job, now):
                    job.left = True
                    self._stop(job)

    def close(self) -> None:
        """End all work within seconds, and remove the files."""
        with self._lock:
            self._closing = True
            for job in self._line.in_order(()):
                self._end(job, ExportState.FAILED, _CLOSED)
            self._line.clear()
            if self._timer is not None:
                self._timer.cancel()
            workers = list(self._workers)
        end = time.monotonic() + _END_SECONDS
        for worker in workers:
            worker.join(max(0.0, end - time.monotonic()))
        with self._lock:
            if self._owner is not None and self._folder is not None:
                self._owner.release()
                shutil.rmtree(self._folder, ignore_errors=True)
            self._owner = self._folder = None

    # The work

    def _open(self) -> Path:
        """Return the folder of this process."""
        if self._folder is None:
            self.begin()
            folder = self._root / secrets.token_hex(4)
            owner = RunLock(folder)
            owner.acquire()
            self._folder, self._owner = folder, owner
        return self._folder

    def _remove_left(self, folder: Path) -> None:
        theirs = RunLock(folder)
        try:
            if not theirs.try_acquire():
                return
        except HimuroError as exc:  # left by another user: none of our files needs the room
            _logger.warning("%s", exc)
            return
        theirs.release()
        shutil.rmtree(folder, ignore_errors=True)

    def _serve(self) -> None:
        while (job := self._take()) is not None:
            self._work(job)

    def _take(self) -> Job | None:
        """Return what is to be made next; None when nothing is, and this worker ends."""
        with self._lock:
            self.tidy()
            busy = any(job.is_large for job in self._working)
            waiting = self._line.in_order(self._working)
            job = next((job for job in waiting if not (busy and job.is_large)), None)
            if job is None or self._closing:
                self._workers.remove(threading.current_thread())
                if not self._workers:
                    sys.setswitchinterval(self._usual_interval)
                return None
            self._line.remove(job)
            self._working.append(job)
            job.export = replace(job.export, state=ExportState.WORKING)
            return job

    def _work(self, job: Job) -> None:
        try:
            with self._memory.reserve(_MEMORY):
                hits = self._hits(job)
                if self._waits(job, hits):
                    return
                written = self._write(job, hits)
        except Cancelled:
            state, message = ExportState.STOPPED, ""
            if self._closing or job.left:
                state, message = ExportState.FAILED, _CLOSED if self._closing else _LEFT
        except HimuroError as exc:
            _logger.warning("%s: %s", job.path, exc)
            state, message = ExportState.FAILED, for_strangers(exc)
        except OSError as exc:
            _logger.error("%s: %s", job.path, exc)  # noqa: TRY400
            state = ExportState.FAILED
            message = FULL if exc.errno in _NO_ROOM else _UNWRITABLE
            if is_shortage(exc):
                message = for_strangers(unexpected(exc))
        except Exception as exc:
            _logger.exception("an export failed")
            state = ExportState.FAILED
            message = for_strangers(unexpected(exc))
        else:
            with self._lock:
                job.export = replace(job.export, written=written)
                job.size = written.size
                self._end(job, ExportState.DONE)
            return
        with suppress(OSError):
            job.path.unlink(missing_ok=True)
        with self._lock:
            job.size = 0
            self._end(job, state, message)

    def _hits(self, job: Job) -> Hits:
        if isinstance(job.what, SearchQuery):
            return self._catalogue.hits(job.what)
        return Hits(len(job.what), iter([job.what]))

    def _waits(self, job: Job, hits: Hits) -> bool:
        """Put a large job back when another one is being made. Its hits are looked for again
        later: the keys of all that may wait would take memory."""
        with self._lock:
            if job.stopped or self._closing:
                raise Cancelled
            busy = any(other.is_large for other in self._working if other is not job)
            job.is_large = hits.total >= _LARGE
            if not (busy and job.is_large):
                return False
            job.export = replace(
                job.export, state=ExportState.WAITING, written=Written(total=hits.total)
            )
            self._working.remove(job)
            self._line.add(job)
            return True

    def _write(self, job: Job, hits: Hits) -> Written:
        def progress(written: Written) -> None:
            with self._lock:
                self.tidy()
                if job.stopped or self._closing:
                    raise Cancelled
                job.size = written.size
                job.export = replace(job.export, written=written)
                self._make_room(job)

        with create_private(job.path) as file:
            return writer.write(file, job.export.form, hits, self._timezone, progress)

    def _make_room(self, job: Job) -> None:
        """Remove files while there is too little room; raises ``ListError`` when that does not
        bring enough."""
        while self._room.is_short(self._jobs.values()):
            gone = to_remove(self._jobs.values(), self._now())
            if gone is None:
                raise ListError(self._room.why_short(job, self._jobs.values(), self._now()))
            self._forget(gone)

    def _stop(self, job: Job) -> None:
        """End a file that waits, now, or that is being made, at its next rows."""
        job.stopped = True
        if job in self._line:
            self._line.remove(job)
            if job.left:
                self._end(job, ExportState.FAILED, _LEFT)
            else:
                self._end(job, ExportState.STOPPED)

    def _end(self, job: Job, state: ExportState, message: str = "") -> None:
        job.export = replace(job.export, state=state, message=message, finished_at=self._now())
        job.what = ()
        if job in self._working:
            self._working.remove(job)
        self._look_again()

    def _look_again(self) -> None:
        """Have the next file removed in time, also when nobody asks for anything any more."""
        if self._timer is None and not self._closing:
            timer = threading.Timer(_TIDY_SECONDS, self._tidy_later)
            timer.daemon = True
            try:
                timer.start()
            except (RuntimeError, MemoryError):  # whoever asks for anything next tidies up
                _logger.warning("no thread to tidy up later", exc_info=True)
                return
            self._timer = timer

    def _tidy_later(self) -> None:
        with self._lock:
            self._timer = None
            self.tidy()
            if self._jobs:
                self._look_again()

    def _forget(self, job: Job) -> None:
        del self._jobs[job.export.export_id]
        with suppress(OSError):
            job.path.unlink(missing_ok=True)
