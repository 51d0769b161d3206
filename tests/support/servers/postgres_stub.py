"""Whatever may sit at the address of a database: it speaks the beginning of PostgreSQL's protocol.

A real server refuses for few reasons in a test. This one refuses as it is told, in the words of
the server or of a pooler, behind TLS or not.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass

_SSL, _GSS = 80877103, 80877104


@dataclass(frozen=True)
class Stub:
    """What a server does with everybody."""

    fatal: str = ""
    """The words with which it refuses; empty: it hangs up."""
    tls: ssl.SSLContext | None = None
    greeting: bytes = b""
    """Said instead of PostgreSQL's own answer, by something that is no PostgreSQL."""
    unsupported: str = ""
    """A parameter of the start that it refuses as PgBouncer does; without it ``fatal`` counts."""

    def serve(self, connection: socket.socket) -> None:
        code, rest = _startup(connection)
        while code in (_SSL, _GSS) and not self.greeting:
            if code == _SSL and self.tls is not None:
                connection.sendall(b"S")
                with self.tls.wrap_socket(connection, server_side=True) as private:
                    self._refuse(private, _startup(private)[1])
                return
            connection.sendall(b"N")
            code, rest = _startup(connection)
        self._refuse(connection, rest)

    def _refuse(self, connection: socket.socket, parameters: bytes) -> None:
        words = self.fatal
        if self.unsupported and self.unsupported.encode() in parameters.split(b"\0")[::2]:
            words = f"unsupported startup parameter: {self.unsupported}"
        fields = f"SFATAL\0VFATAL\0C08P01\0M{words}\0\0".encode()
        refusal = b"E" + struct.pack("!i", len(fields) + 4) + fields
        connection.sendall(self.greeting or (refusal if words else b""))
        if not isinstance(connection, ssl.SSLSocket):
            connection.shutdown(socket.SHUT_WR)
            connection.recv(1)


def _startup(connection: socket.socket) -> tuple[int, bytes]:
    size, code = struct.unpack("!ii", _exactly(connection, 8))
    return code, _exactly(connection, size - 8)


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            raise ConnectionError
        data += more
    return data


@contextlib.contextmanager
def stub(what: Stub) -> Iterator[int]:
    """Run one on 127.0.0.1; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection, contextlib.suppress(OSError):
                    connection.settimeout(20)
                    what.serve(connection)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        port = server.getsockname()[1]
        try:
            yield port
        finally:
            server.shutdown(socket.SHUT_RDWR)
    thread.join()
