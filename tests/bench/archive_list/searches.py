"""What people search in ten years of an archive list (``rows.py``), by kind."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from core.model import Order, SearchQuery

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

WORDS = tuple(
    query.words
    for kind in CLASSES
    for query in kind.queries
    if query.words and query == SearchQuery(query.words)
)
"""All that is typed into the search field and nowhere else."""
