"""The generations of a file: its rows in the archive list, at a check and in a run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

from core.files.modification_time import is_modified_at
from core.model import NO_HISTORY, ArchiveItem, ArchiveStatus, Entry, History
from core.paths.normalization import search_key
from core.ports import Catalogue

_LOOKED_UP_AT_ONCE = 2_000
"""Files whose rows are asked for together: while that lasts, no other file is begun."""


def judged(item: ArchiveItem, mine: Sequence[Entry]) -> ArchiveItem:
    """Return ``item`` with what its rows say of it; of them only what a run would not find
    again is kept, the keys of those under another spelling."""
    newest = max(mine, key=lambda row: row.id)
    same = newest.size == item.size and is_modified_at(item.mtime_ns, newest.modified_at)
    others = frozenset(row.key for row in mine if row.path != item.path)
    return replace(
        item,
        standing=ArchiveStatus.ARCHIVED if same else ArchiveStatus.CHANGED,
        history=History(taken_keys=others) if others else NO_HISTORY,
    )


def with_history(items: Iterable[ArchiveItem], catalogue: Catalogue) -> Iterator[ArchiveItem]:
    """Yield items with their rows of the archive list, as they are when they are asked for.

    Between a check and its run a list may wait for hours, and the same file may stand in another
    one. Raises ``FatalError`` when the database is not there.
    """
    waiting = iter(items)
    while some := list(islice(waiting, _LOOKED_UP_AT_ONCE)):
        wanted = [search_key(item.directory, item.name) for item in some]
        known = catalogue.find(set(wanted))
        for item, key in zip(some, wanted, strict=True):
            rows = known.get(key, ())
            keys = item.history.taken_keys
            mine = [row for row in rows if row.path == item.path or row.key in keys]
            yield replace(item, history=_history(mine)) if mine else item


def _history(mine: Sequence[Entry]) -> History:
    """Return what the rows of one file, in any order, say."""
    return History(
        newest=max(mine, key=lambda row: row.id),
        latest=max(row.archived_at for row in mine),
        taken_keys=frozenset(row.key for row in mine),
    )
