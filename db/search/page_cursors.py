"""Where pages ended, so that the next one begins there instead of counting from the first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime

from core.model import SearchQuery

_MAX_SEARCHES = 200
_MAX_PAGES = 5_000
"""Pages of one search whose ends are kept; about a megabyte."""


@dataclass(frozen=True, slots=True)
class PageCursor:
    """A row's place in the order of time."""

    archived_at: datetime
    id: int


@dataclass(slots=True)
class _Ends:
    pages: OrderedDict[int, PageCursor] = field(default_factory=OrderedDict)


class PageCursors:
    """The last rows of pages that were shown lately. Any thread may use it.

    A page then follows the one before it as that was shown, also when rows were added since:
    whoever turns the pages sees no row twice.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._searches: OrderedDict[tuple[SearchQuery, int], _Ends] = OrderedDict()

    def before(self, query: SearchQuery, page: int, per_page: int) -> tuple[int, PageCursor | None]:
        """Return the last page before ``page`` whose end is known, and that; (0, None): none."""
        with self._lock:
            ends = self._searches.get((query, per_page))
            if ends is None:
                return 0, None
            self._searches.move_to_end((query, per_page))
            if position := ends.pages.get(page - 1):
                return page - 1, position
            known = max((number for number in ends.pages if number < page), default=0)
            return known, ends.pages.get(known)

    def remember(self, query: SearchQuery, page: int, per_page: int, end: PageCursor) -> None:
        """Keep the last row of a full page."""
        with self._lock:
            ends = self._searches.setdefault((query, per_page), _Ends())
            self._searches.move_to_end((query, per_page))
            ends.pages[page] = end
            ends.pages.move_to_end(page)
            if len(ends.pages) > _MAX_PAGES:
                ends.pages.popitem(last=False)
            if len(self._searches) > _MAX_SEARCHES:
                self._searches.popitem(last=False)
