"""Who may search when many want to: nobody is passed over, and runs are not kept waiting."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from sqlalchemy import Connection

from core.errors import FatalError
from core.model import SearchPage, SearchQuery
from db import SqlCatalogue
from db.catalogue import SEARCHES_AT_ONCE
from db.connection.fair_semaphore import FairSemaphore
from db.search.selectivity import Sample
from db.search.terms import Group
from tests.support.entries import entry


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_turns_come_in_the_order_of_asking() -> None:
    turns = FairSemaphore(1, 60)
    came: list[int] = []

    def ask(number: int) -> None:
        with turns.turn():
            came.append(number)

    with ThreadPoolExecutor(8) as threads:
        with turns.turn():
            for number in range(5):
                threads.submit(ask, number)
                until(lambda expected=number + 1: turns.waiting == expected)  # type: ignore[misc]
        # This one comes back at once, and has to stand behind the others all the same.
        ask(5)
    assert came == [0, 1, 2, 3, 4, 5]


def test_as_many_as_are_allowed_are_at_it_together() -> None:
    turns = FairSemaphore(3, 60)
    together = threading.Barrier(3)

    def ask() -> None:
        with turns.turn():
            together.wait(60)

    with ThreadPoolExecutor(9) as threads:
        for done in [threads.submit(ask) for _ in range(9)]:
            done.result()
    assert turns.waiting == 0


def test_who_gave_up_takes_no_place() -> None:
    turns = FairSemaphore(1, 0)
    with turns.turn(), pytest.raises(TimeoutError), turns.turn():
        pass
    with turns.turn():
        assert turns.waiting == 0


def test_a_place_is_free_again_after_a_failure() -> None:
    turns = FairSemaphore(1, 0)
    with pytest.raises(ValueError, match="no"), turns.turn():
        raise ValueError("no")
    with turns.turn():
        pass


class Slow:
    """Searches that hold their connections until they may end."""

    def __init__(self) -> None:
        self.begun = 0
        self.may_end = threading.Event()
        self._lock = threading.Lock()

    def search(
        self, connection: Connection, query: SearchQuery, page: int, per_page: int
    ) -> SearchPage:
        with self._lock:
            self.begun += 1
        assert self.may_end.wait(60)
        return SearchPage(0, ())


@contextmanager
def crowd(catalogue: SqlCatalogue, monkeypatch: pytest.MonkeyPatch) -> Iterator[Slow]:
    """Twice as many people search as there are connections; all of them get an answer."""
    slow = Slow()
    monkeypatch.setattr(catalogue, "_searching", slow)
    with ThreadPoolExecutor(40) as threads:
        searches = [threads.submit(catalogue.search, SearchQuery()) for _ in range(40)]
        try:
            until(lambda: slow.begun == SEARCHES_AT_ONCE)
            yield slow
        finally:
            slow.may_end.set()
    assert [search.result().total for search in searches] == [0] * 40


def test_a_run_stores_its_rows_however_many_people_search(
    catalogue: SqlCatalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = entry("見積書.xlsx")
    with crowd(catalogue, monkeypatch) as slow:
        assert catalogue.add([row]) == []
        assert list(catalogue.find([row.search_key])) == [row.search_key]
        assert slow.begun == SEARCHES_AT_ONCE
    assert slow.begun == 40


def test_a_search_without_a_turn_says_so(
    catalogue: SqlCatalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "_semaphore", FairSemaphore(0, 0))
    with pytest.raises(FatalError, match="検索する人が多く、順番が来ませんでした"):
        catalogue.search(SearchQuery())


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_the_second_search_waits_for_the_sample_that_the_first_one_reads(
    catalogue: SqlCatalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalogue.add([entry("見積書.xlsx")])
    known: list[int] = []
    reading, second_ended = threading.Event(), threading.Event()
    choose = Sample.choose

    def read(rows: Sequence[tuple[str, str, int]]) -> Sample:
        reading.set()
        second_ended.wait(0.3)  # it does not: it waits for this
        return Sample(rows)

    def remember(sample: Sample, groups: Iterable[Group]) -> list[Group]:
        known.append(len(sample.rows))
        return choose(sample, groups)

    def search() -> int:
        return catalogue.search(SearchQuery(words="見積")).total

    def search_second() -> int:
        total = search()
        second_ended.set()
        return total

    monkeypatch.setattr("db.search.indexed.Sample", read)
    monkeypatch.setattr(Sample, "choose", remember)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(search)
        assert reading.wait(60)
        second = threads.submit(search_second)
        assert (first.result(), second.result()) == (1, 1)
    assert known == [1, 1]
