"""Connections of every kind that never do anything, before a server with the console's bounds."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from websockets.frames import Frame, Opcode

from core.config.limits import Limits
from pages.traffic import connections
from pages.traffic.connections import ConnectionLimits
from pages.traffic.websocket import BUSY

MOST, MAX_OF_ONE = 12, 8


async def _hello(request: Request) -> PlainTextResponse:
    await request.body()
    return PlainTextResponse("hello")


async def _large(_request: Request) -> PlainTextResponse:
    return PlainTextResponse("x" * 20_000_000)


async def _echo(stream: WebSocket) -> None:
    await stream.accept()
    while True:
        message = await stream.receive()
        if message["type"] == "websocket.disconnect":
            return
        await stream.send_bytes(message["bytes"] or b"")


@contextmanager
def serving(*, trusted: str = "127.0.0.1") -> Iterator[int]:
    """Run a server with these limits in this process; yields its port."""
    app = Starlette(
        routes=[
            Route("/", _hello, methods=["GET", "POST"]),
            Route("/large", _large),
            WebSocketRoute("/echo", _echo),
        ]
    )
    config = uvicorn.Config(
        ConnectionLimits(app),
        host="127.0.0.1",
        port=0,
        http="h11",
        ws="websockets-sansio",
        log_level="error",
        forwarded_allow_ips=trusted,
    )
    server = uvicorn.Server(config)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)  # whoever comes before the server waits for it
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            server.should_exit = server.force_exit = True
            thread.join(20)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "bounds", lambda: Limits(MOST, MAX_OF_ONE))


def dialled(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=30)


def asked(stream: socket.socket) -> str:
    """Return the answer to a request, whole."""
    stream.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    return answer(stream)


def answer(stream: socket.socket) -> str:
    with stream.makefile("rb") as file:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = file.readline()
            assert line, "closed without an answer"
            head += line
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        return (head + file.read(length)).decode()


def upgraded(port: int) -> socket.socket:
    stream = dialled(port)
    stream.sendall(
        b"GET /echo HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += stream.recv(1)
    assert head.startswith(b"HTTP/1.1 101 "), head
    return stream


def is_closed(stream: socket.socket) -> bool:
    try:
        return stream.recv(1) == b""
    except ConnectionResetError:
        return True


def test_whoever_only_holds_connections_keeps_nobody_out() -> None:
    with serving() as port, ExitStack() as stack:
        idle = [stack.enter_context(closing(dialled(port))) for _ in range(MOST * 4)]
        visitor = stack.enter_context(closing(dialled(port)))
        assert asked(visitor).endswith("hello")
        for stream in idle[: MOST * 2]:
            assert is_closed(stream)
        # Between two requests a visitor is as silent as the others, and came later.
        assert asked(idle[-1]).endswith("hello")


def test_one_address_is_held_to_its_own_number() -> None:
    with serving(trusted="192.0.2.1") as port, ExitStack() as stack:
        pages = [stack.enter_context(closing(upgraded(port))) for _ in range(MAX_OF_ONE)]
        with closing(dialled(port)) as stream:
            told = answer(stream)
        assert told.startswith("HTTP/1.1 503 ")
        assert told.endswith(BUSY)
        pages[0].close()
        assert pages[1].send(Frame(Opcode.BINARY, b"a").serialize(mask=True, extensions=[]))
        assert pages[1].recv(3) == b"\x82\x01a"


def test_a_console_that_is_full_says_so_and_serves_again() -> None:
    with serving() as port, ExitStack() as stack:
        pages = [stack.enter_context(closing(upgraded(port))) for _ in range(MOST)]
        with closing(dialled(port)) as stream:
            told = answer(stream)
        assert told.startswith("HTTP/1.1 503 ")
        assert told.endswith(BUSY)
        assert "Retry-After: 5" in told
        goodbye = Frame(Opcode.CLOSE, struct.pack("!H", 1000))
        pages[0].sendall(goodbye.serialize(mask=True, extensions=[]))
        while not is_closed(pages[0]):
            pass
        with closing(dialled(port)) as stream:
            assert asked(stream).endswith("hello")


@pytest.mark.parametrize(
    "begun",
    [b"", b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ", b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET"],
    ids=["nothing", "half a head", "half a second head"],
)
def test_a_request_that_does_not_come_is_not_waited_for(
    begun: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 0.1)
    monkeypatch.setattr(connections, "_LOOK_SECONDS", 0.05)
    with serving() as port, closing(dialled(port)) as stream:
        if begun:
            stream.sendall(begun)
        if begun.endswith(b"GET"):
            assert answer(stream).endswith("hello")
        assert is_closed(stream)


def test_a_body_that_does_not_end_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "BODY_SECONDS", 0.1)
    monkeypatch.setattr(connections, "_LOOK_SECONDS", 0.05)
    with serving() as port, closing(dialled(port)) as stream:
        stream.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
        assert is_closed(stream)


def test_an_answer_that_is_not_read_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "STUCK_SECONDS", 0.1)
    monkeypatch.setattr(connections, "_LOOK_SECONDS", 0.05)
    gone = threading.Event()
    lost = connections._Http.connection_lost

    def noticed(self: connections._Http, exc: Exception | None) -> None:
        lost(self, exc)
        gone.set()

    monkeypatch.setattr(connections._Http, "connection_lost", noticed)
    with serving() as port, closing(dialled(port)) as stream:
        stream.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        assert gone.wait(30)


def test_a_page_that_does_not_read_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "STUCK_SECONDS", 0.1)
    gone = threading.Event()
    lost = connections._WebSocket.connection_lost

    def noticed(self: connections._WebSocket, exc: Exception | None) -> None:
        lost(self, exc)
        gone.set()

    monkeypatch.setattr(connections._WebSocket, "connection_lost", noticed)
    with serving() as port, closing(upgraded(port)) as stream:
        frame = Frame(Opcode.BINARY, b"x" * 100_000).serialize(mask=True, extensions=[])
        stream.settimeout(30)
        while not gone.is_set():
            try:
                stream.sendall(frame)
            except (BrokenPipeError, ConnectionResetError):
                break
        assert gone.wait(30)
