"""Every hit of a search: all of them, each once, in order, from one moment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, text

from core.errors import Code, FatalError, ListError
from core.model import Entry, Order, SearchQuery
from db import SqlCatalogue, open_catalogue
from db.connection.engine import make_engine, writing
from tests.db.test_search import ENTRIES, QUERIES, far_apart, model  # noqa: F401 - a fixture
from tests.support.entries import WHEN, entry
from tests.support.servers.postgres import PostgresServer


def names(catalogue: SqlCatalogue, query: SearchQuery) -> list[str]:
    return [e.name for batch in catalogue.hits(query).batches for e in batch]


@example(
    batches=[[entry("b.txt"), entry("a.txt")], [entry("c.txt")]],
    queries=[SearchQuery(order=order, descending=False) for order in Order],
)
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batches=st.lists(st.lists(ENTRIES, max_size=6, unique_by=lambda e: e.key), max_size=4),
    queries=st.lists(QUERIES, min_size=1, max_size=3),
)
def test_hits_are_all_matching_rows_in_order(
    catalogue: SqlCatalogue,
    database_url: str,
    far_apart: Callable[[], None],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    batches: list[list[Entry]],
    queries: list[SearchQuery],
) -> None:
    monkeypatch.setattr("db.search.all_hits.ROWS", 3)
    monkeypatch.setattr("db.search.all_hits._VALUES", 2)
    with writing(make_engine(database_url)).begin() as connection:
        connection.execute(text("DELETE FROM archive_list"))
    for number, batch in enumerate(batches):
        catalogue.add([replace(row, bucket=f"bucket-{number}") for row in batch])
        far_apart()
    rows = catalogue.search(SearchQuery(), per_page=1000).entries
    for query in queries:
        wanted = model(rows, query)
        found = catalogue.hits(query)
        read = list(found.batches)
        assert [row for batch in read for row in batch] == wanted
        assert found.total == len(wanted)


def test_what_is_stored_meanwhile_changes_nothing(
    catalogue: SqlCatalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("db.search.all_hits.ROWS", 4)
    rows = [entry(f"{n:02}.txt", archived_at=WHEN + timedelta(hours=n)) for n in range(20)]
    catalogue.add(rows[:10])
    found = catalogue.hits(SearchQuery())
    first = next(found.batches)
    # Newer than all, and one among those that are still to come.
    catalogue.add([*rows[10:], entry("x.txt", archived_at=WHEN + timedelta(minutes=90))])
    read = [*first, *(e for batch in found.batches for e in batch)]
    assert [e.name for e in read] == [f"{n:02}.txt" for n in reversed(range(10))]
    assert found.total == 10
    assert catalogue.hits(SearchQuery()).total == 21


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_all_looks_at_the_database_see_the_same_moment(
    catalogue: SqlCatalogue, database_url: str
) -> None:
    """A row that is stored after the blocks were read, and before the rows are."""
    catalogue.add([entry("a.txt"), entry("b.txt")])
    engine = make_engine(database_url)

    def store(*arguments: object) -> None:
        if "generate_series" in str(arguments[2]):
            catalogue.add([entry("c.txt")])

    event.listen(engine, "after_cursor_execute", store)
    opened = SqlCatalogue(engine)
    assert names(opened, SearchQuery(words="txt")) == ["b.txt", "a.txt"]
    assert names(catalogue, SearchQuery(words="txt")) == ["c.txt", "b.txt", "a.txt"]
    opened.close()


def test_hits_that_nobody_reads_hold_no_connection(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More searches under way than the pool has connections: read partly, or not at all."""
    monkeypatch.setattr("db.search.all_hits.ROWS", 1)
    engine = make_engine(database_url)
    catalogue = SqlCatalogue(engine)
    catalogue.add([entry("a.txt"), entry("b.txt"), entry("c.txt")])
    begun = [catalogue.hits(SearchQuery(order=Order.PATH)) for _ in range(25)]
    assert [next(hits.batches)[0].name for hits in begun] == ["c.txt"] * 25
    for hits in begun[:5]:
        hits.batches.close()  # type: ignore[attr-defined]
    assert [len(list(hits.batches)) for hits in begun] == [0] * 5 + [2] * 20
    assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    catalogue.close()


def test_what_cannot_be_asked(catalogue: SqlCatalogue) -> None:
    catalogue.add([entry("a.txt")])
    assert names(catalogue, SearchQuery(words="a\0")) == []
    assert names(catalogue, SearchQuery(requester="\ud800")) == []
    with pytest.raises(ListError, match="1,200"):
        catalogue.hits(SearchQuery(words="q" * 1201))


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_a_database_that_goes_away_halfway(
    breakable_postgres: PostgresServer,
    migrated_postgres_url: str,
    catalogue: SqlCatalogue,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("db.search.all_hits.ROWS", 1)
    catalogue.add([entry(f"{n}.txt") for n in range(5)])
    opened = open_catalogue(migrated_postgres_url)
    found = opened.hits(SearchQuery())
    assert next(found.batches)[0].name == "4.txt"
    breakable_postgres.stop()
    with pytest.raises(FatalError) as caught:
        list(found.batches)
    opened.close()
    assert caught.value.code is Code.DATABASE_UNAVAILABLE
