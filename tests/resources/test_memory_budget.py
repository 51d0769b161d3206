"""One budget of bytes for everything the console holds for people: never exceeded, and told."""

from __future__ import annotations

import asyncio
import http.client
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message, Receive, Scope, Send
from streamlit.testing.v1 import AppTest
from websockets.sync.client import connect

from core.config.settings import load_settings
from core.errors import ListError
from core.export.background import Exports
from core.export.job import ExportState
from core.export.writer import Form
from core.jobs.pending_checks import CHECK_BYTES, ITEM_BYTES, DraftState
from core.jobs.queue import Jobs
from core.model import SearchQuery
from core.resources.memory_budget import MIB, ConsoleMemory, MemoryBudget, MemoryBudgetError
from pages import services, uploads
from pages.auth import guard
from pages.services import Services
from pages.traffic import memory_door
from pages.traffic.memory_door import SESSION_BYTES, MemoryDoor
from tests.console.test_hardening import _put, _session, get
from tests.jobs.test_queue import SECONDS, Gate, Office
from tests.support.arrange import UNC, Desk, archive_list, no_restores
from tests.support.environment import free_port
from tests.support.people import OPERATOR, signed_in, write_accounts
from tests.support.servers.processes import console

TRY_AGAIN = "もう一度お試しください"


# The budget itself


def test_what_is_taken_is_given_back_and_nothing_beyond_the_limit() -> None:
    budget = MemoryBudget(100)
    with budget.reserve(60) as first:
        with pytest.raises(MemoryBudgetError, match=TRY_AGAIN):
            budget.reserve(41)
        with budget.reserve(40):
            assert budget.held == 100
        first.resize(100)
        with pytest.raises(MemoryBudgetError):
            first.resize(101)
        assert (first.size, budget.held) == (100, 100)
        first.release()
        first.release()
        assert budget.held == 0
    assert (budget.held, budget.has_room(100), budget.has_room(101)) == (0, True, False)


def test_what_others_hold_counts_as_well() -> None:
    held = [0]
    whole = MemoryBudget(100)
    part = whole.part(50)
    part.count(lambda: held[0])
    part.reserve(20)
    held[0] = 30
    assert (part.held, whole.held) == (50, 50)
    with pytest.raises(MemoryBudgetError):
        part.reserve(1)
    whole.reserve(50)
    held[0] = 0
    with pytest.raises(MemoryBudgetError):  # the part has room, the whole has not
        part.reserve(31)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 70)), max_size=30))
def test_no_order_of_taking_exceeds_any_limit(steps: list[tuple[int, int]]) -> None:
    whole = MemoryBudget(100)
    parts = [whole, whole.part(25), whole.part(60), whole.part(1000)]
    taken = [part.reserve(0) for part in parts]
    for number, size in steps:
        try:
            taken[number].resize(size)
        except MemoryBudgetError:
            fits = whole.held - taken[number].size + size <= 100
            assert not fits or size > parts[number].limit
        assert whole.held == sum(one.size for one in taken) <= 100
        assert all(part.held <= part.limit for part in parts)


def test_a_setting_that_is_no_number_of_mib_is_refused() -> None:
    assert load_settings({}).memory_bytes == 1024 * MIB
    assert load_settings({"HIMURO_MEMORY_BUDGET": "512"}).memory_bytes == 512 * MIB
    for text in ("511", "many", "-1", "2000000"):
        with pytest.raises(Exception, match=f"HIMURO_MEMORY_BUDGET は512以上.*{text}"):
            load_settings({"HIMURO_MEMORY_BUDGET": text})


# Checks and runs


@dataclass
class Bank:
    """An office whose checks stop before they read, and whose budget takes two of them."""

    office: Office
    gate: threading.Event = field(default_factory=threading.Event)

    @property
    def memory(self) -> ConsoleMemory:
        return self.office.jobs.memory


@pytest.fixture
def bank(tmp_path: Path) -> Iterator[Bank]:
    office = Office(tmp_path)
    bank = Bank(office)
    office.jobs.close(within=0)

    def open_store(_settings: object) -> object:
        assert bank.gate.wait(SECONDS)
        return office.desk.store

    office.desk.environ = {"HIMURO_MEMORY_BUDGET": "640"}
    office.desk.write("a.txt", "x")
    office.jobs = Jobs(office.desk.settings, office.desk.catalogue, open_store, no_restores)  # type: ignore[arg-type]
    office.jobs.open()
    yield bank
    bank.gate.set()
    office.jobs.close(within=0)


def test_a_check_that_does_not_fit_is_told_and_works_once_another_has_ended(bank: Bank) -> None:
    office, checks = bank.office, bank.memory.checks
    first, second = office.check(UNC), office.check(UNC)
    assert 2 * CHECK_BYTES <= checks.held <= checks.limit
    with pytest.raises(MemoryBudgetError, match=TRY_AGAIN):
        office.check(UNC)
    assert len([d for d in (first, second) if office.jobs.draft(d)]) == 2  # nobody else loses
    bank.gate.set()
    office.until(lambda: office.draft(first).state is DraftState.READY)
    office.until(lambda: office.draft(second).state is DraftState.READY)
    size = len(archive_list(UNC))
    assert checks.held == 2 * (ITEM_BYTES + size)
    office.jobs.discard(second)
    assert checks.held == ITEM_BYTES + size
    assert office.checked(UNC).state is DraftState.READY


def test_the_memory_of_a_plan_is_given_back_when_its_run_has_ended(bank: Bank) -> None:
    office, checks = bank.office, bank.memory.checks
    bank.gate.set()
    gate = Gate()
    office.desk.store.before = gate
    run_id = office.jobs.start(office.checked(UNC).draft_id)
    assert gate.reached.wait(SECONDS)
    assert checks.held >= ITEM_BYTES
    gate.opened.set()
    office.ended(run_id)
    office.until(lambda: checks.held == 0)


def test_a_check_that_is_refused_fails_or_is_discarded_gives_its_memory_back(bank: Bank) -> None:
    office, checks = bank.office, bank.memory.checks
    going = office.check(UNC)
    office.jobs.discard(going)
    assert checks.held >= CHECK_BYTES  # it still reads
    bank.gate.set()
    office.until(lambda: checks.held == 0)
    refused = office.checked(rf"{UNC}\missing.txt")
    assert (refused.state, checks.held) == (DraftState.REFUSED, ITEM_BYTES)
    office.jobs.discard(refused.draft_id)
    assert checks.held == 0


def test_what_nobody_has_looked_at_gives_way(tmp_path: Path) -> None:
    now = datetime(2026, 11, 28, tzinfo=UTC)
    office = Office(tmp_path)
    office.jobs.close(within=0)
    desk = office.desk
    desk.write("a.txt", "x")
    office.jobs = Jobs(
        desk.settings, desk.catalogue, lambda _settings: desk.store, no_restores, now=lambda: now
    )
    left, watched = office.checked(UNC).draft_id, office.checked(UNC).draft_id
    with ExitStack() as stack:
        free = office.jobs.memory.whole.limit - office.jobs.memory.whole.held
        size = len(archive_list(UNC))
        stack.enter_context(office.jobs.memory.whole.reserve(free - CHECK_BYTES - size + 1))
        with pytest.raises(MemoryBudgetError):
            office.check(UNC)
        now += timedelta(minutes=11)
        assert office.jobs.draft(watched) is not None
        assert office.checked(UNC).state is DraftState.READY
        assert [office.jobs.draft(d) is not None for d in (left, watched)] == [False, True]
    office.jobs.close(within=0)


# Files of hits


def test_a_file_of_hits_that_does_not_fit_says_so(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    settings = desk.settings
    memory = ConsoleMemory(settings.memory_bytes)
    exports = Exports(settings, desk.catalogue, memory=memory)

    def made() -> tuple[ExportState, str]:
        export_id = exports.start(SearchQuery(), Form.CSV)
        ended = threading.Event()
        for _ in range(SECONDS * 200):
            view = exports.view(export_id)
            assert view is not None
            if view.state.is_final:
                return view.state, view.message
            ended.wait(0.005)
        raise AssertionError("it never ended")

    with memory.exports.reserve(memory.exports.limit):
        state, message = made()
        assert (state, TRY_AGAIN in message) == (ExportState.FAILED, True)
    assert made() == (ExportState.DONE, "")
    exports.close()
    assert memory.whole.held == 0


# The pages


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setattr(guard, "is_operator", lambda: True)
    desk = Desk(tmp_path)
    desk.write("a.txt", b"x")
    jobs = Jobs(desk.settings, desk.catalogue, lambda _settings: desk.store, no_restores)
    services.replace(Services(desk.settings, desk.catalogue, jobs))
    yield desk
    jobs.close(within=0)
    services.replace(None)


def test_the_operator_is_told_and_the_list_stays(desk: Desk) -> None:
    memory = services.current().memory
    page = AppTest.from_string(
        "from pages.archive import page as archive\narchive.render()", default_timeout=60
    )
    page.run()
    page.file_uploader[0].upload("一覧.csv", archive_list(UNC))
    page.text_input(key="request-id").set_value("REQ-1")
    page.text_input(key="requester").set_value("山田")
    with memory.whole.reserve(memory.whole.limit - memory.whole.held - MIB):
        page.button(key="check").click().run()
        assert [TRY_AGAIN in error.value for error in page.error] == [True]
    page.button(key="check").click().run()
    assert not page.error


async def _through(scope: Scope, *sent: Message) -> list[Message]:
    """Return what the door, before an application that answers 204, says."""
    answers: list[Message] = []
    waiting = list(sent)

    async def receive() -> Message:
        return waiting.pop(0) if waiting else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        answers.append(message)

    async def application(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    await MemoryDoor(application)(scope, receive, send)
    return answers


def _scope(method: str, path: str, **headers: str) -> Scope:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "method": method, "path": path, "headers": raw}


def _status(answers: list[Message]) -> tuple[int, str]:
    return answers[0]["status"], answers[1]["body"].decode()


def test_a_session_that_does_not_fit_is_refused_and_its_page_says_so(desk: Desk) -> None:
    sessions = services.current().memory.sessions
    page, stream = _scope("GET", "/archive"), {"type": "websocket", "path": "/_stcore/stream"}
    with sessions.reserve(sessions.limit - SESSION_BYTES + 1) as others:
        assert asyncio.run(_through(stream)) == [{"type": "websocket.close", "code": 1013}]
        status, sentence = _status(asyncio.run(_through(page)))
        assert (status, TRY_AGAIN in sentence) == (503, True)
        assert _status(asyncio.run(_through(_scope("GET", "/healthz")))) == (204, "")
        others.resize(0)
        assert _status(asyncio.run(_through(page))) == (204, "")
        assert len(asyncio.run(_through(stream))) == 2
    assert sessions.held == 0


def test_lists_of_one_session_are_bounded(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    put = _scope("PUT", "/_stcore/upload_file/s1/x", content_length="100")
    monkeypatch.setattr(uploads, "of_session", lambda _id: (memory_door.MAX_FILES, 0))
    status, sentence = _status(asyncio.run(_through(put)))
    assert (status, "20個" in sentence) == (413, True)
    monkeypatch.setattr(uploads, "of_session", lambda _id: (1, memory_door.MAX_BYTES - 99))
    assert _status(asyncio.run(_through(put)))[0] == 413
    monkeypatch.setattr(uploads, "of_session", lambda _id: (1, memory_door.MAX_BYTES - 100))
    assert _status(asyncio.run(_through(put)))[0] == 204


# Through the wire


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = tmp_path_factory.mktemp("memory")
    (root / "share").mkdir()
    write_accounts(root / "data" / "accounts.toml", OPERATOR)
    env = {
        "HIMURO_DATA_DIR": str(root / "data"),
        "HIMURO_BUCKET": "himuro-memory",
        "HIMURO_SHARES": f"{UNC}={root / 'share'}",
        "HIMURO_MEMORY_BUDGET": "512",
    }
    with console(env, free_port(), log=root / "console.log", cwd=root) as running:
        yield running.url


def test_uploads_that_together_exceed_the_budget(url: str) -> None:
    """A quarter of 512 MiB: five lists of 25 MiB on their way leave 3. A list of 3.3 MB is told
    so, nothing is exceeded, and it has its turn when one of the five is given up."""
    answer, _body = get(url, "/_stcore/health")
    token = answer.headers["Set-Cookie"].partition("=")[2].partition(";")[0]
    person = signed_in(url, OPERATOR)["Cookie"]
    kind = {
        "Content-Type": "multipart/form-data; boundary=b",
        "X-Xsrftoken": token,
        "Cookie": f"_streamlit_xsrf={token}; {person}",
    }
    head = b'--b\r\nContent-Disposition: form-data; name="f"; filename="f.csv"\r\n\r\n'
    body = head + b"x" * 3_300_000 + b"\r\n--b--\r\n"
    stream = url.replace("http", "ws") + "/_stcore/stream"
    with (
        connect(stream, proxy=None) as one,
        connect(stream, proxy=None) as two,
        ExitStack() as stack,
    ):
        ids = [_session(one), _session(two)]

        def path(session: int, name: str) -> str:
            return f"/_stcore/upload_file/{ids[session]}/{name}"

        places = [path(0, "a"), path(0, "b"), path(0, "c"), path(1, "d"), path(1, "e")]
        going = [stack.enter_context(_begun(url, place, kind, head)) for place in places]
        assert _put(url, path(1, "f"), kind, body) == 503
        going[0].close()
        # Nobody tells when the server has noticed.
        assert any(_put(url, path(1, "f"), kind, body) == 204 for _ in range(100))
        assert _put(url, path(0, "g"), {**kind, "Content-Length": str(25 * MIB)}, b"") == 503


@contextmanager
def _begun(
    url: str, path: str, headers: dict[str, str], beginning: bytes
) -> Iterator[http.client.HTTPConnection]:
    """Send the beginning of a list of 25 MB, and go on when the server has it."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    with closing(connection):
        connection.putrequest("PUT", path)
        for name, value in {**headers, "Content-Length": str(25 * MIB)}.items():
            connection.putheader(name, value)
        connection.putheader("Expect", "100-continue")
        connection.endheaders()
        assert b"100" in connection.sock.recv(1000)  # it is being read
        connection.send(beginning)
        yield connection


def test_the_sentence_is_no_other_error() -> None:
    assert isinstance(MemoryBudgetError(), ListError)
    assert "メモリー" in str(MemoryBudgetError())
