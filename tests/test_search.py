"""Searching the archive list: words, filters, pages."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from core.errors import ListError
from core.model import SearchQuery
from db import SqlCatalogue, open_catalogue
from tests.entries import DIRECTORY, WHEN, entry

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


@pytest.mark.parametrize("letter", ["q ", "q", "\ufdfa", "％"])
def test_the_longest_search_is_answered_and_a_longer_one_refused(
    filled: SqlCatalogue, letter: str
) -> None:
    longest = (letter * 1200)[:1200]
    assert filled.search(SearchQuery(words=longest)).total == 0
    with pytest.raises(ListError, match="1,200"):
        filled.search(SearchQuery(words=longest + "a"))


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
