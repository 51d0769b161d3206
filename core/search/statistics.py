"""How much lies in the archive, by folder and by month, kept current in the background.

The list is summed up once; afterwards only what was stored since. Rows are never changed or
removed, so that as many rows as were summed up are the same rows. When there are more, somebody
else's transaction ended after later ones had been seen: everything is summed up anew. So no row
counts twice, and none is missed for longer than until the next look.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from zoneinfo import ZoneInfo

from core.clock import utc_now
from core.concurrency.background import Lookup, Lookups
from core.model import SearchQuery
from core.ports import Catalogue, Total
from core.search.folder_tree import Folders

FRESH_SECONDS = 60.0
"""For so many seconds numbers are shown without looking again."""
_RETRY_SECONDS = 5.0
"""Seconds after which a look that failed is repeated."""
_PATIENCE = 0.5
"""Seconds that a page waits for the first numbers: a small list is summed up sooner."""


@dataclass(frozen=True, slots=True)
class Amount:
    """So many files of so many bytes."""

    files: int = 0
    size: int = 0


@dataclass(frozen=True, slots=True)
class Numbers:
    """What lies in the archive."""

    as_of: datetime
    """When that was so; with time zone."""
    folders: Folders = field(default_factory=Folders)
    months: Mapping[date, Amount] = field(default_factory=dict)
    """By the first day of the month of archiving; those without any file are left out."""
    newest: int = 0
    """Largest serial key that is in the numbers."""

    def count(self, query: SearchQuery) -> int | None:
        """Return the hits of a search for everything, or for a directory alone; None for any
        other search, which only the list itself can count."""
        plain = SearchQuery(
            directory=query.directory,
            directory_only=query.directory_only,
            order=query.order,
            descending=query.descending,
        )
        folder = self.folders.find(query.directory.strip().replace("/", "\\"))
        if query != plain or folder is None:
            return None
        alike = self.folders.searched_as(folder)
        only = query.directory and query.directory_only
        return sum(each.own_files if only else each.files for each in alike)

    def plus(self, totals: Iterable[Total], as_of: datetime) -> Numbers:
        """Return the numbers with further files in them."""
        months = defaultdict(Amount, self.months)
        newest = self.newest

        def noted() -> Iterator[Total]:
            nonlocal newest
            for total in totals:
                known = months[total.month]
                months[total.month] = Amount(known.files + total.files, known.size + total.size)
                newest = max(newest, total.newest)
                yield total

        folders = self.folders.plus(noted())
        return Numbers(as_of, folders, dict(months), newest)


class Summary:
    """The numbers for the pages. Any thread may ask."""

    def __init__(
        self,
        catalogue: Catalogue,
        timezone: ZoneInfo,
        *,
        now: Callable[[], datetime] = utc_now,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``timezone``: in which months begin."""
        self._catalogue = catalogue
        self._timezone = timezone
        self._now = now
        self._lookups: Lookups[Numbers] = Lookups(clock)
        self._known: Numbers | None = None
        self._failed = False

    def begin(self) -> None:
        """Start to sum up, so that the first page finds the numbers."""
        self._ask(patience=0.0)

    def ask(self) -> Lookup[Numbers]:
        """Return the numbers, which are brought up to date when they are a minute old.

        While there are none at all, waits for half a second. When the database does not
        answer, the last ones stay.
        """
        return self._ask(_PATIENCE)

    def _ask(self, patience: float) -> Lookup[Numbers]:
        max_age = _RETRY_SECONDS if self._failed else FRESH_SECONDS
        return self._lookups.ask("numbers", self._look, max_age, patience=patience)

    def _look(self) -> Numbers:
        """Return the numbers of now. One look at a time: ``Lookups`` sees to that."""
        self._failed = True
        as_of = self._now()
        known = self._known or Numbers(as_of)
        if self._catalogue.count_until(known.newest) != known.folders.root.files:
            known = Numbers(as_of)
        totals = self._catalogue.totals(self._timezone, after=known.newest)
        self._known = known.plus(totals, as_of)
        self._failed = False
        return self._known
