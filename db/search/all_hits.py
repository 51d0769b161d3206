"""Every hit of a search: the serial keys of all of them first, then row by row what they name.

Rows are added and never changed or deleted (``db/table/models.py``), so the keys that one moment
knows are a snapshot of it that needs no open transaction: however slowly the rows are taken,
no connection waits with them. Eight bytes a hit is all that is held.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, DateTime, Integer, Row, any_, literal, select, type_coerce

from core.model import Entry
from db.table.columns import COLUMNS
from db.table.models import ArchivedFile as File

ROWS = 5_000
"""Rows that are read with one query."""
_KEYS = 50_000
"""Fetch size for serial keys: psycopg2 would hold all of them beside our own list."""
_VALUES = 500
"""Most values of one IN list on SQLite."""
_TIMES = ("archived_at", "modified_at")


_COLUMNS: tuple[Any, ...] = tuple(
    type_coerce(column, DateTime(timezone=True)) if column.key in _TIMES else column
    for column in COLUMNS
)
"""On PostgreSQL moments come in UTC, and need not be looked at one by one."""


def keys(connection: Connection, statement: Any) -> array[int]:
    """Return the serial keys that a statement yields, in its order."""
    found = array("q")
    result = connection.execution_options(yield_per=_KEYS).execute(statement)
    for some in result.scalars().partitions():
        found.extend(some)
    return found


def rows(connection: Connection, wanted: Sequence[int]) -> list[Entry]:
    """Return the rows with these serial keys in their order."""
    by_key: dict[int, Entry] = {}
    columns = COLUMNS if connection.dialect.name == "sqlite" else _COLUMNS
    for condition in _conditions(connection, wanted):
        found = connection.execute(select(*columns).where(condition))
        by_key.update((one.id, one) for one in map(_entry, found))
    return [by_key[key] for key in wanted if key in by_key]


def _conditions(connection: Connection, wanted: Sequence[int]) -> Iterator[Any]:
    if connection.dialect.name == "sqlite":
        for start in range(0, len(wanted), _VALUES):
            yield File.id.in_(wanted[start : start + _VALUES])
        return
    # Imported here: it brings drivers that take time to load.
    from sqlalchemy.dialects.postgresql import ARRAY  # noqa: PLC0415

    yield File.id == any_(literal(list(wanted), ARRAY(Integer)))


def _entry(row: Row[*tuple[Any, ...]]) -> Entry:
    """Return a row as an ``Entry``: ``db.table.columns.entry``, unrolled to a third of its time."""
    key, folder, name, bucket, object_key, at, request, comment, who, size, sha, changed, text = row
    return Entry(
        folder,
        name,
        bucket,
        object_key,
        at,
        request or "",
        who or "",
        comment or "",
        size,
        sha,
        changed,
        text,
        key,
    )
