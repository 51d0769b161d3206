"""Every query on the archive list: short transactions that take and return frozen entries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Engine, Executable, select

from core.errors import Code, FatalError
from core.model import MAX_TYPED, Entry, SearchPage, SearchQuery
from core.ports import Hits, Total
from db.connection.engine import identity, snapshot, sqlite_file, writing
from db.connection.errors import translated
from db.connection.fair_semaphore import FairSemaphore
from db.connection.patience import Patience
from db.search import all_hits
from db.search.conditions import clean, storable
from db.search.full_scan import FullScan
from db.search.totals import count_until, totals
from db.table.columns import COLUMNS, NAMES, entry
from db.table.models import ArchivedFile as File
from db.table.revision import require_current, require_utf8

_BATCH = 500
"""Values in one IN list: few statements, and far from SQLite's limit of variables."""
SEARCHES_AT_ONCE = 10
"""Half of the connections (``db.connection.engine``): however many people search, a run can store
its rows. More at once would hardly be quicker."""
_SEARCH_PATIENCE = 30
"""Seconds for which a search waits for its turn."""


class SqlCatalogue:
    """The archive list in SQLite or PostgreSQL; ``core.ports.Catalogue`` says what it owes."""

    def __init__(self, engine: Engine, patience: Patience | None = None) -> None:
        """``patience``: the engine's; without it ``hurry`` does nothing."""
        self._engine = engine
        self._patience = patience or Patience()
        self._writing = writing(engine)
        self._snapshot = snapshot(engine)
        self._insert = _insert(engine)
        self._searching = _searching(engine)
        self._semaphore = FairSemaphore(SEARCHES_AT_ONCE, _SEARCH_PATIENCE)
        self._current = False

    def close(self) -> None:
        """Close the connections that nobody uses; a later call opens new ones."""
        self._engine.dispose()

    def hurry(self, within: float) -> None:
        self._patience.hurry(within)

    def check(self) -> None:
        """Answer whether the database can be used and its schema is this program's."""
        with translated(), self._engine.connect() as connection:
            require_utf8(connection)
            require_current(connection)
            self._current = True

    def origin(self) -> str:
        """Return which file on which disk an SQLite database is; a server's stays the same."""
        if self._engine.dialect.name != "sqlite":
            return ""
        path = sqlite_file(self._engine.url)
        found = identity(path)
        if found is None:
            raise FatalError(Code.DATABASE_REPLACED, str(path))
        return found

    def find(self, search_keys: Iterable[str]) -> Mapping[str, Sequence[Entry]]:
        """Return all rows with one of these ``検索キー`` as they were stored, grouped by it."""
        found: dict[str, list[Entry]] = {}
        keys = iter({key for key in search_keys if storable(key)})
        with self._transaction(self._engine) as connection:
            while batch := list(islice(keys, _BATCH)):
                # Never by time: a clock that was ahead once would make old rows the newest.
                statement = select(*COLUMNS).where(File.search_key.in_(batch)).order_by(File.id)
                for row in connection.execute(statement):
                    one = entry(row)
                    found.setdefault(one.search_key, []).append(one)
        return found

    def add(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """Store rows in one transaction and return those that are not stored now.

        That is: bucket and key were taken by something else, or the path holds a character
        that no database can. Raises ``ValueError`` before anything is stored when a request
        ID or a requester is longer than the column.
        """
        rows = [_values(entry) for entry in entries if storable(*_paths(entry))]
        if not rows:
            return list(entries)
        # One order for all writers: two of them with the same rows cannot block each other.
        rows.sort(key=lambda row: (row["bucket"], row["key"]))
        named = [{NAMES[name]: value for name, value in row.items()} for row in rows]
        with self._transaction(self._writing) as connection:
            result = connection.execute(self._insert, named)
            added = len(result.all()) if result.returns_rows else result.rowcount
            if added == len(rows) == len(entries):
                return []
            # Some key was taken: what lies there decides.
            stored = _stored(connection, rows)
        return [one for one in entries if stored.get((one.bucket, one.key)) != _what(one)]

    def search(self, query: SearchQuery, *, page: int = 1, per_page: int = 100) -> SearchPage:
        """Return one page of hits; a page beyond the last one is empty.

        Raises ``ListError`` when more is asked than a search can hold. Not more than
        ``SEARCHES_AT_ONCE`` are at work; the others wait for their turn.
        """
        with self._turn(), self._transaction(self._engine) as connection:
            return self._searching.search(connection, query, max(page, 1), per_page)

    def totals(self, timezone: ZoneInfo, *, after: int = 0) -> Iterator[Total]:
        """Yield the sums of all rows by directory and month, sorted by directory."""
        # Of one moment: a row that came between two looks could belong to a month not seen yet.
        with self._transaction(self._snapshot) as connection:
            yield from totals(connection, timezone, after)

    def count_until(self, serial: int) -> int:
        """Return the number of rows with serial keys up to this one."""
        with self._transaction(self._engine) as connection:
            return count_until(connection, serial)

    def hits(self, query: SearchQuery) -> Hits:
        """Return every hit of one moment, each once, in the order that was asked for.

        Raises ``ListError`` as ``search`` does, at once; the batches are read as they are taken.
        """
        with self._transaction(self._snapshot) as connection:
            found = all_hits.keys(connection, self._searching.all_hits(connection, query))
        return Hits(len(found), self._batches(found))

    def _batches(self, keys: Sequence[int]) -> Iterator[Sequence[Entry]]:
        """Yield rows; the next ones are fetched while somebody is busy with the last ones."""
        with ThreadPoolExecutor(1, "himuro-hits") as ahead:
            coming = ahead.submit(self._rows, keys[: all_hits.ROWS])
            for start in range(all_hits.ROWS, len(keys) + all_hits.ROWS, all_hits.ROWS):
                batch = coming.result()
                coming = ahead.submit(self._rows, keys[start : start + all_hits.ROWS])
                yield batch

    def _rows(self, keys: Sequence[int]) -> Sequence[Entry]:
        if not keys:
            return []
        with self._transaction(self._engine) as connection:
            return all_hits.rows(connection, keys)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        try:
            with self._semaphore.turn():
                yield
        except TimeoutError:
            raise FatalError(Code.SEARCHES_WAITING) from None

    @contextmanager
    def _transaction(self, engine: Engine) -> Iterator[Connection]:
        """Yield a connection whose work is committed as a whole or not at all."""
        with translated(), engine.begin() as connection:
            if not self._current:
                require_utf8(connection)
                require_current(connection)
                self._current = True
            yield connection


class _Searching(Protocol):
    def search(
        self, connection: Connection, query: SearchQuery, page: int, per_page: int
    ) -> SearchPage:
        """Return one page of hits; ``page`` counts from 1."""

    def all_hits(self, connection: Connection, query: SearchQuery) -> Any:
        """Return the statement for the serial keys of all hits, in the order of the query."""


def _searching(engine: Engine) -> _Searching:
    """Return the way of searching that suits a database."""
    if engine.dialect.name == "sqlite":
        return FullScan()
    from db.search.indexed import IndexedSearch  # noqa: PLC0415 - see _insert

    return IndexedSearch()


def _insert(engine: Engine) -> Executable:
    """Return the statement that adds rows and passes over those whose key is taken."""
    # Imported where they are needed: each dialect brings drivers that take time to load.
    if engine.dialect.name == "sqlite":
        from sqlalchemy.dialects.sqlite import insert as insert_sqlite  # noqa: PLC0415

        return insert_sqlite(File).on_conflict_do_nothing()
    from sqlalchemy.dialects.postgresql import insert as insert_postgresql  # noqa: PLC0415

    # With RETURNING all rows of a batch go in one statement, without it in one each.
    return insert_postgresql(File).on_conflict_do_nothing().returning(File.id)


def _values(entry: Entry) -> dict[str, Any]:
    """Return an entry as columns; what was not given is NULL."""
    for typed in (entry.request_id, entry.requester):
        if len(typed) > MAX_TYPED:
            raise ValueError(f"longer than {MAX_TYPED} characters: {typed!r}")
    return {
        "directory": entry.directory,
        "archived_name": entry.archived_name,
        "bucket": entry.bucket,
        "key": entry.key,
        "archived_at": entry.archived_at,
        "request_id": clean(entry.request_id) or None,
        "comment": clean(entry.comment) or None,
        "requester": clean(entry.requester) or None,
        "size": entry.size,
        "sha256": entry.sha256,
        "modified_at": entry.modified_at,
        "search_key": entry.search_key,
    }


def _paths(entry: Entry) -> tuple[str, ...]:
    return entry.directory, entry.archived_name, entry.bucket, entry.key, entry.search_key


def _what(entry: Entry) -> tuple[str, str, str, int]:
    """Return what tells whether two entries under one key are the same object."""
    return entry.directory, entry.archived_name, entry.sha256, entry.size


def _stored(
    connection: Connection, rows: Sequence[Mapping[str, Any]]
) -> dict[tuple[str, str], tuple[str, str, str, int]]:
    """Return what now lies in the archive list under the buckets and keys of ``rows``."""
    stored: dict[tuple[str, str], tuple[str, str, str, int]] = {}
    for start in range(0, len(rows), _BATCH):
        batch = rows[start : start + _BATCH]
        statement = select(
            File.bucket, File.key, File.directory, File.archived_name, File.sha256, File.size
        ).where(
            File.bucket.in_({row["bucket"] for row in batch}),
            File.key.in_([row["key"] for row in batch]),
        )
        for row in connection.execute(statement):
            bucket, key, directory, archived_name, sha256, size = row
            stored[bucket, key] = (directory, archived_name, sha256, size)
    return stored
