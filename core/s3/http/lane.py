"""Many requests to S3 in flight from one thread: a selector over non-blocking connections."""

from __future__ import annotations

import selectors
import socket
import ssl
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Generic, TypeVar

from core.resources.shortage import patiently
from core.s3.http.client import BLOCK, RECORD_BYTES, AnswerError, LeanClient, send_first, send_some

A = TypeVar("A")
T = TypeVar("T")

_READ_WRITE = selectors.EVENT_READ | selectors.EVENT_WRITE


@dataclass(slots=True)
class Exchange(Generic[T]):
    """One connection of a lane, and the request that it carries."""

    connection: socket.socket
    token: T | None = None
    rest: memoryview = field(default_factory=lambda: memoryview(b""))
    """What of the request has not been sent yet."""
    size: int = 0
    """Bytes of the body that is expected."""
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
    """Requests in flight over up to ``connections`` non-blocking sockets, for one thread.

    Sixteen threads with one small object each spend most of their time on taking the
    interpreter's lock from each other. ``close`` it in the end.
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
            exchange.rest = send_first(exchange.connection, head, data)
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
        """Make the buffer for the answer; a shortage of memory is retried."""

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
                block = exchange.rest[: RECORD_BYTES if tls else BLOCK]
                if sent := send_some(exchange.connection, block):
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
