"""Fetching objects: small ones several at once by one thread, large ones block by block."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Generator, Mapping
from http import HTTPStatus
from typing import TypeVar

from core.s3.http.client import AnswerError, LeanClient, send_all, status_of
from core.s3.http.lane import Exchange, WireLane

T = TypeVar("T")

_HEAD_BYTES = 8 * 1024
"""The longest head of an answer: 2 KiB of user metadata, and what S3 adds."""
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+) *\r\n")
_ETAG = re.compile(rb"\r\netag: *(\"[^\r\n\"]*\")", re.IGNORECASE)
_NO_HEADERS: Mapping[str, str] = {}
_BLOCK = 256 * 1024
"""Bytes that are written and hashed at a time: small enough to be in the processor's cache."""


class GetLane(WireLane[T, bytes]):
    """``wait`` tells the bytes of each object, or None, or a status where there are none.

    Only a plain 200 of exactly the size that was asked for is one.
    """

    def __init__(self, client: LeanClient, connections: int) -> None:
        super().__init__(client, connections)
        self._signer = client.signer

    def begin(self, key: str, size: int, token: T) -> None:
        """Begin to fetch an object that ``wait`` will end under this ``token``.

        May block while it connects. Raises what the credentials raise when they cannot be
        renewed; then nothing has begun.
        """
        self._begin(self._signer.head("GET", key, _NO_HEADERS), b"", token, size)

    def _prepare(self, exchange: Exchange[T]) -> None:
        exchange.answer = bytearray(_HEAD_BYTES + exchange.size)
        exchange.received = exchange.body_at = 0

    def _receive(self, exchange: Exchange[T]) -> bool:
        with memoryview(exchange.answer) as room:
            count = exchange.connection.recv_into(room[exchange.received :])
        if not count:
            raise AnswerError("the end came early")
        exchange.moved_at = time.monotonic()
        exchange.received += count
        if not exchange.body_at and not self._has_head(exchange):
            return exchange.token is None
        whole = exchange.body_at + exchange.size
        if exchange.received < whole:
            return False
        with memoryview(exchange.answer) as view:
            data = bytes(view[exchange.body_at : whole])
        self._end(exchange, data, exchange.keep and exchange.received == whole)
        return True

    def _has_head(self, exchange: Exchange[T]) -> bool:
        """Return whether the head is there and a body of the right size follows."""
        end = exchange.answer.find(b"\r\n\r\n", 0, exchange.received)
        if end < 0 or end > _HEAD_BYTES - 4:
            if exchange.received >= _HEAD_BYTES:
                raise AnswerError("too long")
            return False
        head = exchange.answer[: end + 4].lower()
        status, length = status_of(head), _LENGTH.search(head)
        if (
            status != HTTPStatus.OK
            or length is None
            or int(length[1]) != exchange.size
            or b"\r\ntransfer-encoding:" in head
        ):
            self._end(exchange, status)
            return False
        exchange.body_at = end + 4
        exchange.keep = b"\r\nconnection: close\r\n" not in head
        return True


class BrokenStreamError(Exception):
    """A stream ended early, or its answer was no plain one; the cause says why."""


class Stream:
    """One object that is fetched block by block over a connection of its own."""

    def __init__(self, client: LeanClient, key: str, size: int) -> None:
        """``size``: bytes of the whole object, 1 or more."""
        self._client = client
        self._key = key
        self._size = size
        self.etag = ""
        """Of the object; empty until the answer has begun, or when it names none."""

    def blocks(self) -> Generator[memoryview, None, None]:
        """Yield the content in order; a block is good until the next one is asked for.

        Raises ``BrokenStreamError``, and what the credentials raise.
        """
        head = self._client.signer.head("GET", self._key, _NO_HEADERS)
        left = self._size
        connection = None
        try:
            connection = self._client.connect()
            send_all(connection, head, b"")
            with memoryview(bytearray(_BLOCK)) as room:
                filled = self._begin(connection, room)
                while left:
                    wanted = min(len(room), left)
                    while filled < wanted:
                        filled += _received(connection, room[filled:wanted])
                    yield room[:filled]
                    left -= filled
                    filled = 0
        except (OSError, AnswerError) as exc:
            raise BrokenStreamError from exc
        finally:
            if connection is not None:
                connection.close()

    def _begin(self, connection: socket.socket, room: memoryview) -> int:
        """Receive the head of the answer; return how much of the body has come into ``room``."""
        filled = end = 0
        while end < 4:
            if filled >= _HEAD_BYTES:
                raise AnswerError("too long")
            filled += _received(connection, room[filled:_HEAD_BYTES])
            head = bytes(room[:filled])
            end = head.find(b"\r\n\r\n") + 4
        lower = head[:end].lower()
        length = _LENGTH.search(lower)
        if (
            status_of(lower) != HTTPStatus.OK
            or length is None
            or int(length[1]) != self._size
            or b"\r\ntransfer-encoding:" in lower
            or filled - end > self._size
        ):
            raise AnswerError("not a plain one")
        etag = _ETAG.search(head[:end])
        self.etag = etag[1].decode("ascii", "replace") if etag else ""
        room[: filled - end] = head[end:]
        return filled - end


def _received(connection: socket.socket, room: memoryview) -> int:
    count = connection.recv_into(room)
    if not count:
        raise AnswerError("the end came early")
    return count
