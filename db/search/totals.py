"""Sums over the archive list, by directory and month."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, case, func, literal, select, text

from core.ports import Total
from db.table.models import ArchivedFile as File

_BATCH = 5000
"""Fetch size: groups (directory and month) that the database hands over at once."""
_YEARS = (1970, 2999)
"""Times before or after count as the first or last month of these."""

_PREPARE = text("""
    SELECT set_config('max_parallel_workers_per_gather', '0', true),
      set_config('jit', 'off', true),
      set_config('work_mem', '64MB', true),
      set_config('cursor_tuple_fraction', '1', true)
""")
"""Settings until the end of the transaction. Groups then come from one hash table: PostgreSQL
expects one a row and would sort all rows on disk, in several processes, which takes three times
as long."""


def count_until(connection: Connection, serial: int) -> int:
    """Return the number of rows with serial keys up to this one."""
    statement = select(func.count()).select_from(File).where(File.id <= serial)
    return connection.execute(statement).scalar_one()


def totals(connection: Connection, timezone: ZoneInfo, after: int) -> Iterator[Total]:
    """Yield the sums of rows with serial keys above ``after``, sorted by directory."""
    on_sqlite = connection.dialect.name == "sqlite"
    if not on_sqlite:
        connection.execute(_PREPARE)
    months = _months(connection, timezone)
    if not months:
        return
    begins = [datetime(month.year, month.month, 1, tzinfo=timezone) for month in months]
    groups = (
        select(
            File.directory,
            _begun(begins, 0).label("month"),
            func.count().label("files"),
            func.sum(File.size).label("size"),
            func.max(File.id).label("newest"),
        )
        .where(File.id > after)
        .group_by(File.directory, text("month"))
        .subquery()
    )
    # Letter by letter, as Python sorts: other collations tear neighbours apart. In a query of
    # its own, or PostgreSQL would sort all rows instead of the groups.
    name = groups.c.directory if on_sqlite else groups.c.directory.collate("C")
    statement = select(groups).order_by(name)
    rows = connection.execute(statement, execution_options={"yield_per": _BATCH})
    for directory, month, files, size, newest in rows:
        yield Total(directory, months[month], files, int(size), newest)


def _months(connection: Connection, timezone: ZoneInfo) -> list[date]:
    """Return all months from the first to the last time in the list; none when it is empty."""
    ends = [
        connection.execute(select(pick(File.archived_at))).scalar_one()
        for pick in (func.min, func.max)
    ]
    if None in ends:
        return []
    first, last = (_number(moment, timezone) for moment in ends)
    return [date(number // 12, number % 12 + 1, 1) for number in range(first, last + 1)]


def _number(moment: datetime, timezone: ZoneInfo) -> int:
    """Return a month as a number that counts on over the years."""
    least, most = (year * 12 for year in _YEARS)
    if not _YEARS[0] < moment.year < _YEARS[1]:  # some would leave the calendar
        return least if moment.year <= _YEARS[0] else most + 11
    local = moment.astimezone(timezone)
    return local.year * 12 + local.month - 1


def _begun(begins: Sequence[datetime], place: int) -> Any:
    """Return in SQL which of these months a row belongs to, as its place among all of them.

    Halved again and again: seven comparisons for ten years, and all time zones are Python's.
    """
    if len(begins) == 1:
        return literal(place)
    half = len(begins) // 2
    earlier, later = _begun(begins[:half], place), _begun(begins[half:], place + half)
    return case((File.archived_at < begins[half], earlier), else_=later)
