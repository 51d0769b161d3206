"""S3 for tests of any folder: moto, once for all, a new bucket for each test, and less patience.

The servers are imported by the fixtures that start them (``tests/conftest.py`` says why).
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.support.environment import aws_environment

if TYPE_CHECKING:
    from tests.support.servers.buckets import Bucket


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    from tests.support.servers.processes import moto_server

    with moto_server() as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def strict_endpoint() -> Iterator[str]:
    """A server that thaws as S3 does, with small pages."""
    from tests.support.servers.buckets import PAGE_KEYS
    from tests.support.servers.processes import strict_server

    with strict_server(page_keys=PAGE_KEYS) as endpoint:
        yield endpoint


@pytest.fixture
def bucket(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    from tests.support.servers.buckets import new_bucket

    with new_bucket(s3_endpoint, monkeypatch) as made:
        yield made


@pytest.fixture
def strict_bucket(strict_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    from tests.support.servers.buckets import new_bucket

    with new_bucket(strict_endpoint, monkeypatch) as made:
        yield made


@pytest.fixture
def one_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """boto3 does nothing twice: its pauses take up to 15 s."""
    from core.s3 import connection

    config = connection.client_config
    monkeypatch.setattr(
        connection,
        "client_config",
        lambda _attempts, *, connect, read: config(1, connect=connect, read=read),
    )


@pytest.fixture
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten times less patience than in earnest, the same number of attempts."""
    from core.s3 import connection

    config = connection.client_config
    monkeypatch.setattr(
        connection,
        "client_config",
        lambda attempts, *, connect, read: config(attempts, connect=connect / 10, read=read / 10),
    )
    lean = connection.S3Connection.lean
    monkeypatch.setattr(
        connection.S3Connection, "lean", lambda self, kind, seconds: lean(self, kind, seconds / 10)
    )


@pytest.fixture
def silence(monkeypatch: pytest.MonkeyPatch, impatience: None) -> Iterator[list[socket.socket]]:
    """Make S3 an endpoint that takes connections and never answers; the connections so far."""
    taken: list[socket.socket] = []

    def take() -> None:
        with contextlib.suppress(OSError):
            while True:
                taken.append(listener.accept()[0])

    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
        for name, value in aws_environment(endpoint).items():
            monkeypatch.setenv(name, value)
        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        yield taken
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    for connection in taken:
        connection.close()
