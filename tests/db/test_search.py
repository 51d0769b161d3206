"""Searching the archive list: words, filters, pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from core.errors import ListError
from core.model import Entry, Order, SearchQuery
from core.paths.normalization import fold
from db import SqlCatalogue, open_catalogue
from db.connection.engine import make_engine, writing
from db.search.terms import block, grams
from tests.support.entries import DIRECTORY, WHEN, entry
from tests.support.servers.postgres import PostgresServer

ROWS = [
    entry("見積書 最終版.xlsx", request_id="REQ-10", requester="山田 花子"),
    entry("ミツモリ.txt", r"\\fsx01\share\営業部\2026年", request_id="REQ-11", requester="Sato"),
    entry("100%_確定.txt", r"\\fsx01\share\営業部_旧", request_id="req-10", requester="佐藤"),
    entry("100円確定.txt", r"\\fsx01\share\総務", requester="100%"),
    entry("入／出庫.csv", r"\\fsx01\share\総務\がぎぐ", requester="A_B"),
]
NAMES = [row.name for row in ROWS]


@pytest.fixture
def filled(catalogue: SqlCatalogue) -> SqlCatalogue:
    """An archive list with ``ROWS``, one archived every hour."""
    catalogue.add(
        [
            entry(
                row.name,
                row.directory,
                request_id=row.request_id,
                requester=row.requester,
                archived_at=WHEN + timedelta(hours=n),
                size=n,
            )
            for n, row in enumerate(ROWS)
        ]
    )
    return catalogue


@pytest.mark.parametrize(
    ("query", "hits"),
    [
        (SearchQuery(), [0, 1, 2, 3, 4]),
        (SearchQuery(words=" 　 "), [0, 1, 2, 3, 4]),
        # Words: all of them, anywhere, with kana, width and case alike
        (SearchQuery(words="見積"), [0]),
        (SearchQuery(words="みつもり"), [1]),
        (SearchQuery(words="ﾐﾂﾓﾘ"), [1]),
        (SearchQuery(words="営業　確定"), [2]),
        (SearchQuery(words="最終版 見積書"), [0]),
        (SearchQuery(words="ＸＬＳＸ"), [0]),
        (SearchQuery(words="ガギグ"), [4]),
        (SearchQuery(words="極秘"), []),
        (SearchQuery(words="見積 極秘"), []),
        # Signs that mean something in LIKE stand for themselves
        (SearchQuery(words="100%"), [2]),
        (SearchQuery(words="%"), [2]),
        (SearchQuery(words="_"), [2]),
        (SearchQuery(words="％＿"), [2]),
        (SearchQuery(words="入/出"), [4]),
        (SearchQuery(words="入／出"), [4]),
        # Pasted paths
        (SearchQuery(words=r"\\FSX01\share\営業部\2026年\ミツモリ.txt"), [1]),
        (SearchQuery(words="//fsx01/share/総務/"), [3, 4]),
        (SearchQuery(words=rf'"{DIRECTORY}\見積書 最終版.xlsx"'), [0]),
        (SearchQuery(words="ミツモリ.txt_archived.txt"), [1]),
        (SearchQuery(words="_archived.txt"), []),
        (SearchQuery(words=r"\\?\UNC\fsx01\share\総務\100円確定.txt_archived.txt"), [3]),
        (SearchQuery(words="￥￥fsx01￥share￥営業部￥2026年"), [1]),
        (SearchQuery(words="\u202a//fsx01/share/営業部_旧\u202c"), [2]),
        # Phrases
        (SearchQuery(words='"見積書　最終版"'), [0]),
        (SearchQuery(words='"最終版 見積書"'), []),
        (SearchQuery(words='確定 "営業部_旧"'), [2]),
        (SearchQuery(words='"100 確定'), [2, 3]),
        (SearchQuery(words="“見積書 最終版”"), [0]),
        (SearchQuery(words="「見積書 最終版」"), [0]),
        (SearchQuery(words="『最終版 見積書』"), []),
        (SearchQuery(words='" " ""'), [0, 1, 2, 3, 4]),
        # One letter
        (SearchQuery(words="2026"), [1]),
        (SearchQuery(words="円"), [3]),
        (SearchQuery(words="ｇ"), []),
        (SearchQuery(words="年 り"), [1]),
        (SearchQuery(words="/"), [0, 1, 2, 3, 4]),
        # Directory: itself and below, nothing beside
        (SearchQuery(directory=DIRECTORY), [0, 1]),
        (SearchQuery(directory=DIRECTORY + "\\"), [0, 1]),
        (SearchQuery(directory=" //ＦＳＸ01/SHARE/営業部// "), [0, 1]),
        (SearchQuery(directory=r"\\fsx01\share\営業部_旧"), [2]),
        (SearchQuery(directory=r"\\fsx01\share\営業部%"), []),
        (SearchQuery(directory=r"\\fsx01\share\総務\ガギグ"), [4]),
        (SearchQuery(directory=r"\\fsx01\share"), [0, 1, 2, 3, 4]),
        (SearchQuery(directory="fsx01\\share\\総務"), [3, 4]),
        (SearchQuery(directory="share"), []),
        (SearchQuery(directory=r"\\fsx01"), [0, 1, 2, 3, 4]),
        (SearchQuery(directory=r"\\fsx01\share\営業部", directory_only=True), [0]),
        (SearchQuery(directory=r"//FSX01/share/総務/", directory_only=True), [3]),
        (SearchQuery(directory=r"\\fsx01\share", directory_only=True), []),
        (SearchQuery(directory_only=True), [0, 1, 2, 3, 4]),
        # What it is
        (SearchQuery(file_types="txt"), [1, 2, 3]),
        (SearchQuery(file_types=" .XLSX、*.csv"), [0, 4]),
        (SearchQuery(file_types="lsx"), []),
        (SearchQuery(file_types=" , "), [0, 1, 2, 3, 4]),
        (SearchQuery(least_size=2), [2, 3, 4]),
        (SearchQuery(most_size=2), [0, 1, 2]),
        (SearchQuery(least_size=1, most_size=3), [1, 2, 3]),
        (SearchQuery(least_size=10**30), []),
        (SearchQuery(most_size=-1), []),
        # Who asked for it
        (SearchQuery(request_id=" REQ-10 "), [0, 2]),
        (SearchQuery(request_id="REQ-1"), [3, 4]),
        (SearchQuery(request_id="REQ"), []),
        (SearchQuery(requester="花子"), [0]),
        (SearchQuery(requester=" sATO"), [1]),
        (SearchQuery(requester="%"), [3]),
        (SearchQuery(requester="_"), [4]),
        # When
        (SearchQuery(since=WHEN + timedelta(hours=3)), [3, 4]),
        (SearchQuery(until=WHEN + timedelta(hours=3)), [0, 1, 2]),
        (SearchQuery(since=WHEN + timedelta(microseconds=1)), [1, 2, 3, 4]),
        # Together
        (SearchQuery(words="確定", directory=r"\\fsx01\share\総務"), [3]),
        (SearchQuery(words="o", requester="佐", since=WHEN, file_types="txt", least_size=1), []),
        (SearchQuery(words="0", requester="佐", since=WHEN, file_types="txt", least_size=1), [2]),
        (SearchQuery(words="確定", until=WHEN + timedelta(hours=3)), [2]),
    ],
)
def test_hits(filled: SqlCatalogue, query: SearchQuery, hits: list[int]) -> None:
    page = filled.search(query)
    assert [e.name for e in page.entries] == [NAMES[n] for n in reversed(hits)]
    assert page.total == len(hits)


def test_pages_are_disjoint_complete_and_newest_first(catalogue: SqlCatalogue) -> None:
    catalogue.add([entry(f"{n:02}.txt") for n in range(25)])
    pages = [catalogue.search(SearchQuery(), page=n, per_page=10) for n in (1, 2, 3, 4)]
    assert [page.total for page in pages] == [25] * 4
    assert [len(page.entries) for page in pages] == [10, 10, 5, 0]
    names = [e.name for page in pages for e in page.entries]
    assert names == [f"{n:02}.txt" for n in reversed(range(25))]
    assert catalogue.search(SearchQuery(), page=0, per_page=10) == pages[0]
    assert catalogue.search(SearchQuery(), page=10**30).entries == ()


# Orders, filters and pages against a plain model

NAMES_OF: dict[Order, Callable[[Entry], tuple[Any, ...]]] = {
    Order.DATE: lambda e: (e.archived_at,),
    Order.PATH: lambda e: (e.search_key,),
    Order.NAME: lambda e: (e.search_key.rpartition("\\")[2], e.search_key),
    Order.SIZE: lambda e: (e.size, e.search_key),
}
"""What each order compares, before the serial key."""


def model(rows: Sequence[Entry], query: SearchQuery) -> list[Entry]:
    """Return the hits of a search as its description says it, for words without signs."""
    below = fold(query.directory) + "\\"
    types = tuple(f".{each}" for each in query.file_types.split())
    hits = [
        row
        for row in rows
        if all(fold(word) in row.search_key for word in query.words.split())
        and (not query.directory or row.search_key.startswith(below))
        and (not (query.directory and query.directory_only) or row.directory == query.directory)
        and query.request_id.lower() in ("", row.request_id.lower())
        and query.requester.lower() in row.requester.lower()
        and (query.since is None or row.archived_at >= query.since)
        and (query.until is None or row.archived_at < query.until)
        and (not types or row.search_key.endswith(types))
        and (query.least_size is None or row.size >= query.least_size)
        and (query.most_size is None or row.size <= query.most_size)
    ]
    key = NAMES_OF[query.order]
    return sorted(hits, key=lambda row: (*key(row), row.id), reverse=query.descending)


DIRECTORIES = [
    r"\\fsx01\share\営業",
    r"\\fsx01\share\営業\見積",
    r"\\fsx01\share\総務",
    r"\\b\営業",
]
PEOPLE = ["山田 花子", "Sato", ""]
HOURS = st.integers(0, 5).map(lambda hours: WHEN + timedelta(hours=hours))
ENTRIES = st.builds(
    lambda name, directory, when, number, who, size: entry(
        f"{name}{number}.{'xlsx' if size % 2 else 'txt'}",
        directory,
        archived_at=when,
        request_id=f"REQ-{number % 3}",
        requester=who,
        size=size,
    ),
    st.text("見積書カｶ営業A_2", max_size=4),
    st.sampled_from(DIRECTORIES),
    HOURS,
    st.integers(0, 999),
    st.sampled_from(PEOPLE),
    st.integers(0, 9) | st.integers(0, 2**62),
)
QUERIES = st.builds(
    SearchQuery,
    words=st.lists(st.text("見積書かカ営業ａA_2.", max_size=3), max_size=3).map(" ".join),
    directory=st.sampled_from(["", *DIRECTORIES]),
    request_id=st.sampled_from(["", "", "req-1", "REQ"]),
    requester=st.sampled_from(["", "", "山", "田 花", "sATO", "無"]),
    since=st.none() | HOURS,
    until=st.none() | HOURS,
    directory_only=st.booleans(),
    file_types=st.sampled_from(["", "", "xlsx", "txt xlsx", "pdf"]),
    least_size=st.none() | st.integers(0, 9),
    most_size=st.none() | st.integers(0, 9) | st.integers(0, 2**62),
    order=st.sampled_from(Order),
    descending=st.booleans(),
)


@pytest.fixture
def far_apart(catalogue: SqlCatalogue, database_url: str) -> Callable[[], None]:
    """Lets the next row on PostgreSQL begin a further block, and the index alone answer."""
    engine = make_engine(database_url)
    if engine.dialect.name == "sqlite":
        return lambda: None

    def leap() -> None:
        with engine.begin() as connection:
            connection.execute(
                text("SELECT setval('archive_list_id_seq', nextval('archive_list_id_seq') + 32768)")
            )
        engine.dispose()

    return leap


@example(
    batches=[[entry("b.txt"), entry("a.txt")], [entry("c.txt")]],
    queries=[SearchQuery(order=order, descending=False) for order in Order],
    per_page=2,
)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batches=st.lists(st.lists(ENTRIES, max_size=6, unique_by=lambda e: e.key), max_size=5),
    queries=st.lists(QUERIES, min_size=1, max_size=3),
    per_page=st.integers(1, 5),
)
def test_any_search_finds_what_the_model_does(
    catalogue: SqlCatalogue,
    database_url: str,
    far_apart: Callable[[], None],
    batches: list[list[Entry]],
    queries: list[SearchQuery],
    per_page: int,
) -> None:
    """Each batch in a block of its own, so that times and serial keys go criss-cross."""
    engine = make_engine(database_url)
    with writing(engine).begin() as connection:
        connection.execute(text("DELETE FROM archive_list"))
    for number, batch in enumerate(batches):
        catalogue.add([replace(row, bucket=f"bucket-{number}") for row in batch])
        far_apart()
    rows = catalogue.search(SearchQuery(), per_page=1000).entries
    fresh = SqlCatalogue(engine)
    for query in queries:
        hits = model(rows, query)
        pages = [
            fresh.search(query, page=number, per_page=per_page).entries
            for number in range(1, len(hits) // per_page + 2)
        ]
        assert [row for page in pages for row in page] == hits
        assert fresh.search(query, per_page=per_page).total == len(hits)
        # Without the pages before it, as when an address is sent by mail.
        last = max(1, -(-len(hits) // per_page))
        mailed = SqlCatalogue(engine).search(query, page=last, per_page=per_page)
        assert mailed.entries == pages[last - 1]
    fresh.close()


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_what_would_take_too_long_is_said_instead(
    catalogue: SqlCatalogue,
    database_url: str,
    far_apart: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("db.search.indexed.MAX_COUNTED", 5)
    monkeypatch.setattr("db.search.indexed.MAX_SORTED", 5)
    monkeypatch.setattr("db.search.block_walk.FIRST_ROWS", 2)
    rows = [entry(f"見積{n}.txt", archived_at=WHEN + timedelta(hours=n)) for n in range(9)]
    for start in (0, 3, 6):
        catalogue.add(rows[start : start + 3])
        far_apart()

    def found(query: SearchQuery, page: int) -> tuple[list[int], int, bool]:
        shown = catalogue.search(query, page=page, per_page=3)
        return [int(e.name[2]) for e in shown.entries], shown.total, shown.over

    for query in (SearchQuery(), SearchQuery(words="見積")):
        assert found(query, 1) == ([8, 7, 6], 5, True)
        assert found(query, 2) == ([5, 4, 3], 7, True)
        assert found(query, 3) == ([2, 1, 0], 9, True)
        assert found(query, 4) == ([], 5, True)
        mailed = open_catalogue(database_url)
        page = mailed.search(query, page=3, per_page=3)
        assert ([int(e.name[2]) for e in page.entries], page.total) == ([2, 1, 0], 9)
        mailed.close()
    few = SearchQuery(words="見積", since=rows[4].archived_at)
    assert found(few, 1) == ([8, 7, 6], 5, False)
    by_name = replace(SearchQuery(words="見積"), order=Order.NAME, descending=False)
    page = catalogue.search(by_name, per_page=3)
    assert (page.unsorted, [int(e.name[2]) for e in page.entries]) == (True, [8, 7, 6])
    page = catalogue.search(replace(by_name, since=rows[4].archived_at), per_page=3)
    assert (page.unsorted, [int(e.name[2]) for e in page.entries]) == (False, [4, 5, 6])


@pytest.mark.parametrize("key", ["", "2", "見積2026_0012", "\\\\fsx01\\総務\\🗻ｶﾞ.tar.gz", "9" * 9])
def test_the_index_knows_the_terms_that_are_asked_for(
    postgres: PostgresServer, migrated_postgres_url: str, key: str
) -> None:
    database = migrated_postgres_url.rpartition("/")[2].split("?")[0]
    statement = f"SELECT himuro_terms(65537, 'd', '{key}', 'r', '', 1023)"
    ((known,),) = postgres.execute(statement, database)
    assert isinstance(known, list)
    assert {*grams(key), block(2), 1 << 61 | 10} <= set(known)


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_turning_pages_shows_no_row_twice(catalogue: SqlCatalogue) -> None:
    rows = [entry(f"{n}.txt", archived_at=WHEN + timedelta(hours=n)) for n in range(6)]
    catalogue.add(rows[:4])
    query = SearchQuery(words="txt")
    assert [e.name for e in catalogue.search(query, per_page=2).entries] == ["3.txt", "2.txt"]
    catalogue.add(rows[4:])
    page = catalogue.search(query, page=2, per_page=2)
    assert ([e.name for e in page.entries], page.total) == (["1.txt", "0.txt"], 6)


@pytest.mark.parametrize("letter", ["q ", "q", "\ufdfa", "％"])
def test_the_longest_search_is_answered_and_a_longer_one_refused(
    filled: SqlCatalogue, letter: str
) -> None:
    longest = (letter * 1200)[:1200]
    assert filled.search(SearchQuery(words=longest)).total == 0
    with pytest.raises(ListError, match="1,200"):
        filled.search(SearchQuery(words=longest + "a"))


def test_as_many_file_types_as_are_searched_for_and_one_more(filled: SqlCatalogue) -> None:
    most = ["txt", *(f"x{number}" for number in range(99))]
    longest = SearchQuery(words="/ " * 600, file_types=",".join(most))
    assert filled.search(replace(longest, words="")).total == 3
    assert filled.search(longest).total == 3
    with pytest.raises(ListError, match="100個"):
        filled.search(SearchQuery(file_types=",".join([*most, "y"])))


@pytest.fixture
def opened_twice(database_url: str) -> Iterator[tuple[SqlCatalogue, SqlCatalogue]]:
    both = open_catalogue(database_url), open_catalogue(database_url)
    yield both
    for catalogue in both:
        catalogue.close()


def test_another_process_sees_a_row_at_once(
    opened_twice: tuple[SqlCatalogue, SqlCatalogue],
) -> None:
    writer, reader = opened_twice
    assert reader.search(SearchQuery()).total == 0
    writer.add([entry("a.txt")])
    assert reader.search(SearchQuery()).total == 1
