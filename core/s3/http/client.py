"""Requests to S3 with the least work that HTTP allows: signed heads on kept connections.

A client library spends several times more processor time on a small object than S3's protocol
needs (``docs/decisions/0003-two-s3-clients.md``). This one knows only the plain good case: whatever
S3 does not simply do is told to the caller, who asks again with boto3.
"""

from __future__ import annotations

import socket
import ssl
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from core.resources.shortage import patiently
from core.s3.http.sigv4 import Endpoint, Signer

MAX_HEADER_BYTES = 64 * 1024
"""The longest head of an answer; S3's have less than four KiB."""
_CONNECT_SECONDS = 3.0
BLOCK = 1024 * 1024
"""Bytes that are sent with one call, each with the time limit of its own."""
RECORD_BYTES = 16 * 1024
"""The largest TLS record. Of a longer write nobody could see that it moves, and a partial write
must be retried with the same length."""
_GATHERS = hasattr(socket.socket, "sendmsg")
"""Whether headers and data can go with one call without being copied; not on Windows."""


def _nobody() -> None:
    """Ignore that bytes have been sent."""


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
        """Called after each piece of a large request was sent."""
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


def _close_all(connections: deque[socket.socket]) -> None:
    with suppress(IndexError):
        while True:
            connections.pop().close()


def send_all(
    connection: socket.socket, head: bytes, data: bytes, moved: Callable[[], None] = _nobody
) -> None:
    """Send a request over a blocking connection; raises ``OSError``.

    ``moved`` is called after every piece but the first, which may still lie in the send buffer.
    """
    rest = send_first(connection, head, data)
    while rest:
        # Piece by piece: the time limit counts for each.
        rest = rest[connection.send(rest[:BLOCK]) :]
        moved()


def send_first(connection: socket.socket, head: bytes, data: bytes) -> memoryview:
    """Send what goes at once and return the rest."""
    if _GATHERS and not isinstance(connection, ssl.SSLSocket):
        try:
            sent = connection.sendmsg((head, data))
        except BlockingIOError:
            sent = 0
        if sent >= len(head):
            return memoryview(data)[sent - len(head) :]
        return memoryview(head + data)[sent:]
    beside = max(0, RECORD_BYTES - len(head))
    first = head + data[:beside]
    sent = send_some(connection, memoryview(first)[:RECORD_BYTES])
    if sent == len(first):
        return memoryview(data)[beside:]
    return memoryview(head + data)[sent:]


def send_some(connection: socket.socket, data: memoryview) -> int:
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
