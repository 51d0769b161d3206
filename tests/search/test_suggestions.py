"""What to try when a search finds nothing."""

from __future__ import annotations

from datetime import date
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ListError
from core.model import SearchPage, SearchQuery
from core.search.spelling_variants import near
from core.search.suggestions import MAX_SEARCHES, Advice, advise
from core.search.typed_query import TypedQuery
from tests.support.entries import entry
from tests.support.fakes import MemoryCatalogue

TOKYO = ZoneInfo("Asia/Tokyo")
TODAY = date(2026, 11, 23)


class Counting(MemoryCatalogue):
    searches = 0

    def search(self, query: SearchQuery, *, page: int = 1, per_page: int = 100) -> SearchPage:
        self.searches += 1
        return super().search(query, page=page, per_page=per_page)


def advice(typed: TypedQuery, *names: str) -> Advice:
    catalogue = Counting()
    catalogue.add([entry(name) for name in names])
    given = advise(catalogue, typed, TOKYO, TODAY, clock=lambda: 0.0)
    assert catalogue.searches <= MAX_SEARCHES
    return given


def words(typed: str, *names: str) -> tuple[tuple[str, ...], list[tuple[str, int]]]:
    """Return the words that occur nowhere, and the words that are suggested with their hits."""
    found = advice(TypedQuery(typed), *names)
    return found.absent, [(hint.typed.words, hint.hits) for hint in found.hints]


def test_a_word_that_occurs_nowhere_is_named_and_left_out() -> None:
    absent, hints = words("見積 zzz", "見積1.txt", "見積2.txt")
    assert absent == ("zzz",)
    assert hints == [("見積", 2)]


def test_words_that_never_meet_are_left_out_one_by_one() -> None:
    absent, hints = words("見積 契約", "見積1.txt", "見積2.txt", "契約.txt")
    assert absent == ()
    assert hints == [("契約", 1), ("見積", 2)]


@pytest.mark.parametrize(
    ("typed", "others"),
    [("サーバー", ["サーバ", "サー", "バー"]),
     ("齋藤様", ["斉藤様", "斎藤様", "齊藤様", "齋藤", "藤様"]),
     ("見積り書", ["見積書", "見積 り 書", "見積り", "見積", "り書"]),
     ("ヴァイオリン", ["バイオリン", "ヴァイオリ", "ヴァイ", "オリン"]),
     ("議事録2026", ["議事録 2026", "議事録202", "議事録2", "2026", "議事録"]),
     (r"\\fsx01\share\営業 部\a.txt", ['"a.txt"', r'"\\fsx01\share\営業 部"']),
     (r'"\\fsx01\share\営業部\"', ['"営業部"', r'"\\fsx01\share"']),
     ("//fsx01/share/a.txt", ['"a.txt"', r'"\\fsx01\share"']), ("一", []), ("zz", [])],
)  # fmt: skip
def test_other_spellings(typed: str, others: list[str]) -> None:
    assert list(near(typed)) == others


def test_a_spelling_that_finds_something_is_suggested() -> None:
    assert words("サーバー", "サーバ1.txt", "サーバ2.txt") == (("サーバー",), [("サーバ", 2)])


class Limited(Counting):
    """A database that takes no longer words than this."""

    def search(self, query: SearchQuery, *, page: int = 1, per_page: int = 100) -> SearchPage:
        if len(query.words) > 6:
            raise ListError("検索語が長すぎます。")
        return super().search(query, page=page, per_page=per_page)


def test_a_spelling_that_is_too_long_is_passed_over() -> None:
    catalogue = Limited()
    catalogue.add([entry("見積.txt")])
    assert "見積 り 見積 り" in near("見積り見積り")
    found = advise(catalogue, TypedQuery("見積り見積り"), TOKYO, TODAY, clock=lambda: 0.0)
    assert [hint.typed.words for hint in found.hints] == ["見積"]


@pytest.mark.parametrize(("requester", "too"), [("", ""), ("佐藤", "、絞り込みもやめる")])
def test_what_is_left_out_is_said(requester: str, too: str) -> None:
    found = advice(TypedQuery("見積 サーバー", requester=requester), "見積.txt", "見積サーバ.txt")
    assert [(hint.said, hint.typed) for hint in found.hints] == [
        (f"サーバー をやめる{too}", TypedQuery("見積")),
        (f"サーバー の代わりに サーバ{too}", TypedQuery("見積 サーバ")),
    ]


def test_nothing_is_like_it() -> None:
    assert words("zzz", "見積.txt") == (("zzz",), [])


def test_searches_end_when_time_is_over() -> None:
    catalogue, times = Counting(), iter([0.0, 0.1, *[9.0] * 99])
    advise(catalogue, TypedQuery("a1 b2 c3"), TOKYO, TODAY, clock=lambda: next(times))
    assert catalogue.searches == 1


@given(st.text())
def test_near_words_are_words(word: str) -> None:
    for other in near(word):
        assert len(other.strip('"')) > 1
        assert other != word


@given(st.text(max_size=80), st.text(max_size=9), st.booleans())
def test_never_more_than_a_few_searches(typed: str, requester: str, last_month: bool) -> None:
    advice(TypedQuery(typed, requester=requester, last_month=last_month))
