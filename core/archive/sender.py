"""Many files from one thread: small ones share a lane to S3, the others go one by one.

A lane keeps several requests on their way, so that a thread waits for the network as seldom
as it can; what the lane could not simply do is done again by ``Archiver.store_ready``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from core.archive.archiver import Archiver, Ready, never
from core.archive.ports import Lane
from core.errors import Code, FatalError, HimuroError, ItemError
from core.model import ArchiveItem, Entry
from core.resources.shortage import patiently, shortage_behind

Ended = tuple[ArchiveItem, Entry | Exception]
"""A file, and its row (not yet registered) or what went wrong with it."""


class Sender:
    """Stores files for one thread."""

    def __init__(
        self,
        archiver: Archiver,
        *,
        sent: Callable[[int], None],
        cancelled: Callable[[], bool] = never,
        stopping: Callable[[], bool] = never,
    ) -> None:
        """``sent``, ``cancelled`` and ``stopping`` as for ``Archiver.store``."""
        self._archiver = archiver
        self._stopping = stopping
        self._store_whole = partial(
            archiver.store, sent=sent, cancelled=cancelled, stopping=stopping
        )

    def store_all(self, items: Iterable[ArchiveItem]) -> Iterator[Ended]:
        """Yield how each item ended, in the order in which they do.

        ``items`` is asked for the next one as soon as there is room.
        """
        lane: Lane[Ready] | None = self._archiver.lane()
        if lane is None:
            for item in items:
                yield item, _caught(partial(self._store_whole, item))
            return
        try:
            for item in items:
                yield from self._store_one(item, lane)
            while lane.busy:
                yield from self._ended(lane)
        finally:
            lane.close()

    def _store_one(self, item: ArchiveItem, lane: Lane[Ready]) -> Iterator[Ended]:
        ready = self._set_out(item, lane)
        if ready is None:
            # Parts may take hours; nobody is to wait for them to hear of a small file.
            while lane.busy and self._archiver.in_parts(item):
                yield from self._ended(lane)
            yield item, _caught(partial(self._store_whole, item))
        elif not isinstance(ready, Ready):
            yield item, ready
        while lane.is_full:
            yield from self._ended(lane)

    def _set_out(self, item: ArchiveItem, lane: Lane[Ready]) -> Ready | Entry | Exception | None:
        """Send a small file on its way; None for one that is not small."""
        if item.size > lane.most_bytes:
            return None
        try:
            ready = self._archiver.read_small(item, lane.most_bytes)
            if isinstance(ready, Ready):
                lane.begin(ready.new, ready.data, ready)
        except HimuroError as exc:
            return exc
        except Exception as exc:  # noqa: BLE001 - one file's failure is the caller's to judge
            # Of a shortage nobody knows how far it came: the whole is repeated, patiently.
            return exc if shortage_behind(exc) is None else None
        return ready

    def _ended(self, lane: Lane[Ready]) -> Iterator[Ended]:
        for ready, created in lane.wait():
            yield ready.item, self._arrive(ready, created)

    def _arrive(self, ready: Ready, created: bool | FatalError) -> Entry | Exception:
        if isinstance(created, FatalError):
            return created
        if created:
            return self._archiver.entry_of(ready)
        if self._stopping():  # S3 may be gone, and to find that out takes its time
            return ItemError(Code.STOPPED)
        return _caught(partial(self._archiver.store_ready, ready))


def _caught(work: Callable[[], Entry]) -> Entry | Exception:
    try:
        return patiently(work)
    except Exception as exc:  # noqa: BLE001 - one file's failure is the caller's to judge
        return exc
