"""One laptop that sends what no browser sends, and everybody else at the console meanwhile."""

from __future__ import annotations

import http.client
import socket
import struct
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import streamlit
from playwright.sync_api import Browser, WebSocket
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.sync.client import ClientConnection

from core.auth.accounts import Role
from core.config.limits import BACKLOG
from core.model import MAX_TYPED
from pages.search.filters import LONGEST_PATH
from pages.traffic.messages import MAX_BYTES, MAX_NAMES, MAX_WIDGETS
from pages.traffic.websocket import BUSY
from tests.support.environment import CHECKOUT, free_port
from tests.support.people import OPERATOR, Person, signed_in, write_accounts
from tests.support.servers.browser import core, screen
from tests.support.servers.page_socket import page_socket
from tests.support.servers.processes import Console, console

FLOOD = 2_000
"""Messages; with what a page may send at once and while they arrive, some hundred pass."""
CONNECTIONS = 250
_addresses = iter(range(1, 250))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    root = tmp_path_factory.mktemp("flooded")
    (root / "share").mkdir()
    (root / "share" / "a.txt").write_text("a")
    write_accounts(root / "data" / "accounts.toml", OPERATOR)
    env = {
        "HIMURO_DATA_DIR": str(root / "data"),
        "HIMURO_BUCKET": "himuro-flooded",
        "HIMURO_RESTORE_ROOTS": str(root / "share"),
        "HIMURO_CONNECTIONS": str(CONNECTIONS),
        "HIMURO_SHARES": f"\\\\fsx01\\share={root / 'share'}",
    }
    core(env, root, "init-db")
    log = root / "console.log"
    with console(env, free_port(), log=log, cwd=root) as found:
        yield found
    assert "Traceback" not in log.read_text("utf-8")


def elsewhere() -> dict[str, str]:
    """Return the headers with which a proxy on this machine names a client of its own."""
    return {"X-Forwarded-For": f"198.51.100.{next(_addresses)}"}


@contextmanager
def page(url: str, headers: dict[str, str] | None = None) -> Iterator[ClientConnection]:
    """Open the WebSocket of a page, from an address of its own unless ``headers`` say one."""
    with page_socket(url, headers or elsewhere()) as stream:
        yield stream


def sent(stream: ClientConnection, message: BackMsg) -> None:
    stream.send(message.SerializeToString())


def back(**fields: Any) -> BackMsg:
    return BackMsg(**fields)


def rerun() -> BackMsg:
    message = BackMsg()
    message.rerun_script.SetInParent()
    return message


def answers(stream: ClientConnection) -> list[ForwardMsg]:
    """Return what the console says until a run of the script is over."""
    found: list[ForwardMsg] = []
    while not found or found[-1].WhichOneof("type") != "script_finished":
        data = stream.recv(timeout=60)
        assert isinstance(data, bytes)
        found.append(ForwardMsg.FromString(data))
    return found


def closed_with(stream: ClientConnection) -> int:
    """Return the code with which the console closes; fails when it says nothing for a while."""
    try:
        while True:
            stream.recv(timeout=10)
    except ConnectionClosed as told:
        return told.rcvd.code if told.rcvd else 0


def assert_served(url: str) -> None:
    """Somebody else gets the archive list, and the monitoring its answer."""
    with page(url) as stream:
        sent(stream, rerun())
        assert "navigation" in kinds(answers(stream))
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    with closing(connection):
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 200


def kinds(messages: list[ForwardMsg]) -> set[str]:
    return {message.WhichOneof("type") or "" for message in messages}


# Messages


@pytest.mark.parametrize(
    "message",
    [rerun(), BackMsg(load_git_info=True), BackMsg(clear_cache=True), BackMsg(app_heartbeat=True)],
    ids=lambda message: message.WhichOneof("type"),
)
def test_a_flood_ends_its_connection(running: Console, message: BackMsg) -> None:
    with page(running.url) as stream:
        try:
            for _ in range(FLOOD):
                sent(stream, message)
        except ConnectionClosed:
            pass
        assert closed_with(stream) == 1008
    assert_served(running.url)


def test_floods_from_one_address_leave_a_page_of_that_address_alone(running: Console) -> None:
    here = elsewhere()
    with page(running.url, here) as honest:
        for _ in range(3):
            with page(running.url, here) as stream:
                try:
                    for _ in range(FLOOD):
                        sent(stream, rerun())
                except ConnectionClosed:
                    pass
                assert closed_with(stream) == 1008
        sent(honest, rerun())
        assert "navigation" in kinds(answers(honest))


UNNEEDED = {
    "clear_cache": BackMsg(clear_cache=True),
    "set_run_on_save": BackMsg(set_run_on_save=True),
    "load_git_info": BackMsg(load_git_info=True),
    "debug_disconnect_websocket": BackMsg(debug_disconnect_websocket=True),
    "debug_shutdown_runtime": BackMsg(debug_shutdown_runtime=True),
    "app_heartbeat": BackMsg(app_heartbeat=True),
    "backend_operation_request": back(
        backend_operation_request={"request_id": "1", "dismiss_skills_nudge": {}}
    ),
}


def test_every_kind_of_message_is_known() -> None:
    """A new version of Streamlit that brings another kind fails here, and somebody decides."""
    known = {field.name for field in BackMsg.DESCRIPTOR.oneofs_by_name["type"].fields}
    assert known == {*UNNEEDED, "rerun_script", "stop_script", "file_urls_request"}


@pytest.mark.parametrize("who", ["stranger", "operator"])
def test_what_no_page_needs_never_reaches_streamlit(running: Console, who: str) -> None:
    headers = elsewhere() if who == "stranger" else signed_in(running.url, OPERATOR)
    with page(running.url, headers) as stream:
        sent(stream, rerun())
        usual = kinds(answers(stream))
        for message in UNNEEDED.values():
            sent(stream, message)
        sent(stream, rerun())
        assert kinds(answers(stream)) <= usual
        assert "session_event" not in usual


def wants_to_upload(*names: str) -> BackMsg:
    return back(file_urls_request={"request_id": "1", "file_names": names})


def test_strangers_are_given_no_address_for_uploads(running: Console) -> None:
    with page(running.url) as stream:
        sent(stream, wants_to_upload("a.csv"))
        sent(stream, rerun())
        assert "file_urls_response" not in kinds(answers(stream))


def test_operators_are_given_addresses_for_some_uploads(running: Console) -> None:
    cookies = signed_in(running.url, OPERATOR)
    with page(running.url, cookies) as stream:
        sent(stream, wants_to_upload(*["a.csv"] * MAX_NAMES))
        told = ForwardMsg.FromString(stream.recv(timeout=60, decode=False))
        assert len(told.file_urls_response.file_urls) == MAX_NAMES
    with page(running.url, cookies) as stream:
        sent(stream, wants_to_upload(*["a.csv"] * (MAX_NAMES + 1)))
        assert closed_with(stream) == 1008


def with_widgets(count: int, text: str = "") -> BackMsg:
    widgets = [{"id": f"$$ID-{n}-q", "string_value": text} for n in range(count)]
    return back(rerun_script={"widget_states": {"widgets": widgets}})


def test_a_message_holds_so_many_widgets(running: Console) -> None:
    with page(running.url) as stream:
        sent(stream, with_widgets(MAX_WIDGETS))
        assert "navigation" in kinds(answers(stream))
        sent(stream, with_widgets(MAX_WIDGETS + 1))
        assert closed_with(stream) == 1008


def test_a_message_has_so_many_bytes_by_role(running: Console) -> None:
    strangers, operators = MAX_BYTES[Role.ANYONE], MAX_BYTES[Role.OPERATOR]
    cookies = signed_in(running.url, OPERATOR)
    large = with_widgets(1, "あ" * (strangers // 3))
    assert strangers < large.ByteSize() < operators
    with page(running.url, cookies) as stream:
        sent(stream, large)
        assert "navigation" in kinds(answers(stream))
        sent(stream, with_widgets(1, "a" * operators))
        assert closed_with(stream) == 1009
    with page(running.url) as stream:
        sent(stream, large)
        assert closed_with(stream) == 1009


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x0a",
        b"\x5a\x05\x00",
        b"\x5b\x5c",
        rerun().SerializeToString() * 2,
        b"\xff" * 40,
        b"\xf8\x07\x01",
    ],
    ids=repr,
)
def test_what_is_no_message_ends_the_connection(running: Console, data: bytes) -> None:
    with page(running.url) as stream:
        stream.send(data)
        assert closed_with(stream) == 1008


def test_text_ends_the_connection(running: Console) -> None:
    with page(running.url) as stream:
        stream.send("rerun")
        assert closed_with(stream) == 1003


def test_the_longest_messages_of_the_pages_pass(running: Console, browser: Browser) -> None:
    """Every field of the archive list full to its end, and of the page where lists are typed."""
    others = ("request", "requester", "type", "min", "max")
    fields: dict[Person | None, dict[str, int]] = {
        None: {
            ".st-key-list-q input": LONGEST_PATH,
            ".st-key-list-directory input": LONGEST_PATH,
            **{f".st-key-list-{name} input": MAX_TYPED for name in others},
        },
        OPERATOR: {
            ".st-key-request-id input": MAX_TYPED,
            ".st-key-requester input": MAX_TYPED,
            ".st-key-comment input": 2000,
            "textarea": 200_000,
        },
    }
    longest = {}
    for who, letters in fields.items():
        sizes: list[int] = []
        with screen(browser, running.url, who) as window:

            def listen(stream: WebSocket, to: list[int] = sizes) -> None:
                stream.on("framesent", lambda data: to.append(len(data)))

            window.page.on("websocket", listen)
            window.open("/restore" if who else "/")
            if not who:
                window.press("絞り込み")
                window.see("サイズの上限")
            window.settle()
            for place, most in letters.items():
                window.page.locator(place).fill("雪" * most)
                if not who:  # the others stand in a form, which is sent as a whole
                    window.page.locator(place).press("Tab")
                    window.settle()
            if who:
                window.press("内容を確認する")
                window.settle()
            longest[who] = max(sizes)
    assert MAX_BYTES[Role.ANYONE] / 2 < longest[None] <= MAX_BYTES[Role.ANYONE]
    assert MAX_BYTES[Role.OPERATOR] * 0.9 < longest[OPERATOR] <= MAX_BYTES[Role.OPERATOR]


# What strangers are told


def test_a_page_tells_nothing_about_the_machine(running: Console) -> None:
    with page(running.url) as stream:
        sent(stream, rerun())
        told = answers(stream)
    (session,) = (m.new_session for m in told if m.WhichOneof("type") == "new_session")
    assert session.main_script_path == ""
    about = session.initialize
    assert about.HasField("user_info")
    assert about.user_info.ByteSize() == 0
    version = about.environment_info.streamlit_version
    assert version
    about.environment_info.streamlit_version = ""
    assert about.environment_info.ByteSize() == 0
    everything = b"".join(message.SerializeToString() for message in told) + version.encode()
    python = ".".join(map(str, sys.version_info[:3]))
    for secret in (str(CHECKOUT), "router.py", streamlit.__version__, python, sys.platform):
        assert secret.encode() not in everything, secret


# Frames


def raw_page(url: str) -> socket.socket:
    """Open the WebSocket of a page by hand; what is sent then is up to the caller."""
    there = urlsplit(url)
    stream = socket.create_connection((there.hostname or "", there.port or 0), timeout=60)
    head = (
        f"GET /_stcore/stream HTTP/1.1\r\nHost: {there.netloc}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        f"X-Forwarded-For: {elsewhere()['X-Forwarded-For']}\r\n\r\n"
    )
    stream.sendall(head.encode())
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += stream.recv(1)
    assert answer.startswith(b"HTTP/1.1 101 ")
    return stream


def close_code(stream: socket.socket) -> int:
    """Return the code of the close frame that comes, past what comes before it."""
    stream.settimeout(10)
    file = stream.makefile("rb")
    while True:
        first, second = file.read(2)
        length = second & 0x7F
        if length == 126:
            (length,) = struct.unpack("!H", file.read(2))
        body = file.read(length)
        if first & 0x0F == Opcode.CLOSE:
            (code,) = struct.unpack("!H", body[:2])
            return int(code)


def flood_of(frame: Frame) -> bytes:
    return frame.serialize(mask=True, extensions=[]) * FLOOD


@pytest.mark.parametrize(
    "frame",
    [
        Frame(Opcode.PING, b""),
        Frame(Opcode.PONG, b""),
    ],
    ids=lambda frame: frame.opcode.name,
)
def test_a_flood_of_frames_ends_its_connection(running: Console, frame: Frame) -> None:
    with closing(raw_page(running.url)) as stream:
        stream.sendall(flood_of(frame))
        assert close_code(stream) == 1008
    assert_served(running.url)


def test_a_message_in_endless_pieces_ends_its_connection(running: Console) -> None:
    begin = Frame(Opcode.BINARY, b"", fin=False).serialize(mask=True, extensions=[])
    with closing(raw_page(running.url)) as stream:
        stream.sendall(begin + flood_of(Frame(Opcode.CONT, b"", fin=False)))
        assert close_code(stream) == 1008


def test_an_unfinished_frame_holds_no_more_than_a_message_of_a_page(running: Console) -> None:
    head = struct.pack("!BBQ", 0x80 | Opcode.BINARY, 0x80 | 127, MAX_BYTES[Role.ANYONE] + 1)
    head += b"mask"
    with closing(raw_page(running.url)) as stream:
        stream.sendall(head)
        assert close_code(stream) == 1009


# Addresses


def test_an_address_opens_so_many_pages_at_once(running: Console) -> None:
    """Some wait for their turn; what would have to wait for long is told to come again."""
    here = elsewhere()

    def refusal() -> str:
        try:
            with page(running.url, here):
                return ""
        except InvalidStatus as refused:
            return f"{refused.response.status_code} {(refused.response.body or b'').decode()}"

    with ThreadPoolExecutor(160) as pool:
        told = Counter(pool.map(lambda _: refusal(), range(160)))
    assert set(told) == {"", f"503 {BUSY}"}
    assert told[""] >= 100
    assert_served(running.url)


def test_a_widget_that_streamlit_has_not_named_ends_the_connection(running: Console) -> None:
    """It would end the script with an error, and fill the log."""
    with page(running.url) as stream:
        widgets = [{"id": "w", "string_value": "x"}]
        sent(stream, back(rerun_script={"widget_states": {"widgets": widgets}}))
        assert closed_with(stream) == 1008


def test_whoever_only_holds_connections_leaves_files_for_runs(running: Console) -> None:
    there = urlsplit(running.url)
    files = Path(f"/proc/{running.process.pid}/fd")
    with ExitStack() as stack:
        before = len(list(files.iterdir()))
        for _ in range(3 * CONNECTIONS):
            idle = socket.create_connection((there.hostname or "", there.port or 0), timeout=60)
            stack.enter_context(closing(idle))
        assert_served(running.url)
        assert len(list(files.iterdir())) - before < CONNECTIONS + BACKLOG
