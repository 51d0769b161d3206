"""Answers leave the console as soon as they are written."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest

from pages.http import routes
from tests.support.environment import HOST


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """A socket as Streamlit binds it: nothing says that it is TCP."""
    with socket.socket() as bound:
        bound.bind((HOST, 0))
        bound.listen()
        yield bound


def delays(connection: socket.socket) -> bool:
    return not connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_connections_of_the_console_delay_nothing(
    listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.config.logs.set_up", lambda: None)
    monkeypatch.setattr("pages.http.routes._open", lambda: None)
    monkeypatch.setattr("pages.services.close", lambda: None)

    async def start() -> None:
        async with routes.lifespan(None):
            pass

    asyncio.run(start())
    with socket.create_connection(listening.getsockname()) as client, listening.accept()[0] as ours:
        assert delays(client)  # as every socket does that nobody told otherwise
        assert not delays(ours)
