"""The archive list in both databases: what goes in comes out, nothing is overwritten."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, event, text
from sqlalchemy.exc import DBAPIError

from core.errors import Code, FatalError
from core.model import Entry, SearchQuery
from core.names import fold
from core.ports import Catalogue
from db import SqlCatalogue, open_catalogue
from db.engine import make_engine, writing
from tests.entries import DIRECTORY, WHEN, entry
from tests.postgres import PostgresServer

JST = timezone(timedelta(hours=9))
CALLS: list[Callable[[Catalogue], object]] = [
    lambda catalogue: catalogue.check(),
    lambda catalogue: catalogue.find(["x"]),
    lambda catalogue: catalogue.add([entry("a.txt")]),
    lambda catalogue: catalogue.search(SearchQuery()),
]


def stored(catalogue: Catalogue) -> list[Entry]:
    """Return every row, oldest first, without the serial key."""
    page = catalogue.search(SearchQuery(), per_page=1_000_000)
    assert page.total == len(page.entries)
    return [replace(row, id=0) for row in reversed(page.entries)]


def refusal(call: Callable[[], object]) -> FatalError:
    """Return the error with which a call stops the run."""
    with pytest.raises(FatalError) as caught:
        call()
    return caught.value


# What goes in comes out


def test_a_row_comes_back_as_it_was_added(catalogue: SqlCatalogue) -> None:
    row = entry("見積書.xlsx", content="百万円", comment="2行\nの コメント", requester="佐藤")
    assert catalogue.add([row]) == []
    (found,) = catalogue.find([row.search_key])[row.search_key]
    assert replace(found, id=0) == row
    assert found.id > 0


def test_nothing_is_found_in_an_empty_list(catalogue: SqlCatalogue) -> None:
    assert catalogue.find(["x"]) == {}
    assert catalogue.find([]) == {}
    assert catalogue.add([]) == []
    assert catalogue.search(SearchQuery()).total == 0
    catalogue.check()


def test_what_was_not_typed_comes_back_empty(catalogue: SqlCatalogue) -> None:
    row = entry("a.txt", request_id="", requester="", comment="")
    catalogue.add([row])
    assert stored(catalogue) == [row]


def test_generations_are_grouped_oldest_first(catalogue: SqlCatalogue) -> None:
    old, new = (
        entry("a.txt", content=n, key=f"a_{n}.txt", archived_at=WHEN + timedelta(days=int(n)))
        for n in "12"
    )
    other = entry("Ａ.TXT", key="other")
    catalogue.add([new, other, old])
    found = catalogue.find([old.search_key, "absent"])
    assert {k: [replace(e, id=0) for e in v] for k, v in found.items()} == {
        old.search_key: [other, old, new]
    }


def test_more_keys_are_found_than_one_statement_takes(catalogue: SqlCatalogue) -> None:
    rows = [entry(f"{n}.txt") for n in range(1203)]
    assert catalogue.add(rows) == []
    found = catalogue.find(row.search_key for row in rows * 40)
    assert len(found) == 1203
    assert catalogue.add(rows) == []


def test_moments_keep_microseconds_and_lose_no_zone(catalogue: SqlCatalogue) -> None:
    noon = datetime(2026, 11, 23, 12, 0, 0, 1, tzinfo=JST)
    oldest = datetime(1601, 1, 1, tzinfo=UTC)
    catalogue.add([entry("a.txt", archived_at=noon, modified_at=oldest)])
    (row,) = stored(catalogue)
    assert (row.archived_at, row.modified_at) == (noon, oldest)
    assert row.archived_at.tzinfo is UTC
    assert row.archived_at.isoformat() == "2026-11-23T03:00:00.000001+00:00"


def test_the_database_fills_in_the_moment(database_url: str) -> None:
    values = {
        "ディレクトリパス": "'d'", "アーカイブファイル名": "'a.txt_archived.txt'",
        "S3バケット名": "'b'", "S3キー": "'k'", "ファイルサイズ": "0", "SHA256": "'0'",
        "更新日時": "'2026-01-02 03:04:05.678901'", "検索キー": "'d'",
    }  # fmt: skip
    names = ", ".join(f'"{name}"' for name in values)
    engine = make_engine(database_url)
    before = datetime.now(UTC) - timedelta(milliseconds=1)  # SQLite's clock is no finer
    with writing(engine).begin() as connection:
        statement = f"INSERT INTO archive_list ({names}) VALUES ({', '.join(values.values())})"
        connection.exec_driver_sql(statement)
    (row,) = stored(SqlCatalogue(engine))
    engine.dispose()
    assert before <= row.archived_at <= datetime.now(UTC)
    assert row.modified_at == datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def test_a_search_key_may_be_longer_than_an_index_entry(catalogue: SqlCatalogue) -> None:
    rows = [entry("名.txt", search_key="\\".join([f"{n}㍿" * 5000])) for n in range(2)]
    rows = [replace(row, key=f"{n}") for n, row in enumerate(rows)]
    assert catalogue.add(rows) == []
    assert set(catalogue.find(row.search_key for row in rows)) == {r.search_key for r in rows}


# Nothing is overwritten


def test_adding_twice_changes_nothing(catalogue: SqlCatalogue) -> None:
    rows = [entry("a.txt"), entry("b.txt", content="b")]
    catalogue.add(rows)
    again = [replace(row, archived_at=WHEN + timedelta(1), request_id="REQ-2") for row in rows]
    assert catalogue.add(again) == []
    assert catalogue.add([again[0], entry("c.txt"), again[0]]) == []
    assert sorted(r.name for r in stored(catalogue)) == ["a.txt", "b.txt", "c.txt"]
    assert {row.request_id for row in stored(catalogue)} == {"REQ-1"}


@pytest.mark.parametrize(
    "difference",
    [{"sha256": "f" * 64}, {"size": 1}, {"directory": DIRECTORY + "2"}, {"archived_name": "x"}],
    ids=lambda difference: next(iter(difference)),
)
def test_a_taken_key_is_returned_and_the_others_are_stored(
    catalogue: SqlCatalogue, difference: dict[str, object]
) -> None:
    first, other = entry("a.txt"), entry("b.txt")
    catalogue.add([first])
    different = replace(first, **difference)  # type: ignore[arg-type]
    assert catalogue.add([different, other]) == [different]
    assert sorted(stored(catalogue), key=lambda r: r.key) == [first, other]


def test_two_contents_for_one_key_in_one_call(catalogue: SqlCatalogue) -> None:
    one, two = entry("a.txt", content="1"), entry("a.txt", content="2")
    assert catalogue.add([one, two, one]) == [two]
    assert stored(catalogue) == [one]


def test_the_same_key_in_another_bucket_is_free(catalogue: SqlCatalogue) -> None:
    rows = [entry("a.txt", bucket="another", content="1"), entry("a.txt", content="2")]
    assert catalogue.add(rows) == []
    assert stored(catalogue) == rows


def test_keys_differ_in_case_and_composition(catalogue: SqlCatalogue) -> None:
    rows = [entry(name) for name in ("\u30ac.txt", "\u30ab\u3099.txt", "A.txt", "a.txt")]
    assert catalogue.add(rows) == []
    assert len(stored(catalogue)) == 4


def test_characters_no_database_holds_harm_only_their_own_row(catalogue: SqlCatalogue) -> None:
    typed = entry("typed.txt", comment="終わり\0\ud800", request_id="R\0", requester="\0")
    bad = [entry("nul\0.txt"), entry("half\udc80.txt")]
    assert catalogue.add([bad[0], typed, bad[1]]) == bad
    assert stored(catalogue) == [replace(typed, comment="終わり?", request_id="R", requester="")]
    assert catalogue.find([bad[0].search_key, bad[1].search_key]) == {}
    for query in (SearchQuery(words="\0"), SearchQuery(words="\udc80"), SearchQuery("", "\0")):
        assert catalogue.search(query).total == 0


@pytest.mark.parametrize("field", ["request_id", "requester"])
def test_what_does_not_fit_is_refused_before_anything_is_stored(
    catalogue: SqlCatalogue, field: str
) -> None:
    fits = entry("a.txt", **{field: "依" * 255})
    assert catalogue.add([fits]) == []
    with pytest.raises(ValueError, match="255"):
        catalogue.add([entry("b.txt"), entry("c.txt", **{field: "依" * 256})])
    assert stored(catalogue) == [fits]


def test_threads_that_add_the_same_rows_end_in_one_row_each(catalogue: SqlCatalogue) -> None:
    rows = [entry(f"{n}.txt") for n in range(300)]
    together = threading.Barrier(4)

    def add(number: int) -> list[Entry]:
        together.wait()
        ours = rows if number % 2 else rows[::-1]
        return [e for start in range(0, 300, 50) for e in catalogue.add(ours[start : start + 50])]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(add, range(4))) == [[]] * 4
    assert sorted(r.key for r in stored(catalogue)) == sorted(r.key for r in rows)


def test_readers_do_not_wait_for_a_writer(database_url: str) -> None:
    engine = make_engine(database_url)
    catalogue = SqlCatalogue(engine)
    with writing(engine).begin() as connection:
        connection.execute(text("DELETE FROM archive_list"))
        assert catalogue.search(SearchQuery()).total == 0
        catalogue.check()
    engine.dispose()


@pytest.fixture
def interrupted(database_url: str) -> Iterator[tuple[SqlCatalogue, list[Callable[[], None]]]]:
    """An archive list, and what happens to it once between inserting and committing."""
    engine = make_engine(database_url)
    happenings: list[Callable[[], None]] = []

    def after(*arguments: object) -> None:
        if happenings and str(arguments[2]).startswith("INSERT"):
            happenings.pop()()

    event.listen(engine, "after_cursor_execute", after)
    yield SqlCatalogue(engine), happenings
    engine.dispose()


def test_a_failure_halfway_leaves_nothing(
    interrupted: tuple[SqlCatalogue, list[Callable[[], None]]],
) -> None:
    catalogue, happenings = interrupted

    def fail() -> None:
        raise KeyboardInterrupt

    happenings.append(fail)
    with pytest.raises(KeyboardInterrupt):
        catalogue.add([entry("a.txt")])
    assert stored(catalogue) == []
    assert catalogue.add([entry("a.txt")]) == []
    assert stored(catalogue) == [entry("a.txt")]


# Any legal name

LEGAL = st.characters(exclude_categories=("Cc", "Cs"), exclude_characters='<>:"/\\|?*')
TRICKY = st.sampled_from(
    "%_#'[]{}^~!&;$` \u3000.かカ\u3099ｶﾞ〜～－—―￥¥＼／ＡａßİΣςﬁ㍿﷽🗻👨\u200d👩葛\U000e0100"
)
NAMES = st.text(TRICKY | LEGAL, min_size=1, max_size=12).filter(lambda n: n.strip() == n)
DIRECTORIES = st.lists(NAMES, max_size=4).map(lambda parts: "\\".join([DIRECTORY, *parts]))
NUMBERS = iter(range(1_000_000))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files=st.lists(st.tuples(DIRECTORIES, NAMES), min_size=1, max_size=4, unique=True))
def test_any_legal_name_comes_back_identical(
    catalogue: SqlCatalogue, files: list[tuple[str, str]]
) -> None:
    bucket = f"bucket-{next(NUMBERS)}"
    rows = [entry(name, directory, bucket=bucket) for directory, name in files]
    assert catalogue.add(rows) == []
    found = catalogue.find(row.search_key for row in rows)
    ours = {replace(e, id=0) for es in found.values() for e in es if e.bucket == bucket}
    assert ours == set(rows)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(directory=DIRECTORIES, name=NAMES, data=st.data())
def test_any_part_of_a_path_finds_it(
    catalogue: SqlCatalogue, directory: str, name: str, data: st.DataObject
) -> None:
    row = entry(name, directory, bucket=f"bucket-{next(NUMBERS)}")
    catalogue.add([row])
    # A cut inside a letter and its accent leaves something that nobody would type.
    cuts = [
        n
        for n in range(len(row.path) + 1)
        if fold(row.path[:n]) + fold(row.path[n:]) == fold(row.path)
    ]
    start, end = sorted(data.draw(st.tuples(st.sampled_from(cuts), st.sampled_from(cuts))))
    words = row.path[start:end]
    assume(words.strip())
    for query in (SearchQuery(words=words), SearchQuery(directory=directory)):
        page = catalogue.search(query, per_page=1_000_000)
        assert row in [replace(e, id=0) for e in page.entries]


# The database goes away


@pytest.mark.parametrize("call", CALLS, ids=["check", "find", "add", "search"])
def test_without_a_schema_init_db_is_asked_for(
    empty_database_url: str, call: Callable[[Catalogue], object]
) -> None:
    catalogue = open_catalogue(empty_database_url)
    error = refusal(lambda: call(catalogue))
    catalogue.close()
    assert error.code is Code.DATABASE_SCHEMA
    assert "init-db" in str(error)


def test_looking_for_an_sqlite_file_does_not_make_one(tmp_path: Path) -> None:
    catalogue = open_catalogue(f"sqlite:///{tmp_path / 'data' / 'catalogue.db'}")
    refusal(catalogue.check)
    catalogue.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("call", CALLS, ids=["check", "find", "add", "search"])
def test_a_database_that_is_down_stops_the_run_and_may_come_back(
    breakable_postgres: PostgresServer,
    migrated_postgres_url: str,
    call: Callable[[Catalogue], object],
) -> None:
    catalogue = open_catalogue(migrated_postgres_url)
    catalogue.check()
    breakable_postgres.stop()
    error = refusal(lambda: call(catalogue))
    breakable_postgres.start()
    call(catalogue)
    catalogue.close()
    assert error.code is Code.DATABASE_UNAVAILABLE
    assert breakable_postgres.password not in str(error) + repr(error)
    assert "起動していません" in str(error)


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_a_crash_before_the_commit_leaves_nothing(
    breakable_postgres: PostgresServer,
    interrupted: tuple[SqlCatalogue, list[Callable[[], None]]],
) -> None:
    catalogue, happenings = interrupted
    happenings.append(breakable_postgres.kill)
    error = refusal(lambda: catalogue.add([entry("a.txt")]))
    assert error.code is Code.DATABASE_UNAVAILABLE
    breakable_postgres.start()
    assert stored(catalogue) == []
    assert catalogue.add([entry("a.txt")]) == []
    assert stored(catalogue) == [entry("a.txt")]


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_silent_server_is_reported_after_the_connect_timeout(silent_port: int) -> None:
    catalogue = open_catalogue(f"postgresql://himuro:geheim@127.0.0.1:{silent_port}/himuro")
    error = refusal(catalogue.check)
    catalogue.close()
    assert (error.code, error.detail) == (Code.DATABASE_UNAVAILABLE, "時間内に応答がありません")
    assert "geheim" not in str(error) + repr(error)


def test_wrong_credentials_are_named_but_not_shown(postgres: PostgresServer) -> None:
    catalogue = open_catalogue(postgres.url("postgres", password="geheim"))
    error = refusal(catalogue.check)
    catalogue.close()
    assert error.code is Code.DATABASE_UNAVAILABLE
    assert "パスワード" in error.detail
    assert "geheim" not in str(error) + repr(error)


def test_a_missing_database_is_named(postgres: PostgresServer) -> None:
    catalogue = open_catalogue(postgres.url("himuro_absent"))
    error = refusal(catalogue.check)
    catalogue.close()
    assert error.code is Code.DATABASE_UNAVAILABLE
    assert "データベース" in error.detail


def _set_on_connect(engine: Engine, pragma: str) -> None:
    event.listen(engine, "connect", lambda connection, _record: connection.execute(pragma))


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("pragma", "detail"),
    [
        ("PRAGMA max_page_count = 20", "ディスクの空き容量がありません"),
        ("PRAGMA query_only = on", "データベースファイルに書き込めません"),
    ],
)
def test_a_full_or_protected_disk_stops_the_run(
    database_url: str, pragma: str, detail: str
) -> None:
    engine = make_engine(database_url)
    _set_on_connect(engine, pragma)
    catalogue = SqlCatalogue(engine)
    error = refusal(lambda: catalogue.add([entry(f"{n}.txt") for n in range(500)]))
    assert (error.code, error.detail) == (Code.DATABASE_UNAVAILABLE, detail)
    assert stored(catalogue) == []
    engine.dispose()


def test_a_file_that_is_no_database_stops_the_run(tmp_path: Path) -> None:
    (tmp_path / "catalogue.db").write_text("これはデータベースではありません" * 100, "utf-8")
    catalogue = open_catalogue(f"sqlite:///{tmp_path / 'catalogue.db'}")
    error = refusal(catalogue.check)
    catalogue.close()
    assert error.code is Code.DATABASE_UNAVAILABLE


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_a_statement_that_hangs_is_given_up(database_url: str) -> None:
    engine = make_engine(database_url)
    catalogue = SqlCatalogue(engine)
    blocker = make_engine(database_url)
    event.listen(
        engine, "begin", lambda connection: connection.exec_driver_sql("SET lock_timeout = 1")
    )
    with blocker.begin() as connection:
        connection.execute(text("LOCK TABLE archive_list"))
        error = refusal(lambda: catalogue.add([entry("a.txt")]))
    assert error.code is Code.DATABASE_UNAVAILABLE
    engine.dispose()
    blocker.dispose()


def test_a_mistake_in_a_query_is_not_blamed_on_the_database(database_url: str) -> None:
    engine = make_engine(database_url)
    event.listen(
        engine,
        "before_cursor_execute",
        lambda *arguments: ("SELECT nonsense(", ()),
        retval=True,
    )
    catalogue = SqlCatalogue(engine)
    with pytest.raises(DBAPIError):
        catalogue.check()
    engine.dispose()
