"""Searching through the index of terms, on PostgreSQL: which rows a page shows, and how many
there are. How they are found stands in ``db/search/block_walk.py``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Integer, any_, false, func, literal, select, tablesample, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import aliased

from core.model import Entry, Order, SearchPage, SearchQuery
from db.search import block_walk
from db.search.block_walk import Asked, Block, Hit
from db.search.conditions import answerable, conditions
from db.search.ordering import sort_keys
from db.search.page_cursors import PageCursor, PageCursors
from db.search.selectivity import Sample
from db.search.terms import groups
from db.table.columns import COLUMNS, entry
from db.table.models import ArchivedFile as File

MAX_COUNTED = 10_000
"""Hits that are counted exactly; beyond, a page says "at least so many"."""
MAX_SORTED = 20_000
"""Most hits that are sorted by anything but their time; more are shown by time."""
_ON_SCREEN = 1_000
"""Rows of a page up to which the hits are counted; a longer one is no screen but an export."""
_MAX_ROWS = 2**31
"""A limit above every serial key."""
_SAMPLE_ROWS = 500
_SAMPLE_SECONDS = 3600

_PREPARE = text("""
    SELECT set_config('enable_seqscan', 'off', true),
      set_config('max_parallel_workers_per_gather', '0', true),
      set_config('jit', 'off', true),
      set_config('work_mem', '64MB', true)
""")
"""Settings until the end of the transaction. With less memory a bitmap forgets which rows of a page
it means, and their terms would be computed anew."""

COUNT_SECONDS = 0.05
"""Seconds of counting after which no further piece is begun."""
SORT_SECONDS = 0.2
"""Seconds of counting where hits are sorted: only once they are counted can that begin."""
PIECE_MS = 150
"""Statement timeout for the counting of one piece, in milliseconds."""
_SORTING = text("SET LOCAL statement_timeout = '300s'")
"""To sort all rows by their paths takes a slow disk more than the usual minute."""
_NO_LIMIT = text("SET LOCAL statement_timeout TO DEFAULT")
_CANCELLED = "57014"


class IndexedSearch:
    """``SearchPage`` by the index of terms. Any thread may use it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._positions = PageCursors()
        self._clock = clock
        self._sample = Sample()
        self._sampled_at = float("-inf")
        self._sampling = threading.Lock()

    def search(
        self, connection: Connection, query: SearchQuery, page: int, per_page: int
    ) -> SearchPage:
        """Return one page of hits; ``page`` counts from 1."""
        if not answerable(query):
            return SearchPage(0, ())
        connection.execute(_PREPARE)
        if query.order is Order.DATE:
            return self._by_date(connection, query, page, per_page)
        asked = self._asked(connection, query)
        total, is_all = _count(connection, asked, MAX_SORTED + 1, SORT_SECONDS)
        if not is_all:
            newest = replace(query, order=Order.DATE, descending=True)
            return replace(self._by_date(connection, newest, page, per_page), unsorted=True)
        skipped = (page - 1) * per_page
        if skipped >= total:
            return SearchPage(total, ())
        keys = sort_keys(query.order, on_sqlite=False)
        found = block_walk.in_order_of(connection, asked, keys, skipped, per_page)
        return SearchPage(total, _rows(connection, found))

    def all_hits(self, connection: Connection, query: SearchQuery) -> Any:
        """Return the statement for the serial keys of all hits, in the order of the query.

        By the index even for common words: 536,000 of 2.4 million rows take as long as a look
        at every row does, 5,000 of them a fiftieth of that.
        """
        if not answerable(query):
            return select(File.id).where(false())
        connection.execute(_PREPARE)
        connection.execute(_SORTING)
        asked = self._asked(connection, query)
        return block_walk.all_in_order_of(asked, sort_keys(query.order, on_sqlite=False))

    def _by_date(
        self, connection: Connection, query: SearchQuery, page: int, per_page: int
    ) -> SearchPage:
        asked = self._asked(connection, query)
        known, after = self._positions.before(query, page, per_page)
        skip = (page - 1 - known) * per_page
        hits: list[Hit] = []
        if skip < _MAX_ROWS:
            hits = block_walk.newest(connection, asked, after, skip, per_page + 1)
        shown = hits[:per_page]
        rows = _rows(connection, [key for key, _ in shown])
        if len(shown) == per_page:
            self._positions.remember(query, page, per_page, PageCursor(shown[-1][1], shown[-1][0]))
        least = (page - 1) * per_page + len(hits) if hits else 0
        if after is None and len(hits) <= per_page and (hits or page == 1):
            return SearchPage(least, rows)
        if len(hits) > per_page > _ON_SCREEN:
            return SearchPage(least, rows, over=True)
        total, is_all = _count(connection, asked, MAX_COUNTED + 1, COUNT_SECONDS)
        if is_all:
            return SearchPage(total, rows)
        return SearchPage(max(least, min(total, MAX_COUNTED)), rows, over=True)

    def _asked(self, connection: Connection, query: SearchQuery) -> Asked:
        where = conditions(query)
        if not where and query.order is Order.DATE:
            # One look at the index by date: blocks and terms are not asked for.
            return Asked(query, (), (), (), ())
        ordered, strays = block_walk.read_blocks(connection, query)
        requester = query.requester.strip()
        if requester:
            lowered = select(func.lower(literal(requester)))
            requester = connection.execute(lowered).scalar_one()
        chosen = self._sampled(connection).choose(groups(query, requester))
        return Asked(query, where, [group.terms for group in chosen], ordered, strays)

    def _sampled(self, connection: Connection) -> Sample:
        """Return some rows, read once an hour.

        Who comes meanwhile waits for them: without any, terms are chosen blindly, and after a
        start with many people a search took seconds.
        """
        with self._sampling:
            if self._clock() - self._sampled_at > _SAMPLE_SECONDS:
                self._sample = _read_sample(connection)
                self._sampled_at = self._clock()
            return self._sample


def _read_sample(connection: Connection) -> Sample:
    largest = connection.execute(select(func.max(File.id))).scalar_one() or 1
    some = tablesample(File, func.system(min(100.0, 100.0 * _SAMPLE_ROWS / largest)))
    row = aliased(File, some)
    requester = func.coalesce(func.lower(row.requester), "")
    statement = select(row.search_key, requester, row.size).limit(_SAMPLE_ROWS)
    return Sample([tuple(found) for found in connection.execute(statement)])


def _count(connection: Connection, asked: Asked, most: int, seconds: float) -> tuple[int, bool]:
    """Return the number of hits and whether it is all of them.

    It is not when there are ``most`` or more, or when counting takes so many seconds.
    """
    counted, is_all, until = 0, False, time.monotonic() + seconds
    try:
        with connection.begin_nested():
            connection.execute(text(f"SET LOCAL statement_timeout = {PIECE_MS}"))
            for blocks_ in _growing(asked.all_blocks) if asked.where else [()]:
                if counted >= most or time.monotonic() > until:
                    break
                counted += block_walk.count(connection, asked, blocks_, most - counted)
            else:
                is_all = counted < most
            connection.execute(_NO_LIMIT)
    except OperationalError as exc:
        # Cancelled by the limit, which goes with the savepoint; or there is no connection left.
        if getattr(exc.orig, "pgcode", None) != _CANCELLED:
            raise
    return counted, is_all


def _growing(blocks_: Sequence[Block]) -> Iterator[Sequence[Block]]:
    """Yield the blocks in ever longer pieces."""
    start, length = 0, 2
    while start < len(blocks_):
        yield blocks_[start : start + length]
        start, length = start + length, length * 2


def _rows(connection: Connection, keys: Sequence[int]) -> tuple[Entry, ...]:
    """Return the rows with these serial keys in their order."""
    if not keys:
        return ()
    wanted = any_(literal(list(keys), ARRAY(Integer)))
    found = connection.execute(select(*COLUMNS).where(File.id == wanted))
    by_key = {one.id: one for one in map(entry, found)}
    return tuple(by_key[key] for key in keys)
