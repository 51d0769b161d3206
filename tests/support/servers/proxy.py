"""A faulty network between the client and the S3 server, one decision per request."""

from __future__ import annotations

import contextlib
import http.client
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit


class Fault(Enum):
    """What happens to one request."""

    NONE = "none"
    SLOW_DOWN = "503 SlowDown, not forwarded"
    INTERNAL = "500 InternalError, not forwarded"
    RESET = "connection reset, not forwarded"
    LOST = "forwarded, and the answer lost in a reset"
    EXPIRED = "400 ExpiredToken, not forwarded"
    DENIED = "403 AccessDenied, not forwarded"
    CORRUPTED = "one byte of the body altered on the way"
    ALTERED = "one byte of the answer's body altered on the way"
    CUT = "the answer's body broken off in the middle"
    TORN = "the answer's body broken in the middle by a reset"
    SHORT = "half of the answer's body, and a length that says so"
    PAGE = "200 with a gateway's page, not forwarded"
    PAGE_AFTER = "forwarded, and answered by a gateway's page with 200"
    NOT_FOUND = "404 of a gateway, not forwarded"
    EMPTY = "200 without anything, not forwarded"
    ERROR_200 = "200 with an error of S3's in the body, not forwarded"
    STATUS_LINE = "the end after a status line of 200, not forwarded"
    WRONG_SUM = "200 with the checksum of something else, not forwarded"
    HANG = "taken, never answered, not forwarded"


_ANSWERS = {
    Fault.SLOW_DOWN: (503, "SlowDown"),
    Fault.INTERNAL: (500, "InternalError"),
    Fault.EXPIRED: (400, "ExpiredToken"),
    Fault.DENIED: (403, "AccessDenied"),
}
PAGE = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>Welcome<br></body></html>"
_HTML = {"Content-Type": "text/html; charset=utf-8", "Server": "gateway"}
_FOREIGN = {
    Fault.PAGE: (_HTML, PAGE),
    Fault.PAGE_AFTER: (_HTML, PAGE),
    Fault.EMPTY: ({}, b""),
    Fault.ERROR_200: (
        {"Content-Type": "application/xml", "x-amz-request-id": "1"},
        b"<Error><Code>InternalError</Code><Message>test</Message></Error>",
    ),
    Fault.WRONG_SUM: (
        {
            "x-amz-request-id": "1",
            "x-amz-checksum-sha256": "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
            "ETag": '"d41d8cd98f00b204e9800998ecf8427e"',
        },
        b"",
    ),
}
"""Answers with 200 that are none to what was asked."""
Decide = Callable[[str, str], Fault]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    """A lane connects sixteen times at once; who finds the queue full tries again after 1 s."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # the client had heard enough
            super().handle_error(request, client_address)


class FaultyProxy:
    """Forwards to ``endpoint`` what ``decide(method, path)`` lets through, and remembers it."""

    def __init__(self, endpoint: str) -> None:
        self.decide: Decide = lambda _method, _path: Fault.NONE
        self.seen: list[tuple[str, str, Fault]] = []
        self.date = ""
        """What answers say the time is; empty leaves the server's word."""
        self.lock = threading.Lock()
        self._hanging = threading.Event()
        """Set in the end, for those who hang."""
        self._target = urlsplit(endpoint)
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Head and body go out separately: the second would wait 40 ms for the first's receipt.
            disable_nagle_algorithm = True

            def log_message(self, *_args: object) -> None:
                return

            def _any(self) -> None:
                proxy.handle(self)

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _any  # noqa: N815

        self._server = _Server(("127.0.0.1", 0), Handler)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        path = unquote(request.path)
        with self.lock:
            fault = self.decide(request.command, path)
            self.seen.append((request.command, path, fault))
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        if fault is Fault.RESET:
            _reset(request)
        elif fault in _ANSWERS:
            status, code = _ANSWERS[fault]
            xml = f"<Error><Code>{code}</Code><Message>test</Message></Error>".encode()
            _answer(request, status, {"Content-Type": "application/xml"}, xml)
        elif fault is Fault.STATUS_LINE:
            request.wfile.write(b"HTTP/1.1 200 OK\r\n")
            request.close_connection = True
        elif fault is Fault.HANG:
            self._hanging.wait()
            request.close_connection = True
        elif fault is Fault.NOT_FOUND:
            _answer(request, 404, _HTML, PAGE)
        elif fault in _FOREIGN:
            if fault is Fault.PAGE_AFTER:
                self._forward(request, body)
            _answer(request, 200, *_FOREIGN[fault])
        else:
            if fault is Fault.CORRUPTED and body:
                body = bytes([body[0] ^ 1]) + body[1:]
            status, headers, data = self._forward(request, body)
            if self.date:
                headers = {k: self.date if k.lower() == "date" else v for k, v in headers.items()}
            if fault is Fault.ALTERED and data:
                data = bytes([data[0] ^ 1]) + data[1:]
            if fault is Fault.SHORT:
                data = data[: len(data) // 2]
            if fault is Fault.LOST:
                _reset(request)
            elif fault in (Fault.CUT, Fault.TORN):
                _answer(request, status, headers, data, len(data) // 2)
                request.close_connection = True
                if fault is Fault.TORN:
                    _reset(request)
            else:
                _answer(request, status, headers, data)

    def _forward(
        self, request: BaseHTTPRequestHandler, body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(self._target.netloc, timeout=60)
        with contextlib.closing(connection):
            headers = {k: v for k, v in request.headers.items() if k.lower() != "expect"}
            connection.request(request.command, request.path, body=body, headers=headers)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()


def _answer(
    request: BaseHTTPRequestHandler,
    status: int,
    headers: dict[str, str],
    data: bytes,
    sent: int | None = None,
) -> None:
    """Answer; ``sent``: so many bytes of the body only."""
    request.send_response_only(status)
    for name, value in headers.items():
        if name.lower() not in ("connection", "transfer-encoding", "content-length"):
            request.send_header(name, value)
    length = headers.get("content-length") or headers.get("Content-Length") or str(len(data))
    request.send_header("Content-Length", length if request.command == "HEAD" else str(len(data)))
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(data[:sent])


def _reset(request: BaseHTTPRequestHandler) -> None:
    """Close with a reset instead of an orderly end."""
    request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.close_connection = True
    request.connection.close()
    request.wfile = open("/dev/null", "wb")  # noqa: PTH123, SIM115 - the handler flushes it


@contextlib.contextmanager
def faulty_proxy(endpoint: str) -> Iterator[FaultyProxy]:
    """Run a proxy on 127.0.0.1 in front of an S3 server."""
    proxy = FaultyProxy(endpoint)
    thread = threading.Thread(target=proxy._server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy._hanging.set()
        proxy._server.shutdown()
        proxy._server.server_close()
        thread.join()
