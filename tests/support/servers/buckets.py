"""A bucket of a test's own behind a faulty proxy; ``tests/support/s3_fixtures.py`` makes it."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import boto3
import pytest

from core.config.settings import load_settings
from core.s3.archive_store import S3ObjectStore
from core.s3.http.stall_watch import SILENT_SECONDS, Watch
from core.s3.restore_store import S3RestoreStore
from tests.support.environment import aws_environment
from tests.support.servers.processes import make_bucket
from tests.support.servers.proxy import FaultyProxy, faulty_proxy

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
