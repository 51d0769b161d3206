"""The lean client's puts for the archive store: endpoint, headers, and many small ones at once."""

from __future__ import annotations

import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

from botocore.httpsession import get_cert_path
from botocore.utils import get_environ_proxies

from core.archive.ports import STORAGE_CLASS, NewObject
from core.errors import FatalError
from core.paths.normalization import encode_metadata
from core.s3.http.client import Reply
from core.s3.http.lane import WireLane
from core.s3.http.proof import checksum_of
from core.s3.http.put import Put, PutClient, PutLane, is_proof
from core.s3.http.sigv4 import Endpoint
from core.s3.http.stall_watch import Watch

LANE_BYTES = 256 * 1024
LANE_CONNECTIONS = 16
"""Objects of up to ``LANE_BYTES`` are in flight ``LANE_CONNECTIONS`` at a time, from one thread."""
METADATA_BYTES = 2048
"""S3's limit for all user metadata, names and values together (``docs/facts.md``, "S3 and Deep
Archive")."""

_CHECKSUM = "x-amz-checksum-sha256"
_SCOPE = re.compile(r"AWS4-HMAC-SHA256 Credential=[^,]*/([^/,]+)/s3/aws4_request,")

A = TypeVar("A")
T = TypeVar("T")


def bucket_endpoint(bucket: str, client: Any, ca_bundle: str | None) -> Endpoint | None:
    """Return where and for which region a boto3 client sends its requests; nothing is sent.

    None where the lean client cannot stand in: behind a proxy, or for another way of signing.
    ``ca_bundle``: what the user trusts instead of the usual authorities.
    """
    url, authorization = _prepared(bucket, client)
    scope = _SCOPE.match(authorization)
    if scope is None or get_environ_proxies(url).get(urlsplit(url).scheme):
        return None
    trusted = get_cert_path(ca_bundle or True)
    return Endpoint(url.removesuffix("/k"), scope[1], trusted)


class _PreparedError(Exception):
    """Keeps a request that was made for a look only from being sent."""


def _prepared(bucket: str, client: Any) -> tuple[str, str]:
    """Return address and signature of a put of the key ``k``.

    A presigned URL would not do: it names the global endpoint of most regions.
    """
    seen: list[tuple[str, str]] = []

    def look(request: Any, **_: object) -> None:
        authorization = request.headers.get("Authorization", b"")
        if isinstance(authorization, bytes):
            authorization = authorization.decode()
        seen.append((request.url, authorization))
        raise _PreparedError

    event = "before-send.s3.PutObject"
    client.meta.events.register_first(event, look)
    try:
        client.put_object(Bucket=bucket, Key="k", Body=b"")
    except _PreparedError:
        return seen[0]
    finally:
        client.meta.events.unregister(event, look)
    raise AssertionError("botocore sends without asking")


def lean_put(new: NewObject, data: bytes) -> Put:
    headers = {f"x-amz-meta-{name}": value for name, value in user_metadata(new).items()}
    headers[_CHECKSUM] = checksum_of(new.sha256)
    headers["x-amz-storage-class"] = STORAGE_CLASS
    return Put(new.key, data, new.sha256, headers)


def user_metadata(new: NewObject) -> dict[str, str]:
    """Return the user metadata; a source path that does not fit is left out."""
    values = {"sha256": new.sha256, "source-path": encode_metadata(new.source_path)}
    if sum(len(name) + len(value) for name, value in values.items()) > METADATA_BYTES:
        del values["source-path"]
    return values


class S3Lane(Generic[T]):
    """``Lane`` over the lean client."""

    most_bytes = LANE_BYTES

    def __init__(
        self,
        client: PutClient,
        gone: Callable[[], FatalError | None],
        watch: Watch,
        stored: Callable[[], None],
    ) -> None:
        """``gone`` tells what is wrong when S3 is out of reach; ``stored`` hears of each
        success."""
        self._lane = PutLane[tuple[T, Put]](client, LANE_CONNECTIONS)
        self._gone = gone
        self._stored = stored
        self._watch = watch

    @property
    def busy(self) -> int:
        return self._lane.busy

    @property
    def is_full(self) -> bool:
        return self._lane.is_full

    def begin(self, new: NewObject, data: bytes, token: T) -> None:
        put = lean_put(new, data)
        self._lane.begin(put, (token, put))

    def wait(self) -> list[tuple[T, bool | FatalError]]:
        # What is under way while the thread reads its next file is not waited for.
        ended, gone = wait_for_lane(self._lane, self._watch, self._gone)
        told: list[tuple[T, bool | FatalError]] = []
        for (token, put), reply in ended:
            stored = isinstance(reply, Reply) and is_proof(put, reply)
            if stored:
                self._stored()
            told.append((token, gone if gone and not stored else stored))
        return told

    def close(self) -> None:
        self._lane.close()


def wait_for_lane(
    lane: WireLane[T, A], watch: Watch, gone: Callable[[], FatalError | None]
) -> tuple[list[tuple[T, A | int | None]], FatalError | None]:
    """Wait for requests of a lane as one call of ``watch``.

    Returns those that ended, and what ``gone`` says when one of them timed out; else None.
    """
    watch.begin()
    try:
        ended = lane.wait()
        silent = any(answer == HTTPStatus.REQUEST_TIMEOUT for _, answer in ended)
        # Once for all of them: to find out that S3 is gone takes seconds.
        return ended, gone() if silent else None
    finally:
        watch.end()
