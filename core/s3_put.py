"""Creating objects with the least work that HTTP allows: signed puts on kept connections.

A client library spends several times more processor time on a small object than S3's protocol
needs (docs/architecture.md, "Two clients"). This one knows only the plain good case: whatever
S3 does not simply accept is told to the caller, who asks again with boto3.
"""

from __future__ import annotations

import selectors
import socket
import ssl
import time
import weakref
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Generic, TypeVar

from core.s3_sign import Endpoint, PutSigner

T = TypeVar("T")

_CONNECT_SECONDS = 3.0
_MOST_HEADER_BYTES = 64 * 1024
"""Of an answer; S3's have less than one KiB."""
_BLOCK = 1024 * 1024
_RECORD_BYTES = 16 * 1024
"""What fits into one record of TLS. Of more at a time nobody could see that it moves, and what
TLS could not send it must be given again in the same length."""
_GATHERS = hasattr(socket.socket, "sendmsg")
"""Whether headers and data can go with one call without being copied; not on Windows."""
_READ_WRITE = selectors.EVENT_READ | selectors.EVENT_WRITE


class AnswerError(Exception):
    """The connection ended, or what came is no answer that this client understands."""


@dataclass(frozen=True, slots=True)
class Put:
    """One object to be created."""

    key: str
    data: bytes
    sha256: str
    """Hexadecimal, of ``data``."""
    headers: Mapping[str, str]
    """Lower-case names, values of visible ASCII (no spaces: their signature would differ)."""


class PutClient:
    """Creates objects in one bucket. Safe in any thread; each call uses a connection alone."""

    def __init__(self, endpoint: Endpoint, signer: PutSigner, seconds: float) -> None:
        """``seconds``: how long a single send or receive may take."""
        self._address = endpoint.address
        self._tls = (
            ssl.create_default_context(cafile=endpoint.ca_bundle) if endpoint.is_tls else None
        )
        self._signer = signer
        self.seconds = seconds
        self._idle: deque[socket.socket] = deque()
        # Nobody is asked to close a client: its connections go with it.
        weakref.finalize(self, _close_all, self._idle)

    def put(self, put: Put) -> int:
        """Send one conditional put and return the HTTP status; 200: the object is stored.

        Raises ``OSError`` (``TimeoutError`` when nobody answered in time) or ``AnswerError``;
        the object may be stored all the same. A second call never overwrites: S3 answers 412.
        """
        head = self.head(put)
        try:
            connection = self._idle.pop()
        except IndexError:
            return self._exchange(self.connect(), head, put.data)
        try:
            return self._exchange(connection, head, put.data)
        except TimeoutError:
            raise
        except (OSError, AnswerError):
            # S3 closes what was idle for some seconds; the others are as old.
            _close_all(self._idle)
        return self._exchange(self.connect(), head, put.data)

    def head(self, put: Put) -> bytes:
        headers = {**put.headers, "if-none-match": "*"}
        return self._signer.head(put.key, len(put.data), headers, put.sha256)

    def connect(self) -> socket.socket:
        """Return a new connection to the endpoint; raises ``OSError``."""
        connection = socket.create_connection(self._address, _CONNECT_SECONDS)
        try:
            connection.settimeout(self.seconds)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls:
                return self._tls.wrap_socket(connection, server_hostname=self._address[0])
        except BaseException:
            connection.close()
            raise
        return connection

    def _exchange(self, connection: socket.socket, head: bytes, data: bytes) -> int:
        keep = False
        try:
            rest = _send_first(connection, head, data)
            while rest:
                # Piece by piece: the time limit counts for each.
                rest = rest[connection.send(rest[:_BLOCK]) :]
            answer = b""
            while (parsed := _parse(answer)) is None:
                block = connection.recv(_MOST_HEADER_BYTES)
                if not block:
                    raise AnswerError("no answer")
                answer += block
            status, keep = parsed
        finally:
            if keep:
                self._idle.append(connection)
            else:
                connection.close()
        return status


@dataclass(slots=True)
class _Sending(Generic[T]):
    """One connection of a lane, and the put that it carries."""

    connection: socket.socket
    token: T | None = None
    rest: memoryview = field(default_factory=lambda: memoryview(b""))
    answer: bytes = b""
    moved_at: float = 0.0
    """When bytes last went either way, on the monotonic clock."""


class PutLane(Generic[T]):
    """Several puts at once by one thread, which waits for all of them together.

    Sixteen threads that send one small object each spend most of their time on taking the
    interpreter's lock from each other. For one thread only; ``close`` it in the end.
    """

    def __init__(self, client: PutClient, connections: int) -> None:
        self._client = client
        self._most = connections
        self._selector = selectors.DefaultSelector()
        self._idle: list[_Sending[T]] = []
        self._busy: dict[int, _Sending[T]] = {}
        self._ended: list[tuple[T, int | None]] = []

    @property
    def busy(self) -> int:
        """How many puts ``wait`` still owes an answer."""
        return len(self._busy) + len(self._ended)

    @property
    def is_full(self) -> bool:
        """True as well while ``wait`` has something to tell without waiting: S3 may be gone,
        and each further connection would take its time to find that out."""
        return bool(self._ended) or len(self._busy) >= self._most

    def begin(self, put: Put, token: T) -> None:
        """Begin a put that ``wait`` will end under this ``token``.

        May block while it connects. Raises what the credentials raise when they cannot be
        renewed; then nothing has begun.
        """
        head = self._client.head(put)
        try:
            sending = self._idle.pop() if self._idle else self._connected()
        except OSError as exc:
            silent = isinstance(exc, TimeoutError)
            self._ended.append((token, HTTPStatus.REQUEST_TIMEOUT if silent else None))
            return
        sending.token, sending.answer = token, b""
        sending.moved_at = time.monotonic()
        self._busy[id(sending)] = sending
        try:
            sending.rest = _send_first(sending.connection, head, put.data)
        except OSError:
            self._end(sending, None)
            return
        if sending.rest:
            self._selector.modify(sending.connection, _READ_WRITE, sending)

    def wait(self) -> list[tuple[T, int | None]]:
        """Return puts that ended, at least one while any is busy, each with its HTTP status.

        408 stands for nobody who answered in time, None for a connection that broke: the
        object may be stored or not.
        """
        while self._busy and not self._ended:
            oldest = min(sending.moved_at for sending in self._busy.values())
            limit = oldest + self._client.seconds
            for key, mask in self._selector.select(max(0.0, limit - time.monotonic())):
                self._advance(key.data, mask)
            late = time.monotonic() - self._client.seconds
            if oldest <= late:
                for sending in [s for s in self._busy.values() if s.moved_at <= late]:
                    self._end(sending, HTTPStatus.REQUEST_TIMEOUT)
        ended, self._ended = self._ended, []
        return ended

    def close(self) -> None:
        for sending in [*self._idle, *self._busy.values()]:
            sending.connection.close()
        self._selector.close()

    def _connected(self) -> _Sending[T]:
        connection = self._client.connect()
        connection.setblocking(False)
        sending = _Sending[T](connection)
        self._selector.register(connection, selectors.EVENT_READ, sending)
        return sending

    def _advance(self, sending: _Sending[T], mask: int) -> None:
        """Move one connection on as far as it goes without waiting."""
        try:
            if mask & selectors.EVENT_WRITE and sending.rest:
                tls = isinstance(sending.connection, ssl.SSLSocket)
                block = sending.rest[: _RECORD_BYTES if tls else _BLOCK]
                if sent := _sent(sending.connection, block):
                    sending.moved_at = time.monotonic()
                    sending.rest = sending.rest[sent:]
                if not sending.rest:
                    self._selector.modify(sending.connection, selectors.EVENT_READ, sending)
            if mask & selectors.EVENT_READ:
                self._receive(sending)
        except (OSError, AnswerError):
            self._end(sending, None)

    def _receive(self, sending: _Sending[T]) -> None:
        while True:  # TLS may hold more than the selector sees
            try:
                block = sending.connection.recv(_MOST_HEADER_BYTES)
            except (BlockingIOError, ssl.SSLWantReadError):
                return
            sending.moved_at = time.monotonic()
            sending.answer += block
            parsed = _parse(sending.answer)
            if not block or sending.token is None:
                raise AnswerError("no answer, or one that nobody asked for")
            if parsed is not None:
                self._end(sending, *parsed)
                return
            if not isinstance(sending.connection, ssl.SSLSocket):
                return

    def _end(self, sending: _Sending[T], status: int | None, keep: bool = False) -> None:
        token, sending.token = sending.token, None
        if self._busy.pop(id(sending), None) is not None and token is not None:
            self._ended.append((token, status))
        if keep and not sending.rest:
            self._idle.append(sending)
            return
        if sending in self._idle:
            self._idle.remove(sending)
        self._selector.unregister(sending.connection)
        sending.connection.close()


def _close_all(connections: deque[socket.socket]) -> None:
    with suppress(IndexError):
        while True:
            connections.pop().close()


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


def _parse(answer: bytes) -> tuple[int, bool] | None:
    """Return the status of an answer and whether its connection can be used again.

    None while more is to come. Raises ``AnswerError``.
    """
    end = answer.find(b"\r\n\r\n")
    if end < 0:
        if len(answer) > _MOST_HEADER_BYTES:
            raise AnswerError("too long")
        return None
    head = answer[: end + 4].lower()
    status = head[9:12]
    if not head.startswith(b"http/1.1 ") or not status.isdigit() or status.startswith(b"1"):
        raise AnswerError("not understood")
    # Only an empty body is waited for: that of an error is for boto3, which asks again.
    empty = b"\r\ncontent-length: 0\r\n" in head and len(answer) == len(head)
    return int(status), empty and b"\r\nconnection: close\r\n" not in head
