"""What stops a run: a database that is not there, not ready, full, or gone halfway."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.exc import DBAPIError

from core.errors import Code, FatalError
from core.model import EXIT_CODES, Order, RunState, SearchQuery
from core.ports import Catalogue
from db import SqlCatalogue, open_catalogue
from db.connection.engine import make_engine
from db.schema import upgrade
from tests.support.arrange import UNC, Desk, Done
from tests.support.entries import entry, stored
from tests.support.fakes import MemoryCatalogue
from tests.support.servers.postgres import PostgresServer

CALLS: list[Callable[[Catalogue], object]] = [
    lambda catalogue: catalogue.check(),
    lambda catalogue: catalogue.find(["x"]),
    lambda catalogue: catalogue.add([entry("a.txt")]),
    lambda catalogue: catalogue.search(SearchQuery()),
    lambda catalogue: catalogue.hits(SearchQuery()),
]


def refusal(call: Callable[[], object]) -> FatalError:
    """Return the error with which a call stops the run."""
    with pytest.raises(FatalError) as caught:
        call()
    return caught.value


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


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_a_connection_that_is_lost_while_hits_are_counted(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The search sets a limit of time before it counts; taking that back finds nobody there."""
    catalogue = open_catalogue(database_url)
    catalogue.add([entry("a.txt")])

    def lose(connection: Connection, *_counting: object) -> int:
        connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
        return 0

    with monkeypatch.context() as patched:
        patched.setattr("db.search.block_walk.count", lose)
        search = SearchQuery(words="a", order=Order.NAME)
        fatal = refusal(lambda: catalogue.search(search))
    assert fatal.code is Code.DATABASE_UNAVAILABLE
    assert catalogue.search(search).total == 1
    catalogue.close()


@pytest.mark.parametrize("call", CALLS, ids=["check", "find", "add", "search", "hits"])
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


@pytest.mark.parametrize("call", CALLS, ids=["check", "find", "add", "search", "hits"])
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


def _removed(path: Path) -> None:
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
        path.with_name(name).unlink(missing_ok=True)


def _replaced(path: Path) -> None:
    other = path.with_name("other.db")
    upgrade(f"sqlite:///{other}")
    _removed(path)
    other.rename(path)


def _one_file_moved_over(path: Path) -> None:
    """As a backup that is copied back by hand."""
    other = path.with_name("other.db")
    upgrade(f"sqlite:///{other}")
    other.replace(path)


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize("happens", [_removed, _replaced, _one_file_moved_over])
@pytest.mark.parametrize("registered", [0, 1, 2])
def test_a_file_that_goes_away_under_a_run_is_noticed(
    database_url: str, tmp_path: Path, happens: Callable[[Path], None], registered: int
) -> None:
    """However many files had a row in it by then: they have none any more."""
    path = tmp_path / "catalogue.db"
    catalogue = open_catalogue(database_url)
    desk = Desk(tmp_path / "desk", catalogue=cast("MemoryCatalogue", catalogue))
    for number in range(3):
        desk.write(f"{number}.txt", str(number))

    def look(call: str, key: str) -> None:
        """Let each file be registered before the next is sent; then let it happen."""
        number = int(Path(key).stem) if call == "create" else 3
        if number > registered:
            return
        pause = threading.Event()
        while catalogue.search(SearchQuery()).total < number:
            pause.wait(0.01)
        if number == registered:
            happens(path)

    desk.store.before = look
    run = desk.new_run(UNC.encode())
    plan = run.check()
    run.begin(plan)
    done = Done(run.execute(lambda: desk.store, desk.stop), run.folder.path, plan)
    assert done.record.state is RunState.ERROR
    assert EXIT_CODES[done.record.state] == 3
    assert "データベースのファイル" in done.record.message
    assert done.failed == [rf"{UNC}\{number}.txt" for number in range(3)]
    assert (done.record.archived_files, done.record.failed_files) == (0, 3)
    # Once there is an archive list again, the error file list brings everything into it.
    if not path.exists():
        upgrade(database_url)
    desk.store.before = lambda _call, _key: None
    again = desk.run((done.folder / "failed_uploads.txt").read_bytes())
    assert again.record.state is RunState.DONE
    assert again.record.archived_files + again.record.unchanged_files == 3
    assert sorted(one.key for one in stored(catalogue)) == [
        f"fsx01/share/{n}.txt" for n in range(3)
    ]
    assert len(desk.store.writes) == 3
    catalogue.close()


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_searches_find_what_lies_at_the_path_now(database_url: str, tmp_path: Path) -> None:
    catalogue = open_catalogue(database_url)
    catalogue.add([entry("a.txt")])
    _replaced(tmp_path / "catalogue.db")
    assert catalogue.search(SearchQuery()).total == 0
    _removed(tmp_path / "catalogue.db")
    error = refusal(lambda: catalogue.search(SearchQuery()))
    assert error.code is Code.DATABASE_UNAVAILABLE
    assert str(tmp_path / "catalogue.db") in error.detail
    catalogue.close()
