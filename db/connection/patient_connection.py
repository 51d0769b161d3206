"""Connections to PostgreSQL whose waits end: psycopg2 asks ``_wait`` instead of sleeping in C."""

from __future__ import annotations

import select
import threading
from typing import Any, Protocol

import psycopg2
from psycopg2 import extensions
from sqlalchemy import Engine

from db.connection.patience import Patience

_NO_ANSWER = "timeout expired: no answer from the server"
"""Read by ``db.connection.errors`` as libpq's own words are."""


class _Connection(Protocol):
    """What ``connection_type`` makes."""

    status: int
    patience: Patience
    connect_seconds: float | None
    ping_seconds: float | None

    def fileno(self) -> int: ...
    def poll(self) -> int: ...


def connection_type(
    patience: Patience, connect_seconds: float | None
) -> type[extensions.connection]:
    """Return the class of connections that wait no longer than this.

    ``connect_seconds``: for all of the making of one, instead of what ``patience`` says; libpq
    counts its own ``connect_timeout`` only when it waits itself.
    """
    extensions.set_wait_callback(_wait)
    members: dict[str, Any] = {
        "patience": patience,
        "connect_seconds": connect_seconds,
        "ping_seconds": None,
    }
    return type("PatientConnection", (extensions.connection,), members)


def ping_soon(engine: Engine, patience: Patience) -> None:
    """Let the question whether a pooled connection still lives have its own, short limit."""
    dialect: Any = engine.dialect
    ping = dialect.do_ping

    def soon(connection: Any) -> bool:
        connection.ping_seconds = patience.ping
        try:
            return bool(ping(connection))
        finally:
            connection.ping_seconds = None

    dialect.do_ping = soon


def _wait(connection: _Connection) -> None:
    """Return once the server's answer is there whole.

    Raises ``OperationalError`` when nothing comes in time, upon which psycopg2 closes the
    connection. Connections of another class wait as long as it takes.
    """
    patience = getattr(connection, "patience", None)
    if patience is None:
        patience = Patience(answer=threading.TIMEOUT_MAX, connect=threading.TIMEOUT_MAX)
    try:
        connecting = connection.status == extensions.STATUS_SETUP
        since = patience.clock()
        while (state := connection.poll()) != extensions.POLL_OK:
            if connecting:
                seconds = getattr(connection, "connect_seconds", None) or patience.connect
            else:
                since = patience.clock()  # something came
                seconds = getattr(connection, "ping_seconds", None) or patience.answer
            while not _ready(connection, state, patience.next_look(patience.left(since, seconds))):
                if patience.left(since, seconds) <= 0:
                    raise psycopg2.OperationalError(_NO_ANSWER)
    finally:
        # Whoever keeps the exception keeps this frame, and with it an open socket.
        del connection


def _ready(connection: _Connection, state: int, seconds: float) -> bool:
    """Wait for the socket; a number above 1,023 is no hindrance where there is ``poll``."""
    seconds = max(0.0, seconds)
    reading = state == extensions.POLL_READ
    if hasattr(select, "poll"):
        poller = select.poll()
        poller.register(connection.fileno(), select.POLLIN if reading else select.POLLOUT)
        return bool(poller.poll(seconds * 1000))
    sockets = [connection]
    return any(select.select(sockets if reading else [], [] if reading else sockets, [], seconds))
