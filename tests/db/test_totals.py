"""Sums over the archive list, and the list finding what the tree of folders counts."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, text

from core.model import SearchQuery
from core.ports import Total
from core.search.folder_tree import Folders
from db import SqlCatalogue
from db.connection.engine import make_engine, writing
from pages.search import asked
from tests.support.entries import WHEN, entry

TOKYO = ZoneInfo("Asia/Tokyo")
SALES, ACCOUNTS = r"\\fsx01\share\営業部", r"\\fsx01\share\経理部"
OCTOBER, NOVEMBER = date(2026, 10, 1), date(2026, 11, 1)
MIDNIGHT = datetime(2026, 10, 31, 15, tzinfo=UTC)
"""November begins in Tokyo."""


def test_sums_by_directory_and_month(catalogue: SqlCatalogue) -> None:
    assert list(catalogue.totals(TOKYO)) == []
    last_moment = MIDNIGHT - timedelta(microseconds=1)
    rows = [
        ("a", SALES, last_moment, 1),
        ("b", ACCOUNTS, MIDNIGHT, 20),
        ("c", SALES, MIDNIGHT, 300),
        ("d", SALES, MIDNIGHT, 4000),
        ("e", SALES + r"\x", MIDNIGHT, 2**62),
    ]
    for name, directory, when, size in rows:
        catalogue.add([entry(name, directory, archived_at=when, size=size)])
    assert set(catalogue.totals(TOKYO)) == {
        Total(SALES, OCTOBER, 1, 1, 1),
        Total(SALES, NOVEMBER, 2, 4300, 4),
        Total(SALES + r"\x", NOVEMBER, 1, 2**62, 5),
        Total(ACCOUNTS, NOVEMBER, 1, 20, 2),
    }
    assert list(catalogue.totals(TOKYO, after=4)) == [Total(SALES + r"\x", NOVEMBER, 1, 2**62, 5)]
    assert list(catalogue.totals(TOKYO, after=5)) == []
    assert [catalogue.count_until(n) for n in (0, 1, 4, 99)] == [0, 1, 4, 5]


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_the_first_row_of_a_month_comes_while_it_is_summed_up(
    catalogue: SqlCatalogue, database_url: str
) -> None:
    catalogue.add([entry("a", SALES, archived_at=MIDNIGHT - timedelta(hours=1), size=1)])
    engine = make_engine(database_url)

    def store(*arguments: object) -> None:
        if "max(" in str(arguments[2]) and catalogue.count_until(2) == 1:
            catalogue.add([entry("b", SALES, archived_at=MIDNIGHT, size=20)])

    event.listen(engine, "after_cursor_execute", store)
    opened = SqlCatalogue(engine)
    assert list(opened.totals(TOKYO)) == [Total(SALES, OCTOBER, 1, 1, 1)]
    assert list(opened.totals(TOKYO, after=1)) == [Total(SALES, NOVEMBER, 1, 20, 2)]
    opened.close()


def test_sums_come_sorted_letter_by_letter(catalogue: SqlCatalogue) -> None:
    names = [r"\\s\B", r"\\s\a", r"\\s\a b", r"\\s\a\c", r"\\s\ａ", r"\\s\_", r"\\s\🗻", r"\\s\営"]
    catalogue.add([entry("x", name) for name in names])
    assert [total.directory for total in catalogue.totals(TOKYO)] == sorted(names)


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York", "Asia/Kathmandu", "UTC"])
def test_every_row_belongs_to_its_month(catalogue: SqlCatalogue, zone: str) -> None:
    timezone = ZoneInfo(zone)
    begin = datetime(2022, 1, 1, tzinfo=UTC)
    moments = [begin + timedelta(hours=163 * n) for n in range(250)]
    moments += [datetime(1965, 5, 5, tzinfo=UTC), datetime(2039, 12, 31, 23, 59, tzinfo=UTC)]
    catalogue.add([entry(f"{n}", archived_at=when) for n, when in enumerate(moments)])
    expected: dict[date, int] = {}
    for when in moments:
        month = when.astimezone(timezone).date().replace(day=1)
        # The calendar of the chart begins in 1970.
        month = max(month, date(1970, 1, 1))
        expected[month] = expected.get(month, 0) + 1
    assert {total.month: total.files for total in catalogue.totals(timezone)} == expected


# Without letters that the list takes for a backslash: yen sign, full-width and small backslash.
NAMES = (
    "営業部", "営業%", "営業_", "営業", "見積～Ａ社", "見積〜A社", "見積~a社", "ガ", "か\u3099",
    "が", "ｶﾞ", "Straße", "STRASSE", "strasse", "a", "b", "末尾　", "　先頭",
    "①", "1", "[x] (y)", "İ", "ı",
)  # fmt: skip
DIRECTORIES = st.lists(st.sampled_from(NAMES), max_size=3).map(
    lambda names: "\\".join((r"\\fsx01\share", *names))
)


@example([r"\\fsx01\share\末尾　", r"\\fsx01\share\末尾", r"\\FSX01\Share\営業%\営業_"])
@example([rf"\\fsx01\share\{name}" for name in NAMES])
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(DIRECTORIES, min_size=1, max_size=8))
def test_the_list_finds_what_the_tree_counts(
    catalogue: SqlCatalogue, database_url: str, directories: list[str]
) -> None:
    engine = make_engine(database_url)
    with writing(engine).begin() as connection:
        connection.execute(text("DELETE FROM archive_list"))
    engine.dispose()
    catalogue.add([entry(f"{n}.txt", each) for n, each in enumerate(directories)])
    tree = Folders().plus(catalogue.totals(TOKYO))
    assert tree.root.files == len(directories)
    for directory in directories:
        for folder in tree.way(directory)[1:]:
            alike = tree.searched_as(folder)
            assert folder in alike
            query = SearchQuery(directory=asked.directory(folder.path))
            assert catalogue.search(query).total == sum(each.files for each in alike)
            query = SearchQuery(directory=asked.directory(folder.path), directory_only=True)
            assert catalogue.search(query).total == sum(each.own_files for each in alike)


def test_times_of_a_catalogue_do_not_matter_for_what_is_new(catalogue: SqlCatalogue) -> None:
    """Rows are told apart by their serial keys: one may be stored with a time of long ago."""
    catalogue.add([entry("a")])
    catalogue.add([entry("b", archived_at=WHEN - timedelta(days=400))])
    assert [total.month for total in catalogue.totals(TOKYO, after=1)] == [date(2025, 10, 1)]
