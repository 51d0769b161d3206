"""Fetching small objects: several gets at once by one thread, on kept connections."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import TypeVar

from core.s3_wire import AnswerError, Exchange, LeanClient, WireLane, status_of

T = TypeVar("T")

_HEAD_BYTES = 8 * 1024
"""Room for the head of an answer: 2 KiB of user metadata, and what S3 adds."""
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+) *\r\n")
_NO_HEADERS: Mapping[str, str] = {}


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
