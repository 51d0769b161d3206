"""Creating objects: conditional puts by the lean client, one or several at a time."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeVar

from core.s3.http.client import MAX_HEADER_BYTES, AnswerError, LeanClient, Reply, parse_answer
from core.s3.http.lane import Exchange, WireLane
from core.s3.http.proof import checksum_of, proves_content

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Put:
    """One object to be created."""

    key: str
    data: bytes
    sha256: str
    """Hexadecimal, of ``data``."""
    headers: Mapping[str, str]
    """Lower-case names, values of visible ASCII (no spaces: their signature would differ)."""


def is_proof(put: Put, reply: Reply) -> bool:
    """Return whether an answer says that S3 holds just what was sent."""
    if reply.status != HTTPStatus.OK:
        return False
    # A quick look for the line in S3's own spelling; other spellings are parsed.
    if b"\r\nx-amz-checksum-sha256: %s\r\n" % checksum_of(put.sha256).encode() in reply.head:
        return True
    return proves_content(
        reply.header("x-amz-checksum-sha256"), reply.header("etag"), put.sha256, put.data
    )


class PutClient(LeanClient):
    """Creates objects in one bucket."""

    def put(self, put: Put) -> Reply:
        """Send one conditional put and return the answer; ``is_proof`` says what a 200 means.

        Raises as ``exchange`` does; the object may be stored all the same. A second call never
        overwrites: S3 answers 412.
        """
        return self.exchange(self.head(put), put.data)

    def head(self, put: Put) -> bytes:
        headers = {**put.headers, "if-none-match": "*"}
        return self.signer.head("PUT", put.key, headers, size=len(put.data), sha256=put.sha256)


class PutLane(WireLane[T, Reply]):
    """Several puts at once by one thread. ``wait`` tells the answer to each."""

    def __init__(self, client: PutClient, connections: int) -> None:
        super().__init__(client, connections)
        self._head = client.head

    def begin(self, put: Put, token: T) -> None:
        """Begin a put that ``wait`` will end under this ``token``.

        May block while it connects. Raises what the credentials raise when they cannot be
        renewed; then nothing has begun.
        """
        self._begin(self._head(put), put.data, token)

    def _prepare(self, exchange: Exchange[T]) -> None:
        exchange.answer = bytearray()

    def _receive(self, exchange: Exchange[T]) -> bool:
        block = exchange.connection.recv(MAX_HEADER_BYTES)
        exchange.moved_at = time.monotonic()
        exchange.answer += block
        reply = parse_answer(exchange.answer)
        if not block:
            raise AnswerError("no answer")
        if reply is None:
            return False
        self._end(exchange, reply, reply.keep)
        return True
