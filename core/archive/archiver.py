"""One file: read and hash → upload → (the collector commits its row) → marker.

A row never comes before its object (``docs/contract.md``, "Invariants", 1). Nothing here writes
to the archive list: what is stored comes back as an ``Entry`` for the one collector that does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count, islice
from zoneinfo import ZoneInfo

from core.archive.content import MEMORY_BYTES, ByteSemaphore, Content, parts_of, read
from core.archive.orphans import Unlisted
from core.archive.ports import STORAGE_CLASS, Lane, NewObject, ObjectStore, StoredObject
from core.errors import Code, ItemError, os_reason
from core.files.modification_time import TICK, modified
from core.model import ArchiveItem, Entry, RunRequest
from core.paths.normalization import MAX_KEY_BYTES, generation_key, may_be_generation, search_key
from core.share.shares import OpenFile, Shares
from core.units import local

_MAX_GENERATIONS = 1000


def never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Ready:
    """A small file that was read and can be sent."""

    item: ArchiveItem
    content: Content
    new: NewObject

    @property
    def data(self) -> bytes:
        return self.content.data or b""


class Archiver:
    """Archives single files. Safe in any thread; every call may be repeated."""

    def __init__(
        self,
        shares: Shares,
        store: ObjectStore,
        *,
        bucket: str,
        timezone: ZoneInfo,
        request: RunRequest,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._shares = shares
        self._store = store
        self._bucket = bucket
        self._timezone = timezone
        self._request = request
        self._now = now
        self._memory = ByteSemaphore(MEMORY_BYTES)
        self.unlisted = Unlisted()

    def lane(self) -> Lane[Ready] | None:
        """Return a way for one thread to send what ``read_small`` gave; None: there is none."""
        return self._store.lane()

    def require_life(self) -> None:
        """Raise ``FatalError(S3_STALLED)`` when nothing has been stored for too long."""
        self._store.require_life()

    def in_parts(self, item: ArchiveItem) -> bool:
        """Return whether a file is too large for a single request."""
        return self._store.part_size(item.size) is not None

    def read_small(self, item: ArchiveItem, most_bytes: int) -> Ready | Entry | None:
        """Read a file that is to be sent from memory.

        Returns the newest row when the content is that generation's, None when the file has
        more than ``most_bytes`` by now. Raises as ``store`` does.
        """
        with self._opened(item) as file:
            if file.status.st_size > most_bytes:
                return None
            content = self._read(item, file, None, never)
        if newest := _unchanged(item, content):
            return newest
        key = next(self._keys(item, content.status.st_mtime_ns))
        return Ready(item, content, _new_object(item, content, key))

    def entry_of(self, ready: Ready) -> Entry:
        """Return the row of a file whose object was created just as it was planned."""
        return self._entry(ready.item, ready.content, ready.new.key)

    def store_ready(self, ready: Ready) -> Entry:
        """Create the object of a file that was read, or adopt it; raises as ``store`` does."""
        return self._store_content(ready.item, ready.content)

    def _store_content(self, item: ArchiveItem, content: Content) -> Entry:
        data = content.data or b""
        key = self._upload(item, content, lambda new: self._store.create(new, data))
        return self._entry(item, content, key)

    def store(
        self,
        item: ArchiveItem,
        *,
        sent: Callable[[int], None],
        cancelled: Callable[[], bool] = never,
        stopping: Callable[[], bool] = never,
    ) -> Entry:
        """Bring one file into the bucket and return its row, which is not yet registered.

        Returns the newest row when the content is the same as that generation's: then
        nothing was uploaded. The same content already there from an interrupted run is
        adopted. ``sent`` hears bytes as they are stored. Raises ``ItemError`` for this file
        (``STOPPED`` when ``cancelled`` turned true, or ``stopping`` while it still waited for
        memory), ``FatalError`` for the environment.
        """
        with self._opened(item) as file:
            size = file.status.st_size
            part_size = self._store.part_size(size)
            if part_size is not None:
                return self._store_parts(
                    item, file, part_size, sent=sent, cancelled=cancelled, stopping=stopping
                )
            with self._memory.hold(size):
                if stopping():
                    raise ItemError(Code.STOPPED)
                content = self._read(item, file, None, cancelled)
                entry = _unchanged(item, content) or self._store_content(item, content)
                sent(content.size)
                return entry

    def _store_parts(
        self,
        item: ArchiveItem,
        file: OpenFile,
        part_size: int,
        *,
        sent: Callable[[int], None],
        cancelled: Callable[[], bool],
        stopping: Callable[[], bool],
    ) -> Entry:
        """Do the same with a file that goes in parts, each of which waits for its own memory."""
        content = self._read(item, file, part_size, cancelled)
        if newest := _unchanged(item, content):
            sent(content.size)
            return newest
        if stopping():  # hashing may have taken long, and nothing has been sent yet
            raise ItemError(Code.STOPPED)

        def create(new: NewObject) -> bool:
            # Closed here: a part that was given up must not keep its memory.
            with closing(parts_of(file, content, self._memory, sent, cancelled)) as parts:
                return self._store.create_in_parts(new, parts)

        return self._entry(item, content, self._upload(item, content, create))

    @contextmanager
    def _opened(self, item: ArchiveItem) -> Iterator[OpenFile]:
        """Open a file; what the file system says while it is open becomes this file's failure."""
        try:
            with self._shares.open(item.path, item.local) as file:
                modified(file.status.st_mtime_ns)  # what has no row is not to be sent either
                yield file
        except OSError as exc:
            raise self._explain(exc, item) from exc

    def _read(
        self,
        item: ArchiveItem,
        file: OpenFile,
        part_size: int | None,
        cancelled: Callable[[], bool],
    ) -> Content:
        content = read(file, part_size, cancelled)
        self._require_still(item, content)
        return content

    def mark(self, item: ArchiveItem) -> None:
        """Put the empty marker beside the original; one that is there already is fine.

        Raises ``ItemError(MARKER_FAILED)``; the archive itself is not touched by that.
        """
        try:
            self._shares.fs.create_empty(item.parent.local_of(item.marker_name))
        except FileExistsError:
            return
        except OSError as exc:
            detail = self._explain(exc, item).detail or os_reason(exc)
            raise ItemError(Code.MARKER_FAILED, detail) from exc

    def _explain(self, exc: OSError, item: ArchiveItem) -> ItemError:
        located = self._shares.locate(item.path)
        if located is None:
            return ItemError(Code.PATH_OUTSIDE_SHARES)
        return self._shares.explain(exc, located[0])

    def _require_still(self, item: ArchiveItem, content: Content) -> None:
        """Raise ``ItemError(CHANGED_WHILE_READING)`` unless the file is as it was opened;
        ``FatalError`` when it cannot be told because the share is gone."""
        try:
            now = self._shares.fs.stat(item.local)
        except OSError as exc:
            self._explain(exc, item)
            raise ItemError(Code.CHANGED_WHILE_READING) from exc
        then = content.status
        if (now.st_size, now.st_mtime_ns, now.st_ino) != (
            then.st_size,
            then.st_mtime_ns,
            then.st_ino,
        ):
            raise ItemError(Code.CHANGED_WHILE_READING)

    def _upload(
        self, item: ArchiveItem, content: Content, create: Callable[[NewObject], bool]
    ) -> str:
        """Return the key under which the content now lies: created or adopted."""
        for key in islice(self._keys(item, content.status.st_mtime_ns), _MAX_GENERATIONS):
            new = _new_object(item, content, key)
            there = self._create_or_look(new, create, look_first=content.data is None)
            if there is None or _is_same(there, new):
                return key
            if _is_left_of(there, item, key):
                self.unlisted.add(item, key)
        raise ItemError(Code.KEY_OCCUPIED, item.key)

    def likely_keys(self, item: ArchiveItem) -> list[str]:
        """Return the keys under which earlier runs may have begun this file.

        Also those that have a row by now: giving up the upload may be what failed.
        """
        coming = islice(self._keys(item, item.mtime_ns), 2)
        return list(dict.fromkeys((item.key, *sorted(item.history.taken_keys), *coming)))

    def _keys(self, item: ArchiveItem, mtime_ns: int) -> Iterator[str]:
        """Yield the keys a content may have, best first; those that have a row are left out."""
        if item.key not in item.history.taken_keys:
            yield item.key
        stamp = f"{local(modified(mtime_ns), self._timezone):%Y%m%d-%H%M%S}"
        candidates = (generation_key(item.key, stamp, n) for n in count(1))
        yield from (key for key in candidates if key not in item.history.taken_keys)

    def _create_or_look(
        self, new: NewObject, create: Callable[[NewObject], bool], *, look_first: bool
    ) -> StoredObject | None:
        """Create the object and return None, or return the one that has its key.

        A large object is looked for before it is sent. One that vanishes between the answers
        belongs to a concurrent writer who gave up: it is tried again.
        """
        for attempt in range(3):
            if (attempt or not look_first) and create(new):
                return None
            there = self._store.head(new.key)
            if there is not None:
                return there
        raise ItemError(Code.UPLOAD_FAILED)

    def _entry(self, item: ArchiveItem, content: Content, key: str) -> Entry:
        now = self._now()
        # A clock that was ahead once must not make this generation look like the older one.
        latest = item.history.latest
        archived_at = max(now, latest + TICK) if latest else now
        return Entry(
            directory=item.directory,
            archived_name=item.marker_name,
            bucket=self._bucket,
            key=key,
            archived_at=archived_at,
            request_id=self._request.request_id,
            requester=self._request.requester,
            comment=self._request.comment,
            size=content.size,
            sha256=content.sha256,
            modified_at=modified(content.status.st_mtime_ns),
            search_key=search_key(item.directory, item.name),
        )


def _new_object(item: ArchiveItem, content: Content, key: str) -> NewObject:
    """Raises ``ItemError(KEY_TOO_LONG)``."""
    if len(key.encode()) > MAX_KEY_BYTES:
        raise ItemError(Code.KEY_TOO_LONG, key)
    return NewObject(key, content.size, content.sha256, item.path)


def _unchanged(item: ArchiveItem, content: Content) -> Entry | None:
    """Return the newest generation when it has this content."""
    newest = item.history.newest
    same = newest and (newest.sha256, newest.size) == (content.sha256, content.size)
    return newest if same else None


def _is_same(there: StoredObject, new: NewObject) -> bool:
    """Return whether an object is what an interrupted run left of this very file."""
    same = (there.sha256, there.size) == (new.sha256, new.size)
    ours = there.source_path in ("", new.source_path)
    return same and ours and there.storage_class == STORAGE_CLASS


def _is_left_of(there: StoredObject, item: ArchiveItem, key: str) -> bool:
    """Return whether an object of other content was certainly left of this very file.

    Where its path did not fit into the metadata, its key is that path, unless it may be the
    key of another file's generation, which probably has its row.
    """
    if there.source_path:
        return there.source_path == item.path
    return bool(there.sha256) and key == item.key and not may_be_generation(key)
