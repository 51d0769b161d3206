"""The numbers of the archive, kept current in the background."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import text

from core.concurrency.background import Lookup, Lookups
from core.errors import Code, FatalError
from core.model import Order, SearchQuery
from core.search.statistics import FRESH_SECONDS, Amount, Numbers, Summary
from db import SqlCatalogue
from db.connection.engine import make_engine
from tests.support.entries import DIRECTORY, WHEN, entry
from tests.support.fakes import MemoryCatalogue

TOKYO = ZoneInfo("Asia/Tokyo")
NOVEMBER = date(2026, 11, 1)


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.seconds, UTC)

    def tire(self) -> None:
        """Let everything that is known be old."""
        self.seconds += FRESH_SECONDS + 1


def made(catalogue: SqlCatalogue | MemoryCatalogue, clock: Clock) -> Summary:
    return Summary(catalogue, TOKYO, now=clock.now, clock=clock)


def settled(ask: Callable[[], Lookup[Numbers]]) -> Lookup[Numbers]:
    """Return what is known when nothing newer is on its way."""
    deadline = time.monotonic() + 60
    while (found := ask()).working:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    return found


def numbers(summary: Summary) -> Numbers:
    found = settled(summary.ask)
    assert (found.message, found.value is None) == ("", False)
    assert found.value is not None
    return found.value


def test_hits_of_everything_and_of_a_directory(catalogue: SqlCatalogue) -> None:
    wide, narrow = r"\\fsx01\share\ＡＢ", r"\\fsx01\share\ab"
    for number, place in enumerate((wide, narrow, narrow, wide + r"\c")):
        catalogue.add([entry(f"{number}", place)])
    found = numbers(made(catalogue, Clock()))
    for query in (
        SearchQuery(),
        SearchQuery(order=Order.SIZE, descending=False),
        SearchQuery(directory=narrow),
        SearchQuery(directory=narrow, directory_only=True),
        SearchQuery(directory="//FSX01/share"),
    ):
        assert found.count(query) == catalogue.search(query).total
    for query in (
        SearchQuery(words="a"),
        SearchQuery(directory=narrow, requester="山"),
        SearchQuery(directory=r"\\fsx01\nowhere"),
    ):
        assert found.count(query) is None


def test_numbers_grow_with_the_list(catalogue: SqlCatalogue) -> None:
    clock = Clock()
    summary = made(catalogue, clock)
    assert numbers(summary).folders.root.files == 0
    catalogue.add([entry("a", size=10), entry("b", size=20)])
    assert numbers(summary).folders.root.files == 0  # for a minute
    clock.tire()
    found = numbers(summary)
    assert found.months == {NOVEMBER: Amount(2, 30)}
    assert found.as_of == clock.now()
    catalogue.add([entry("c", DIRECTORY + r"\新", size=400)])
    clock.tire()
    found = numbers(summary)
    assert found.months == {NOVEMBER: Amount(3, 430)}
    assert (found.folders.root.files, found.folders.root.size, len(found.folders)) == (3, 430, 2)
    clock.tire()
    assert numbers(summary).months == {NOVEMBER: Amount(3, 430)}


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_a_row_that_is_committed_late_counts_once(
    catalogue: SqlCatalogue, database_url: str
) -> None:
    clock = Clock()
    summary = made(catalogue, clock)
    engine = make_engine(database_url)
    with engine.connect() as late:
        with late.begin():
            late.execute(
                text(
                    'INSERT INTO archive_list ("ディレクトリパス", "アーカイブファイル名",'
                    ' "S3バケット名", "S3キー", "ファイルサイズ", "SHA256", "更新日時",'
                    ' "検索キー", "アーカイブ日時")'
                    " VALUES (:directory, 'l', 'b', 'l', 5, '', now(), 'l', :at)"
                ),
                {"directory": DIRECTORY, "at": WHEN},
            )
            catalogue.add([entry("a", size=10)])
            assert numbers(summary).months == {NOVEMBER: Amount(1, 10)}
            clock.tire()
            assert numbers(summary).months == {NOVEMBER: Amount(1, 10)}
        clock.tire()
        found = numbers(summary)
        assert found.months == {NOVEMBER: Amount(2, 15)}
        assert (found.folders.root.files, found.newest) == (2, 2)
        catalogue.add([entry("b", size=100)])
        clock.tire()
        assert numbers(summary).months == {NOVEMBER: Amount(3, 115)}
    engine.dispose()


class Unsteady(MemoryCatalogue):
    """Counts how often it is asked for sums after which serial key, and may be down."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []
        self.down = False

    def count_until(self, serial: int) -> int:
        if self.down:
            raise FatalError(Code.DATABASE_UNAVAILABLE)
        return super().count_until(serial)

    def totals(self, timezone: ZoneInfo, *, after: int = 0):  # type: ignore[no-untyped-def]
        self.asked.append(after)
        return super().totals(timezone, after=after)


def test_a_machine_without_threads_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue = Unsteady()
    catalogue.add([entry("a")])
    summary = made(catalogue, Clock())
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refused)
        summary.begin()
        assert "スレッドを開始できません" in summary.ask().message
    assert numbers(summary).folders.root.files == 1


def refused(_thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_only_what_is_new_is_summed_up() -> None:
    catalogue, clock = Unsteady(), Clock()
    catalogue.add([entry("a"), entry("b")])
    summary = made(catalogue, clock)
    numbers(summary)
    catalogue.add([entry("c")])
    clock.tire()
    numbers(summary)
    assert catalogue.asked == [0, 2]


def test_while_the_database_is_down_the_last_numbers_stay() -> None:
    catalogue, clock = Unsteady(), Clock()
    catalogue.add([entry("a", size=10)])
    summary = made(catalogue, clock)
    first = numbers(summary)
    catalogue.down = True
    catalogue.add([entry("b", size=20)])
    clock.tire()
    found = settled(summary.ask)
    assert found.value == first
    assert "データベース" in found.message
    catalogue.down = False
    clock.seconds += 6
    assert numbers(summary).months == {NOVEMBER: Amount(2, 30)}


def test_the_first_page_waits_for_the_numbers_and_no_other() -> None:
    clock = Clock()
    lookups: Lookups[int] = Lookups(clock)
    assert lookups.ask("a", lambda: 1, 60, patience=60).value == 1
    clock.tire()
    assert lookups.ask("a", lambda: 2, 60, patience=60).value in (1, 2)


def test_the_console_begins_before_anybody_asks() -> None:
    catalogue, clock = Unsteady(), Clock()
    summary = made(catalogue, clock)
    summary.begin()
    numbers(summary)
    assert catalogue.asked == [0]
