"""An S3 server that does what a script says, on the wire."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Keys:
    """Credentials that never expire."""

    access_key: str = "AKIDEXAMPLE"
    secret_key: str = "secret"
    token: str | None = None


@dataclass(frozen=True)
class Request:
    """One request as the server saw it."""

    method: str
    path: str
    """With its query."""
    headers: dict[str, str]
    data: bytes


class Peer:
    """The server's side of one connection."""

    def __init__(self, connection: socket.socket, number: int, server: Server) -> None:
        self.connection = connection
        self.number = number
        self._server = server

    def request(self, read: int = 65536) -> Request | None:
        """Return the next request, read in pieces of ``read`` bytes; None at the end."""
        with contextlib.suppress(ConnectionError):
            return self._request(read)
        return None

    def _request(self, read: int) -> Request | None:
        got = b""
        while b"\r\n\r\n" not in got:
            block = self.connection.recv(read)
            if not block:
                return None
            got += block
        head, _, rest = got.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {n.lower(): v for n, _, v in (line.partition(": ") for line in lines)}
        data = bytearray(rest)
        while len(data) < int(headers.get("content-length", 0)):
            block = self.connection.recv(read)
            if not block:
                return None
            data += block
        method, path = first.split(" ")[:2]
        request = Request(method, path, headers, bytes(data))
        self._server.requests.append(request)
        return request

    def answer(self, data: bytes) -> None:
        with contextlib.suppress(ConnectionError):
            self.connection.sendall(data)


Script = Callable[[Peer], None]


class Server:
    """A listener on 127.0.0.1; each connection runs the script in a thread of its own."""

    def __init__(self, script: Script, tls: ssl.SSLContext | None) -> None:
        self.requests: list[Request] = []
        self.connections = 0
        self._script, self._tls = script, tls
        self._listener = socket.socket()
        # Small, so that a few MiB never fit into what lies between the two.
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen()
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                run = threading.Thread(target=self._run, args=(connection, self.connections))
                self._threads.append(run)
                run.start()

    def _run(self, connection: socket.socket, number: int) -> None:
        with contextlib.closing(connection):
            if self._tls:
                try:
                    connection = self._tls.wrap_socket(connection, server_side=True)
                except OSError:
                    return
            with connection, contextlib.suppress(ssl.SSLError):
                self._script(Peer(connection, number, self))

    def join(self) -> None:
        """Wait until every connection has ended; the client has to have closed them."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive(), "the client left a connection open"


@contextlib.contextmanager
def serving(script: Script, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    server = Server(script, tls)
    try:
        yield server
    finally:
        server.join()


def answering(answer: bytes) -> Script:
    """Return a script that gives every request the same answer."""

    def script(peer: Peer) -> None:
        while peer.request():
            peer.answer(answer)

    return script
