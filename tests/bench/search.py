"""Searching ten years of an archive list: our search, beside plain ``ILIKE``, in one run."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from alembic import command
from sqlalchemy import Connection, make_url, text
from sqlalchemy.exc import DBAPIError

from core.model import Entry, Order, SearchQuery
from db import SqlCatalogue, open_catalogue
from db.columns import NAMES
from db.engine import make_engine, writing
from db.schema import alembic_config, upgrade
from tests.bench.report import Row, note
from tests.bench.rows import archived
from tests.postgres import PostgresServer, postgres_server

ROWS = int(os.environ.get("HIMURO_BENCH_ROWS", "2400000"))
SQLITE_ROWS = 100_000
NEW_ROWS = 20_000
BATCH = 200
"""Rows of one transaction, as a run commits them."""
LEAST_RATE = 5_000
P95_MS, MOST_MS = 100, 300
DEEP = 1_000
_TIMEOUT_MS = 10_000
_SERVER = {"shared_buffers": "1GB", "max_wal_size": "4GB"}
"""What a server of this size is given at least; the rest is as PostgreSQL comes."""

_MONTH = (datetime(2030, 1, 1, tzinfo=UTC), datetime(2030, 2, 1, tzinfo=UTC))
_BELOW = r"\\fsx01\share\営業部"
_PATH = _BELOW + "\\2022年度\\検査成績書\\コピー ～ 契約書_銀木様_old_0.xlsx"


@dataclass(frozen=True, slots=True)
class Class:
    """Searches of one kind."""

    name: str
    queries: tuple[SearchQuery, ...]


def _words(name: str, *texts: str) -> Class:
    return Class(name, tuple(SearchQuery(words=text) for text in texts))


CLASSES = (
    Class("nothing asked", (SearchQuery(),)),
    _words("1 letter, common", "の", "部", "x", "3"),
    _words("1 letter, rare or absent", "髙", "ぬ", "q", "鬱"),
    _words("2 letters, common", "見積", "契約", "経理", "営業"),
    _words("2 letters, rare or absent", "銀木", "極秘", "千浦", "機密"),
    _words("3+ letters, common", "請求書", "年度", "システム", "xlsx"),
    _words("3+ letters, rare or absent", "銀木様", "経理部契約", "20149999", "img_12345", "4711"),
    _words("words together", "議事録 様", "議事録 _v3", "会 社 様", "見積 2030", '"様 見積"'),
    _words("words that never meet", "営業 経理", "img スキャン", "営業 経理 総務", "2023 2019年"),
    _words("a pasted path", _PATH, f'"{_PATH}"', _BELOW, "//fsx01/share/経理部/2021年度/写真"),
    Class(
        "words in a month",
        tuple(
            SearchQuery(words=text, since=_MONTH[0], until=_MONTH[1])
            for text in ("", "見積", "銀木", "極秘", "の")
        ),
    ),
    Class(
        "request, requester",
        (
            SearchQuery(request_id="REQ-203001-06786"),
            SearchQuery(requester="花子"),
            SearchQuery(requester="高倉"),
            SearchQuery(words="見積", requester="山田 花子"),
            SearchQuery(words="銀木", requester="髙"),
        ),
    ),
    Class(
        "directory, type, size",
        (
            SearchQuery(directory=_BELOW),
            SearchQuery(directory=_BELOW, directory_only=True),
            SearchQuery(words="見積", directory=_BELOW),
            SearchQuery(file_types="tif"),
            SearchQuery(words="見積", file_types="xls zip"),
            SearchQuery(least_size=10**8),
            SearchQuery(words="経理", least_size=10**8),
        ),
    ),
    Class(
        "other orders",
        (
            SearchQuery(words="銀木", order=Order.NAME),
            SearchQuery(words="銀木", order=Order.SIZE),
            SearchQuery(words="見積", order=Order.PATH, descending=False),
            SearchQuery(words="見積", descending=False),
        ),
    ),
)


def search(directory: Path, rounds: int) -> list[Row]:
    """First pages, deep pages and inserting on PostgreSQL; the same searches with ILIKE; SQLite."""
    with postgres_server(_SERVER, _with_trigrams()) as server:
        url = server.url(server.create())
        database = make_url(url).database or ""
        _fill(url)
        begin = time.perf_counter()
        upgrade(url)
        note(f"search, upgrade of {ROWS:,} rows: {time.perf_counter() - begin:.0f} s")
        server.execute("VACUUM ANALYZE archive_list", database)
        version = server.execute("SHOW server_version")
        size = server.execute("SELECT pg_size_pretty(pg_indexes_size('archive_list'))", database)
        catalogue = open_catalogue(url)
        part = f"search {ROWS:,}"
        rows = [
            Row(part, f"PostgreSQL {version[0][0]}, all indexes together", str(size[0][0])),
            *_first_pages(catalogue, rounds, part),
            *_deep_pages(catalogue, url, rounds, part),
            *_inserting(catalogue, rounds, part),
            *_plain(server, url, part),
        ]
        catalogue.close()
    return rows + _sqlite(directory, rounds)


def _with_trigrams() -> Path | None:
    """Return the programs of a Debian PostgreSQL that comes with pg_trgm; None: there is none."""
    found = sorted(Path("/usr/share/postgresql").glob("*/extension/pg_trgm.control"))
    if not found:
        return None
    return Path("/usr/lib/postgresql") / found[-1].parent.parent.name / "bin"


def _fill(url: str) -> None:
    """Load the rows into the first schema, which ``upgrade`` then brings up to date."""
    engine = make_engine(url, migrating=True)
    with writing(engine).begin() as connection:
        command.upgrade(alembic_config(connection), "0001")
        names = ", ".join(f'"{name}"' for name in NAMES.values())
        begin = time.perf_counter()
        psycopg2: Any = connection.connection
        with psycopg2.cursor() as cursor:
            lines = _Lines(map(_line, archived(ROWS)))
            cursor.copy_expert(f"COPY archive_list ({names}) FROM STDIN", lines, 1 << 20)
        note(f"search, {ROWS:,} rows loaded: {time.perf_counter() - begin:.0f} s")
    engine.dispose()


class _Lines:
    """Lines as a file for COPY."""

    def __init__(self, lines: Iterator[bytes]) -> None:
        self._lines = lines
        self._rest = b""

    def read(self, size: int) -> bytes:
        while len(self._rest) < size and (more := b"".join(islice(self._lines, 2000))):
            self._rest += more
        data, self._rest = self._rest[:size], self._rest[size:]
        return data


def _line(entry: Entry) -> bytes:
    values = (getattr(entry, name) for name in NAMES)
    return ("\t".join(map(_cell, values)) + "\n").encode()


def _cell(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value).replace("\\", "\\\\") or "\\N"


def _first_pages(catalogue: SqlCatalogue, rounds: int, part: str) -> list[Row]:
    """Return a line for each class of searches, and the targets."""
    catalogue.search(SearchQuery(words="準備"))
    rows, every = [], []
    for kind in CLASSES:
        taken = _taken([partial(catalogue.search, query) for query in kind.queries], rounds)
        every += taken
        rows.append(_line_of(part, kind.name, taken))
    p95, most = _percentile(every), max(every)
    return [
        *rows,
        Row(part, f"95 of 100 first pages within {P95_MS} ms", f"{p95:.0f} ms", p95 <= P95_MS),
        Row(part, f"none over {MOST_MS} ms", f"{most:.0f} ms", most <= MOST_MS),
    ]


def _deep_pages(catalogue: SqlCatalogue, url: str, rounds: int, part: str) -> list[Row]:
    """Return lines for page 1,000, come to page by page and straight from an address."""
    rows = []
    for query in (SearchQuery(), SearchQuery(words="見積")):
        what = f"page {DEEP:,} of {query.words or 'all rows'}"
        straight = [_straight(url, query) for _ in range(3)]
        catalogue.search(query, page=DEEP - 1)
        turned = _taken([partial(catalogue.search, query, page=DEEP)], rounds * 3)
        rows.append(_line_of(part, f"{what}, after the one before", turned))
        rows.append(_line_of(part, f"{what}, straight", straight))
        rows.append(Row(part, f"within {MOST_MS} ms", "", max(turned) <= MOST_MS))
    return rows


def _straight(url: str, query: SearchQuery) -> float:
    """Return the milliseconds of page ``DEEP`` for somebody who saw no page before it."""
    catalogue = open_catalogue(url)
    catalogue.search(SearchQuery(words="準備"))
    (taken,) = _taken([partial(catalogue.search, query, page=DEEP)], 1)
    catalogue.close()
    return taken


def _inserting(catalogue: SqlCatalogue, rounds: int, part: str) -> list[Row]:
    rates = []
    for round_ in range(rounds):
        new = [replace(e, bucket=f"new-{round_}") for e in archived(NEW_ROWS, seed=round_ + 2)]
        begin = time.perf_counter()
        for start in range(0, NEW_ROWS, BATCH):
            catalogue.add(new[start : start + BATCH])
        rates.append(NEW_ROWS / (time.perf_counter() - begin))
    rate = statistics.median(rates)
    spread = " / ".join(f"{rate:,.0f}" for rate in rates)
    what = f"rows stored, {BATCH} a transaction: {LEAST_RATE:,} rows/s or more"
    return [Row(part, what, f"{rate:,.0f} rows/s", rate >= LEAST_RATE, spread)]


def _plain(server: PostgresServer, url: str, part: str) -> list[Row]:
    """Return lines for the words with ILIKE, newest first, and the count of all hits.

    With pg_trgm where the server has it, as people index such a column usually.
    """
    database = make_url(url).database or ""
    there = server.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'pg_trgm'")
    name = "ILIKE + pg_trgm" if there else "ILIKE, no pg_trgm here"
    if there:
        server.execute("CREATE EXTENSION pg_trgm", database)
        columns = '"ディレクトリパス" gin_trgm_ops, "アーカイブファイル名" gin_trgm_ops'
        server.execute(f"CREATE INDEX plain ON archive_list USING gin ({columns})", database)
        server.execute("VACUUM ANALYZE archive_list", database)
    rows = []
    engine = make_engine(url)
    with engine.connect() as connection:
        for kind in CLASSES:
            words = [query.words for query in kind.queries if query == SearchQuery(query.words)]
            taken = _taken([partial(_ilike, connection, each) for each in words if each], 1)
            if taken:
                rows.append(_line_of(part, f"{name}: {kind.name}", taken))
    engine.dispose()
    return rows


def _ilike(connection: Connection, words: str) -> None:
    """Read the newest hundred rows with all words and count all of them, at most
    ``_TIMEOUT_MS`` each."""
    patterns = {f"word{n}": f"%{_literal(word)}%" for n, word in enumerate(words.split())}
    where = " AND ".join(
        f'("ディレクトリパス" ILIKE :{name} OR "アーカイブファイル名" ILIKE :{name})'
        for name in patterns
    )
    for what in (
        f'SELECT * FROM archive_list WHERE {where} ORDER BY "アーカイブ日時" DESC LIMIT 100',
        f"SELECT count(*) FROM archive_list WHERE {where}",
    ):
        with connection.begin(), suppress(DBAPIError):
            connection.execute(text(f"SET LOCAL statement_timeout = {_TIMEOUT_MS}"))
            connection.execute(text(what), patterns).all()


def _literal(word: str) -> str:
    for sign in ("\\", "%", "_"):
        word = word.replace(sign, "\\" + sign)
    return word


def _sqlite(directory: Path, rounds: int) -> list[Row]:
    part = f"search {SQLITE_ROWS:,}, SQLite"
    url = f"sqlite:///{directory / 'catalogue.db'}"
    upgrade(url)
    catalogue = open_catalogue(url)
    rows = iter(archived(SQLITE_ROWS))
    while batch := list(islice(rows, 5000)):
        catalogue.add(batch)
    taken = [
        _taken([partial(catalogue.search, query) for query in kind.queries], rounds)
        for kind in CLASSES
    ]
    lines = [_line_of(part, k.name, times) for k, times in zip(CLASSES, taken, strict=True)]
    most = max(max(times) for times in taken)
    catalogue.close()
    return [*lines, Row(part, f"none over {MOST_MS} ms", f"{most:.0f} ms", most <= MOST_MS)]


def _taken(calls: list[Callable[[], object]], rounds: int) -> list[float]:
    """Return the milliseconds of every call, each made once a round."""
    found = []
    for _ in range(rounds):
        for call in calls:
            begin = time.perf_counter()
            call()
            found.append((time.perf_counter() - begin) * 1000)
    return found


def _percentile(taken: list[float]) -> float:
    """Return what 95 of 100 are below."""
    return statistics.quantiles(taken, n=20, method="inclusive")[-1] if taken[1:] else taken[0]


def _line_of(part: str, what: str, taken: list[float]) -> Row:
    note(f"{part}, {what}: {_percentile(taken):.0f} ms, {max(taken):.0f} ms")
    spread = f"median {statistics.median(taken):.0f}, most {max(taken):.0f} ms"
    return Row(part, what, f"p95 {_percentile(taken):.0f} ms", rounds=spread)
