"""Requests to S3 with the least work that HTTP allows: signed heads on kept connections.

A client library spends several times more processor time on a small object than S3's protocol
needs (``docs/decisions/0003-two-s3-clients.md``). This one knows only the plain good case: whatever
S3 does not simply do is told to the caller, who asks again with boto3.
"""

from __future__ import annotations

import selectors
import socket
import ssl
import time
import weakref
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Generic, NamedTuple, TypeVar

from core.resources.shortage import patiently
from core.s3.http.sigv4 import Endpoint, Signer

A = TypeVar("A")
T = TypeVar("T")

MAX_HEADER_BYTES = 64 * 1024
"""Of an answer; S3's have less than four KiB."""
_CONNECT_SECONDS = 3.0
_BLOCK = 1024 * 1024
_RECORD_BYTES = 16 * 1024
"""What fits into one record of TLS. Of more at a time nobody could see that it moves, and what
TLS could not send it must be given again in the same length."""
_GATHERS = hasattr(socket.socket, "sendmsg")
"""Whether headers and data can go with one call without being copied; not on Windows."""
_READ_WRITE = selectors.EVENT_READ | selectors.EVENT_WRITE


def _nobody() -> None:
    """Hear that bytes have gone, and do nothing."""


class AnswerError(Exception):
    """The connection ended, or what came is no answer that this client understands."""


class Reply(NamedTuple):
    """An answer without its body. A status alone proves nothing: gateways say 200 as well."""

    status: int
    keep: bool
    """Whether the connection can be used again."""
    head: bytes
    """Status line and headers as they came, the blank line included."""

    def header(self, name: str) -> str:
        """Return a header's value, empty when there is none. ``name`` in lower case."""
        for line in self.head.split(b"\r\n")[1:]:
            found, _, value = line.partition(b":")
            if found.decode("latin-1").strip().lower() == name:
                return value.decode("latin-1").strip()
        return ""


class LeanClient:
    """Sends requests to one bucket. Safe in any thread; each call uses a connection alone."""

    def __init__(self, endpoint: Endpoint, signer: Signer, seconds: float) -> None:
        """``seconds``: how long a single send or receive may take."""
        self._address = endpoint.address
        self._tls = (
            ssl.create_default_context(cafile=endpoint.ca_bundle) if endpoint.is_tls else None
        )
        self.signer = signer
        self.seconds = seconds
        self.moved: Callable[[], None] = _nobody
        """Hears that bytes of a large request have gone."""
        self._idle: deque[socket.socket] = deque()
        # Nobody is asked to close a client: its connections go with it.
        weakref.finalize(self, _close_all, self._idle)

    def exchange(self, head: bytes, data: bytes) -> Reply:
        """Send one request and return the answer.

        Raises ``OSError`` (``TimeoutError`` when nobody answered in time) or ``AnswerError``;
        S3 may have done what was asked all the same. Where a kept connection breaks, the
        request is sent a second time: it has to be one for which that does no harm.
        """
        try:
            connection = self._idle.pop()
        except IndexError:
            return self._exchange(self.connect(), head, data)
        try:
            return self._exchange(connection, head, data)
        except TimeoutError:
            raise
        except (OSError, AnswerError):
            # S3 closes what was idle for some seconds; the others are as old.
            _close_all(self._idle)
        return self._exchange(self.connect(), head, data)

    def connect(self) -> socket.socket:
        """Return a new connection to the endpoint.

        Raises ``OSError``, ``FatalError(MACHINE_SHORT)`` when this machine could not even ask.
        """
        connection = patiently(socket.create_connection, self._address, _CONNECT_SECONDS)
        try:
            connection.settimeout(self.seconds)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls:
                return self._tls.wrap_socket(connection, server_hostname=self._address[0])
        except BaseException:
            connection.close()
            raise
        return connection

    def _exchange(self, connection: socket.socket, head: bytes, data: bytes) -> Reply:
        reply: Reply | None = None
        try:
            send_all(connection, head, data, self.moved)
            answer = b""
            while (reply := parse_answer(answer)) is None:
                block = connection.recv(MAX_HEADER_BYTES)
                if not block:
                    raise AnswerError("no answer")
                answer += block
        finally:
            self.give_back(connection, keep=reply is not None and reply.keep)
        return reply

    def give_back(self, connection: socket.socket, *, keep: bool) -> None:
        """Keep a connection for the next request, or let go of it."""
        if keep:
            self._idle.append(connection)
        else:
            connection.close()


@dataclass(slots=True)
class Exchange(Generic[T]):
    """One connection of a lane, and the request that it carries."""

    connection: socket.socket
    token: T | None = None
    rest: memoryview = field(default_factory=lambda: memoryview(b""))
    """Of the request, not sent yet."""
    size: int = 0
    """Of the body that is expected, in bytes."""
    answer: bytearray = field(default_factory=bytearray)
    received: int = 0
    """How many bytes of ``answer`` have come, where it was made large enough for all."""
    body_at: int = 0
    """Where the body begins in ``answer``; 0 until that is known."""
    keep: bool = False
    """Whether the connection can be used again after this answer."""
    moved_at: float = 0.0
    """When bytes last went either way, on the monotonic clock."""


class WireLane(ABC, Generic[T, A]):
    """Several requests at once by one thread, which waits for all of them together.

    Sixteen threads with one small object each spend most of their time on taking the
    interpreter's lock from each other. For one thread only; ``close`` it in the end.
    """

    def __init__(self, client: LeanClient, connections: int) -> None:
        self._seconds = client.seconds
        self._connect = client.connect
        self._most = connections
        self._selector = patiently(selectors.DefaultSelector)
        self._idle: list[Exchange[T]] = []
        self._busy: dict[int, Exchange[T]] = {}
        self._ended: list[tuple[T, A | int | None]] = []

    @property
    def busy(self) -> int:
        """How many requests ``wait`` still owes an answer."""
        return len(self._busy) + len(self._ended)

    @property
    def is_full(self) -> bool:
        """True as well while ``wait`` has something to tell without waiting: S3 may be gone,
        and each further connection would take its time to find that out."""
        return bool(self._ended) or len(self._busy) >= self._most

    def _begin(self, head: bytes, data: bytes, token: T, size: int = 0) -> None:
        """Begin a request that ``wait`` will end under this ``token``.

        May block while it connects. ``size``: of the body that is expected. Raises
        ``FatalError(MACHINE_SHORT)``; then nothing has begun.
        """
        try:
            exchange = self._idle.pop() if self._idle else self._connected()
        except OSError as exc:
            silent = isinstance(exc, TimeoutError)
            self._ended.append((token, HTTPStatus.REQUEST_TIMEOUT if silent else None))
            return
        exchange.size = size
        try:
            patiently(self._prepare, exchange)
        except BaseException:
            self._idle.append(exchange)
            raise
        exchange.token = token
        exchange.moved_at = time.monotonic()
        self._busy[id(exchange)] = exchange
        try:
            exchange.rest = _send_first(exchange.connection, head, data)
        except (OSError, MemoryError):  # who owns the token asks again
            self._end(exchange, None)
            return
        if exchange.rest:
            self._selector.modify(exchange.connection, _READ_WRITE, exchange)

    def wait(self) -> list[tuple[T, A | int | None]]:
        """Return requests that ended, at least one while any is busy, each with what came.

        408 stands for nobody who answered in time, None for a connection that broke: S3 may
        have done what was asked or not.
        """
        while self._busy and not self._ended:
            oldest = min(exchange.moved_at for exchange in self._busy.values())
            limit = oldest + self._seconds
            for key, mask in self._selector.select(max(0.0, limit - time.monotonic())):
                self._advance(key.data, mask)
            late = time.monotonic() - self._seconds
            if oldest <= late:
                for exchange in [e for e in self._busy.values() if e.moved_at <= late]:
                    self._end(exchange, HTTPStatus.REQUEST_TIMEOUT)
        ended, self._ended = self._ended, []
        return ended

    def close(self) -> None:
        for exchange in [*self._idle, *self._busy.values()]:
            exchange.connection.close()
        self._selector.close()

    @abstractmethod
    def _prepare(self, exchange: Exchange[T]) -> None:
        """Make room for the answer."""

    @abstractmethod
    def _receive(self, exchange: Exchange[T]) -> bool:
        """Receive once and ``_end`` when all is there; returns whether it ended.

        Raises ``AnswerError``, or ``OSError`` also where nothing is there yet.
        """

    def _connected(self) -> Exchange[T]:
        connection = self._connect()
        connection.setblocking(False)
        exchange = Exchange[T](connection)
        self._selector.register(connection, selectors.EVENT_READ, exchange)
        return exchange

    def _advance(self, exchange: Exchange[T], mask: int) -> None:
        """Move one connection on as far as it goes without waiting."""
        tls = isinstance(exchange.connection, ssl.SSLSocket)
        try:
            if mask & selectors.EVENT_WRITE and exchange.rest:
                block = exchange.rest[: _RECORD_BYTES if tls else _BLOCK]
                if sent := _sent(exchange.connection, block):
                    exchange.moved_at = time.monotonic()
                    exchange.rest = exchange.rest[sent:]
                if not exchange.rest:
                    self._selector.modify(exchange.connection, selectors.EVENT_READ, exchange)
            if mask & selectors.EVENT_READ:
                if exchange.token is None:
                    raise AnswerError("one that nobody asked for, or the end")
                with suppress(BlockingIOError, ssl.SSLWantReadError):
                    # TLS may hold more than the selector sees.
                    while not self._receive(exchange) and tls:
                        pass
        except (OSError, AnswerError, MemoryError):
            self._end(exchange, None)

    def _end(self, exchange: Exchange[T], answer: A | int | None, keep: bool = False) -> None:
        token, exchange.token = exchange.token, None
        if self._busy.pop(id(exchange), None) is not None and token is not None:
            self._ended.append((token, answer))
        if keep and not exchange.rest:
            self._idle.append(exchange)
            return
        if exchange in self._idle:
            self._idle.remove(exchange)
        self._selector.unregister(exchange.connection)
        exchange.connection.close()


def _close_all(connections: deque[socket.socket]) -> None:
    with suppress(IndexError):
        while True:
            connections.pop().close()


def send_all(
    connection: socket.socket, head: bytes, data: bytes, moved: Callable[[], None] = _nobody
) -> None:
    """Send a request over a connection that waits; raises ``OSError``.

    ``moved`` hears of every piece after the first, which the machine itself may still hold.
    """
    rest = _send_first(connection, head, data)
    while rest:
        # Piece by piece: the time limit counts for each.
        rest = rest[connection.send(rest[:_BLOCK]) :]
        moved()


def _send_first(connection: socket.socket, head: bytes, data: bytes) -> memoryview:
    """Send what goes at once and return the rest."""
    if _GATHERS and not isinstance(connection, ssl.SSLSocket):
        try:
            sent = connection.sendmsg((head, data))
        except BlockingIOError:
            sent = 0
        if sent >= len(head):
            return memoryview(data)[sent - len(head) :]
        return memoryview(head + data)[sent:]
    beside = max(0, _RECORD_BYTES - len(head))
    first = head + data[:beside]
    sent = _sent(connection, memoryview(first)[:_RECORD_BYTES])
    if sent == len(first):
        return memoryview(data)[beside:]
    return memoryview(head + data)[sent:]


def _sent(connection: socket.socket, data: memoryview) -> int:
    """Return how many bytes the network took; 0 when it takes none at the moment.

    Raises ``SSLWantReadError`` where TLS wants to be read first, which S3 never asks for: to
    wait until such a connection can be written to would not wait at all.
    """
    try:
        return connection.send(data)
    except (BlockingIOError, ssl.SSLWantWriteError):
        return 0


def parse_answer(answer: bytes | bytearray) -> Reply | None:
    """Return an answer; None while more is to come. Raises ``AnswerError``."""
    end = answer.find(b"\r\n\r\n")
    if end < 0:
        if len(answer) > MAX_HEADER_BYTES:
            raise AnswerError("too long")
        return None
    head = bytes(answer[: end + 4])
    lower = head.lower()
    status = status_of(lower)
    # Only an empty body is waited for: that of an error is for boto3, which asks again.
    empty = b"\r\ncontent-length: 0\r\n" in lower and len(answer) == len(head)
    keep = empty and b"\r\nconnection: close\r\n" not in lower
    return Reply(status, keep, head)


def status_of(head: bytes | bytearray) -> int:
    """Return the status of an answer whose head is in lower case; raises ``AnswerError``."""
    status = head[9:12]
    if not head.startswith(b"http/1.1 ") or not status.isdigit() or status.startswith(b"1"):
        raise AnswerError("not understood")
    return int(status)
