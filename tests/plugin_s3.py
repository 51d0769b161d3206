"""Fixtures for tests that need an S3 server: moto, once for all, and a new bucket for each."""

from __future__ import annotations

import contextlib
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import boto3
import pytest

from core.config.settings import load_settings
from core.s3 import connection as s3_client
from core.s3.archive_store import S3ObjectStore
from core.s3.connection import S3Connection
from core.s3.http.stall_watch import SILENT_SECONDS, Watch
from core.s3.restore_store import S3RestoreStore
from tests.proxy import FaultyProxy, faulty_proxy
from tests.servers import (
    aws_environment,
    make_bucket,
    moto_server,
    strict_server,
)

PAGE_KEYS = 40


@dataclass(frozen=True)
class Bucket:
    """An empty bucket behind a proxy that can be told to misbehave."""

    name: str
    proxy: FaultyProxy
    environ: dict[str, str]
    """``AWS_*`` for a process that is to use it through the proxy."""
    client: Any
    """A boto3 client that goes to the server directly."""

    def store(self, limit: float = SILENT_SECONDS) -> S3ObjectStore:
        """Return the real client, through the proxy; ``limit``: seconds without a success."""
        return S3ObjectStore(load_settings({"HIMURO_BUCKET": self.name}), lambda: Watch(limit))

    def restores(
        self,
        sleep: Callable[[float], None] = lambda _seconds: None,
        limit: float = SILENT_SECONDS,
    ) -> S3RestoreStore:
        """Return the real client for restores, through the proxy."""
        return S3RestoreStore(
            load_settings({"HIMURO_BUCKET": self.name}), sleep=sleep, watch=lambda: Watch(limit)
        )

    def object_keys(self) -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name)
        return [item["Key"] for page in pages for item in page.get("Contents", [])]

    def writes(self) -> list[str]:
        """Return the requests that would write, in the order in which they came."""
        with self.proxy.lock:
            return [f"{m} {path}" for m, path, _ in self.proxy.seen if m not in ("GET", "HEAD")]

    def unfinished(self) -> list[str]:
        answer = self.client.list_multipart_uploads(Bucket=self.name)
        return [upload["Key"] for upload in answer.get("Uploads", [])]


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    with moto_server() as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def strict_endpoint() -> Iterator[str]:
    """A server that thaws as S3 does, with small pages."""
    with strict_server(page_keys=PAGE_KEYS) as endpoint:
        yield endpoint


@pytest.fixture
def bucket(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    with new_bucket(s3_endpoint, monkeypatch) as made:
        yield made


@pytest.fixture
def strict_bucket(strict_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    with new_bucket(strict_endpoint, monkeypatch) as made:
        yield made


@contextlib.contextmanager
def new_bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """Make a bucket behind a proxy, and that what this process uses."""
    name = f"himuro-{uuid.uuid4().hex[:12]}"
    make_bucket(endpoint, name)
    with faulty_proxy(endpoint) as proxy:
        environ = aws_environment(proxy.endpoint)
        for key, value in environ.items():
            monkeypatch.setenv(key, value)
        client = boto3.client("s3", endpoint_url=endpoint)
        yield Bucket(name, proxy, environ, client)
        client.close()


@pytest.fixture
def one_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """boto3 does nothing twice: its pauses take up to 15 s."""
    config = s3_client.client_config
    monkeypatch.setattr(
        s3_client,
        "client_config",
        lambda _attempts, *, connect, read: config(1, connect=connect, read=read),
    )


@pytest.fixture
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty times less patience than in earnest, the same number of attempts."""
    config = s3_client.client_config
    monkeypatch.setattr(
        s3_client,
        "client_config",
        lambda attempts, *, connect, read: config(attempts, connect=connect / 20, read=read / 20),
    )
    lean = S3Connection.lean
    monkeypatch.setattr(
        S3Connection, "lean", lambda self, kind, seconds: lean(self, kind, seconds / 20)
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
