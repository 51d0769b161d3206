"""A search as people type it, before any database."""

from __future__ import annotations

import contextlib
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ListError
from core.model import Order, SearchQuery
from core.search.typed_query import TypedQuery, last_month, read_day, size_in_bytes

TOKYO = ZoneInfo("Asia/Tokyo")
TODAY = date(2026, 3, 31)


def query(**typed: object) -> SearchQuery:
    return TypedQuery(**typed).query(TOKYO, TODAY)  # type: ignore[arg-type]


def test_nothing_typed_restricts_nothing() -> None:
    assert query() == SearchQuery()


def test_every_field_arrives() -> None:
    found = query(
        words="見積 A社", directory=r"\\fsx01\share", directory_only=True, request_id="REQ-1",
        requester="山田", file_types="xlsx, pdf", least_size="1KB", most_size="2 mb",
        order=Order.SIZE, descending=False,
    )  # fmt: skip
    assert found == SearchQuery(
        words="見積 A社", directory=r"\\fsx01\share", directory_only=True, request_id="REQ-1",
        requester="山田", file_types="xlsx, pdf", least_size=1024, most_size=2 * 1024 * 1024,
        order=Order.SIZE, descending=False,
    )  # fmt: skip


def test_days_are_those_of_the_time_zone_and_the_last_one_is_included() -> None:
    found = query(first="2026-10-05", last="2026-10-05")
    assert found.since == datetime(2026, 10, 4, 15, tzinfo=UTC)
    assert found.until == datetime(2026, 10, 5, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("today", "first", "last"),
    [("2026-03-31", "2026-02-01", "2026-02-28"), ("2028-03-01", "2028-02-01", "2028-02-29"),
     ("2026-01-01", "2025-12-01", "2025-12-31")],
)  # fmt: skip
def test_last_month(today: str, first: str, last: str) -> None:
    assert [d.isoformat() for d in last_month(date.fromisoformat(today))] == [first, last]


def test_last_month_stands_instead_of_days() -> None:
    found = query(first="きのう", last_month=True)
    assert found.since == datetime(2026, 2, 1, tzinfo=TOKYO)
    assert found.until == datetime(2026, 3, 1, tzinfo=TOKYO)


@pytest.mark.parametrize(
    "text",
    [
        "2026-10-05",
        "2026/10/5",
        "２０２６／１０／０５",
        "2026.10.05",
        " 20261005 ",
        "2026年10月5日",
    ],
)
def test_days_as_people_write_them(text: str) -> None:
    assert read_day(text) == date(2026, 10, 5)


@pytest.mark.parametrize(
    "text", ["きのう", "2026-13-01", "2026-02-30", "1969-12-31", "9999-12-31", "2026-10/05", "10-5"]
)
def test_what_is_no_day(text: str) -> None:
    with pytest.raises(ListError, match="2026-10-05 の形"):
        read_day(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [("", None), (" ", None), ("0", 0), ("500", 500), ("1,024", 1024), ("10MB", 10 * 1024**2),
     ("１０ＭＢ", 10 * 1024**2), ("1.5 k", 1536), ("2GiB", 2 * 1024**3), ("3t", 3 * 1024**4),
     ("500バイト", 500), ("10㎆", 10 * 1024**2)],
)  # fmt: skip
def test_sizes_as_people_write_them(text: str, size: int | None) -> None:
    assert size_in_bytes(text) == size


@pytest.mark.parametrize("text", ["大きい", "-1", "10XB", "1..5", "MB", "1e9", "9" * 16])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ListError, match="10MB の形"):
        size_in_bytes(text)


def test_everything_that_makes_no_sense_is_said_at_once() -> None:
    with pytest.raises(ListError) as caught:
        query(first="きのう", last="あした", least_size="大", most_size="小")
    said = str(caught.value).splitlines()
    assert len(said) == 4
    assert all(text in line for text, line in zip("きあ大小", said, strict=True))


def test_bounds_that_cross() -> None:
    with pytest.raises(ListError, match=r"2026-10-06.*2026-10-05.*後"):
        query(first="2026-10-06", last="2026-10-05")
    with pytest.raises(ListError, match=r"11MB.*10MB.*大きく"):
        query(least_size="11MB", most_size="10MB")
    assert query(least_size="10MB", most_size="10MB").least_size == 10 * 1024**2


@given(
    st.builds(
        TypedQuery,
        first=st.text(),
        last=st.text(),
        least_size=st.text(),
        most_size=st.text(),
        last_month=st.booleans(),
    )
)
def test_whatever_is_typed_is_understood_or_refused(typed: TypedQuery) -> None:
    with contextlib.suppress(ListError):
        found = typed.query(TOKYO, TODAY)
        assert found.least_size is None or found.least_size >= 0


@given(st.dates(date(1970, 1, 1), date(2999, 12, 31)), st.sampled_from("-/."))
def test_every_day_is_read_back(day: date, sign: str) -> None:
    assert read_day(day.isoformat().replace("-", sign)) == day


@given(st.integers(0, 10**15 - 1), st.sampled_from("_KMGT"))
def test_every_size_is_read_back(number: int, unit: str) -> None:
    assert size_in_bytes(f"{number:,} {unit.strip('_')}B") == number * 1024 ** "_KMGT".index(unit)
