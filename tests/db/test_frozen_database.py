"""A PostgreSQL whose processes are stopped: the kernel takes every byte, nobody ever answers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar, cast

import pytest
from sqlalchemy import text

from core.errors import Code, FatalError
from core.jobs.pending_checks import DraftState
from core.jobs.queue import Jobs
from core.model import EXIT_CODES, Entry, ListSource, RunState, SearchQuery
from db import SqlCatalogue
from db.connection.engine import make_engine
from db.connection.patience import Patience
from tests.support.arrange import REQUEST, UNC, Desk, Done, archive_list, no_restores
from tests.support.entries import entry, stored
from tests.support.fakes import MemoryCatalogue
from tests.support.servers.postgres import PostgresServer

T = TypeVar("T")
SECONDS = 30
"""Far more than anything here takes; a wait without end fails by it."""


@pytest.fixture
def server(postgres: PostgresServer) -> Iterator[PostgresServer]:
    """A server that may be frozen; it goes on afterwards."""
    yield postgres
    postgres.thaw()


@pytest.fixture
def url(server: PostgresServer, migrated_postgres_url: str) -> str:
    database = migrated_postgres_url.rpartition("/")[2].split("?")[0]
    server.execute("TRUNCATE archive_list RESTART IDENTITY", database)
    return migrated_postgres_url


@contextmanager
def opened(url: str, patience: Patience) -> Iterator[SqlCatalogue]:
    catalogue = SqlCatalogue(make_engine(url, patience=patience), patience)
    yield catalogue
    catalogue.close()


def ended(work: Callable[[], T]) -> T:
    """Return what comes of work that has to end by itself."""
    return ThreadPoolExecutor(1).submit(work).result(SECONDS)


def refusal(work: Callable[[], object]) -> FatalError:
    with pytest.raises(FatalError) as caught:
        ended(work)
    return caught.value


CALLS: list[Callable[[SqlCatalogue], object]] = [
    lambda catalogue: catalogue.check(),
    lambda catalogue: catalogue.find(["x"]),
    lambda catalogue: catalogue.add([entry("a.txt")]),
    lambda catalogue: catalogue.search(SearchQuery()),
    lambda catalogue: catalogue.hits(SearchQuery()),
]
NAMES = ["check", "find", "add", "search", "hits"]


@pytest.mark.parametrize("call", CALLS, ids=NAMES)
@pytest.mark.parametrize("connected", [True, False])
def test_no_call_waits_without_end(
    server: PostgresServer, url: str, call: Callable[[SqlCatalogue], object], connected: bool
) -> None:
    patience = Patience()
    with opened(url, patience) as catalogue:
        if connected:
            catalogue.check()
        server.freeze()
        patience.answer = patience.ping = patience.connect = 0.1
        error = refusal(lambda: call(catalogue))
        assert (error.code, error.detail) == (
            Code.DATABASE_UNAVAILABLE,
            "時間内に応答がありません",
        )
        server.thaw()
        patience.answer = patience.ping = patience.connect = SECONDS
        call(catalogue)


def test_a_statement_under_way_is_given_up_when_the_process_ends(
    server: PostgresServer, url: str
) -> None:
    """Its usual limit is above the one that the server has for it: more than a minute."""
    patience = Patience(last=0.1)
    engine = make_engine(url, patience=patience)
    catalogue = SqlCatalogue(engine, patience)
    with engine.connect() as connection, ThreadPoolExecutor(1) as asking:
        answer = asking.submit(lambda: connection.execute(text("SELECT pg_sleep(50)")))
        catalogue.hurry(0)
        with pytest.raises(Exception, match="no answer"):
            answer.result(SECONDS)
    # Who is there at all still gets his answer.
    patience.last = SECONDS
    assert catalogue.add([entry("a.txt")]) == []
    assert stored(catalogue) == [entry("a.txt")]
    catalogue.close()


def test_a_run_whose_database_freezes_ends_with_its_lists(
    server: PostgresServer, url: str, tmp_path: Path
) -> None:
    patience = Patience()
    with opened(url, patience) as catalogue:
        desk = Desk(tmp_path, catalogue=cast("MemoryCatalogue", catalogue))
        for number in range(4):
            desk.write(f"{number}.txt", str(number))
        run = desk.new_run(UNC.encode())
        plan = run.check()
        run.begin(plan)

        def freeze(call: str, _key: str) -> None:
            if call == "create":
                server.freeze()
                patience.answer = patience.ping = patience.connect = 0.1

        desk.store.before = freeze
        done = Done(
            ended(lambda: run.execute(lambda: desk.store, desk.stop)), run.folder.path, plan
        )
        assert done.record.state is RunState.ERROR
        assert EXIT_CODES[done.record.state] == 3
        assert "データベースに接続できません（時間内に応答がありません）" in done.record.message
        assert done.failed == [rf"{UNC}\{number}.txt" for number in range(4)]
        server.thaw()
        patience.answer = patience.ping = patience.connect = SECONDS
        desk.store.before = lambda _call, _key: None
        again = desk.run((done.folder / "failed_uploads.txt").read_bytes())
        assert (again.record.state, len(stored(catalogue))) == (RunState.DONE, 4)
        assert len(desk.store.writes) == 4


def test_a_console_ends_although_its_database_is_frozen(
    server: PostgresServer, url: str, tmp_path: Path
) -> None:
    """With the usual limits: the end of the console is what makes them short."""
    patience = Patience(last=SECONDS)
    with opened(url, patience) as catalogue:
        frozen = threading.Event()
        add = catalogue.add

        def freeze_and_add(entries: list[Entry]) -> object:
            server.freeze()
            patience.last = patience.connect = 0.1
            frozen.set()
            return add(entries)

        catalogue.add = freeze_and_add  # type: ignore[method-assign, assignment]
        desk = Desk(tmp_path, catalogue=cast("MemoryCatalogue", catalogue))
        desk.write("a.txt", "x")
        jobs = Jobs(desk.settings, catalogue, lambda _settings: desk.store, no_restores)
        jobs.open()
        draft_id = jobs.check([ListSource("一覧.csv", archive_list(UNC))], REQUEST)
        pause = threading.Event()
        while (draft := jobs.draft(draft_id)) and draft.state is DraftState.CHECKING:
            pause.wait(0.01)
        run_id = jobs.start(draft_id)
        assert frozen.wait(SECONDS)
        ended(lambda: jobs.close(within=0.2))
        assert jobs.active() == ()
        record = jobs.record(run_id)
        assert record is not None
        assert record.state is RunState.ERROR
        failed = jobs.file(run_id, "failed_uploads.txt")
        assert failed is not None
        assert failed.read_text("utf-8-sig").splitlines() == [rf"{UNC}\a.txt"]
        server.thaw()


def test_the_time_that_is_left_in_numbers() -> None:
    clock = [100.0]
    patience = Patience(answer=65, clock=lambda: clock[0])
    assert patience.left(100, 65) == 65
    patience.hurry(20)
    assert patience.left(100, 65) == 20
    patience.hurry(50)  # the earlier end counts
    assert patience.left(100, 65) == 20
    clock[0] = 119
    assert patience.left(100, 65) == 1
    assert patience.left(119, 65) == 2  # what has just begun may still be answered
    clock[0] = 121.5
    assert patience.left(100, 65) < 0
    assert patience.left(121.5, 65) == 2
