"""Searching ten years of an archive list: our search, beside plain ``ILIKE``, in one run."""

from __future__ import annotations

import statistics
import time
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

from core.model import SearchQuery
from db import SqlCatalogue, open_catalogue
from db.schema import upgrade
from tests.bench.archive_list.big import ROWS, BigList
from tests.bench.archive_list.ilike import plain
from tests.bench.archive_list.rows import archived
from tests.bench.archive_list.searches import CLASSES
from tests.bench.measure import milliseconds, p95
from tests.bench.report import Row

SQLITE_ROWS = 100_000
NEW_ROWS = 20_000
BATCH = 200
"""Rows of one transaction, as a run commits them."""
LEAST_RATE = 5_000
P95_MS, MAX_MS = 100, 300
DEEP = 1_000


def search(big: BigList, directory: Path, rounds: int) -> list[Row]:
    """First pages, deep pages and inserting on PostgreSQL; the same searches with ILIKE; SQLite.

    Adds rows and an index to the list.
    """
    version = big.server.execute("SHOW server_version")
    size = big.server.execute(
        "SELECT pg_size_pretty(pg_indexes_size('archive_list'))", big.database
    )
    catalogue = open_catalogue(big.url)
    part = f"search {ROWS:,}"
    rows = [
        Row(part, f"PostgreSQL {version[0][0]}, all indexes together", str(size[0][0])),
        *_first_pages(catalogue, rounds, part),
        *_deep_pages(catalogue, big.url, rounds, part),
        *_inserting(catalogue, rounds, part),
    ]
    catalogue.close()
    return rows + plain(big, part) + _sqlite(directory, rounds)


def _first_pages(catalogue: SqlCatalogue, rounds: int, part: str) -> list[Row]:
    """Return a line for each class of searches, and the targets."""
    catalogue.search(SearchQuery(words="準備"))
    rows, every = [], []
    for kind in CLASSES:
        taken = milliseconds([partial(catalogue.search, query) for query in kind.queries], rounds)
        every += taken
        rows.append(Row.times(part, kind.name, taken))
    usual, most = p95(every), max(every)
    return [
        *rows,
        Row(part, f"95 of 100 first pages within {P95_MS} ms", f"{usual:.0f} ms", usual <= P95_MS),
        Row(part, f"none over {MAX_MS} ms", f"{most:.0f} ms", most <= MAX_MS),
    ]


def _deep_pages(catalogue: SqlCatalogue, url: str, rounds: int, part: str) -> list[Row]:
    """Return lines for page 1,000, come to page by page and straight from an address."""
    rows = []
    for query in (SearchQuery(), SearchQuery(words="見積")):
        what = f"page {DEEP:,} of {query.words or 'all rows'}"
        straight = [_straight(url, query) for _ in range(3)]
        catalogue.search(query, page=DEEP - 1)
        turned = milliseconds([partial(catalogue.search, query, page=DEEP)], rounds * 3)
        rows.append(Row.times(part, f"{what}, after the one before", turned))
        rows.append(Row.times(part, f"{what}, straight", straight))
        rows.append(Row(part, f"within {MAX_MS} ms", "", max(turned) <= MAX_MS))
    return rows


def _straight(url: str, query: SearchQuery) -> float:
    """Return the milliseconds of page ``DEEP`` for somebody who saw no page before it."""
    catalogue = open_catalogue(url)
    catalogue.search(SearchQuery(words="準備"))
    (taken,) = milliseconds([partial(catalogue.search, query, page=DEEP)], 1)
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


def _sqlite(directory: Path, rounds: int) -> list[Row]:
    part = f"search {SQLITE_ROWS:,}, SQLite"
    url = f"sqlite:///{directory / 'catalogue.db'}"
    upgrade(url)
    catalogue = open_catalogue(url)
    rows = iter(archived(SQLITE_ROWS))
    while batch := list(islice(rows, 5000)):
        catalogue.add(batch)
    taken = [
        milliseconds([partial(catalogue.search, query) for query in kind.queries], rounds)
        for kind in CLASSES
    ]
    lines = [Row.times(part, k.name, times) for k, times in zip(CLASSES, taken, strict=True)]
    most = max(max(times) for times in taken)
    catalogue.close()
    return [*lines, Row(part, f"none over {MAX_MS} ms", f"{most:.0f} ms", most <= MAX_MS)]
