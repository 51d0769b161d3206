"""Restores on S3: what only the real client has to bear."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from core.concurrency.rate_limiter import RateLimiter
from core.config.settings import load_settings
from core.errors import Code, FatalError, HimuroError, ItemError
from core.restore.model import Answer, ObjectState, Thaw, Tier
from core.s3 import connection
from core.s3.connection import S3Connection
from core.s3.object_states import head_state
from core.s3.restore_store import S3RestoreStore
from tests.s3.test_restore_store import through_a_lane
from tests.support.environment import aws_environment
from tests.support.servers.buckets import Bucket
from tests.support.servers.proxy import Fault
from tests.support.servers.scripted_s3 import Peer, serving

MIB = 1024 * 1024
BUCKET = load_settings({"HIMURO_BUCKET": "himuro-x"})


def put(bucket: Bucket, key: str, data: bytes, storage_class: str = "STANDARD") -> None:
    bucket.client.put_object(Bucket=bucket.name, Key=key, Body=data, StorageClass=storage_class)


def fetched(store: S3RestoreStore, key: str, size: int) -> bytes:
    content = bytearray()
    store.fetch(key, size, content.extend)
    return bytes(content)


def seen(bucket: Bucket, method: str) -> list[Fault]:
    """Return what happened to each request for an object, of one method."""
    with bucket.proxy.lock:
        return [f for m, path, f in bucket.proxy.seen if m == method and "list-type" not in path]


def only(bucket: Bucket, method: str, faults: list[Fault]) -> None:
    """Let these faults happen to the next requests of a method."""
    bucket.proxy.decide = lambda m, _path: faults.pop(0) if m == method and faults else Fault.NONE


# Fetching


@pytest.mark.parametrize("fault", [Fault.SLOW_DOWN, Fault.INTERNAL, Fault.RESET, Fault.LOST])
def test_a_fault_before_the_content_is_retried(bucket: Bucket, fault: Fault) -> None:
    put(bucket, "k", b"content")
    only(bucket, "GET", [fault])
    assert fetched(bucket.restores(), "k", 7) == b"content"
    assert seen(bucket, "GET") == [fault, Fault.NONE]


@pytest.mark.parametrize("fault", [Fault.CUT, Fault.TORN])
def test_content_that_breaks_is_taken_up_where_it_broke(bucket: Bucket, fault: Fault) -> None:
    data = os.urandom(5 * MIB + 1)
    put(bucket, "k", data)
    only(bucket, "GET", [fault] * 3)
    assert fetched(bucket.restores(), "k", len(data)) == data
    assert seen(bucket, "GET") == [fault] * 3 + [Fault.NONE]


def test_content_that_always_breaks_is_given_up(bucket: Bucket) -> None:
    data = os.urandom(64)
    put(bucket, "k", data)
    bucket.proxy.decide = lambda method, _path: Fault.CUT if method == "GET" else Fault.NONE
    pauses: list[float] = []
    content = bytearray()
    with pytest.raises(ItemError) as caught:
        bucket.restores(pauses.append).fetch("k", 64, content.extend)
    assert caught.value.code is Code.DOWNLOAD_FAILED
    # One try of the lean client, which hands over whole blocks only. Then half of what is left
    # each time: 63 of 64 bytes in six parts, then five tries for the last.
    assert (bytes(content), len(seen(bucket, "GET"))) == (data[:63], 1 + 6 + 5)
    assert pauses[-4:] == [0.2, 0.4, 0.8, 1.6]


def test_an_object_that_is_replaced_between_two_parts_is_not_taken(bucket: Bucket) -> None:
    size = 4 * 1024 * 1024
    put(bucket, "k", b"a" * size)
    answers = [Fault.CUT, Fault.NONE]

    def decide(method: str, _path: str) -> Fault:
        if method != "GET":
            return Fault.NONE
        if len(answers) == 1:
            put(bucket, "k", b"b" * size)
        return answers.pop(0)

    bucket.proxy.decide = decide
    content = bytearray()
    with pytest.raises(ItemError) as caught:
        bucket.restores().fetch("k", size, content.extend)
    assert caught.value.code is Code.CONTENT_MISMATCH
    assert bytes(content) == b"a" * len(content)
    assert 0 < len(content) < size


def test_an_answer_of_another_length_is_not_taken(bucket: Bucket) -> None:
    put(bucket, "k", b"1234567890")
    bucket.proxy.decide = lambda method, _path: Fault.SHORT if method == "GET" else Fault.NONE
    content = bytearray()
    with pytest.raises(ItemError) as caught:
        bucket.restores().fetch("k", 10, content.extend)
    assert caught.value.code is Code.CONTENT_MISMATCH
    assert content == b""
    assert through_a_lane(bucket.restores(), [("k", 10)]) == {"k": None}


def test_altered_content_is_for_the_caller_to_see(bucket: Bucket) -> None:
    """The archive list has its SHA-256; a checksum of botocore's would only cost time."""
    put(bucket, "k", b"content")
    bucket.proxy.decide = lambda method, _path: Fault.ALTERED if method == "GET" else Fault.NONE
    assert fetched(bucket.restores(), "k", 7) == b"bontent"
    assert through_a_lane(bucket.restores(), [("k", 7)]) == {"k": b"bontent"}


def test_content_that_stops_coming_is_taken_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    client = S3Connection.client
    monkeypatch.setattr(S3Connection, "client", lambda self, *, read: client(self, read=0.5))
    monkeypatch.setattr("core.s3.restore_store._SECONDS", 1.0)
    tag = b'ETag: "e"\r\n'
    data = os.urandom(MIB + 10)

    def script(peer: Peer) -> None:
        while request := peer.request():
            if request.method == "HEAD":
                peer.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            elif "range" not in request.headers:
                length = b"Content-Length: %d\r\n\r\n" % len(data)
                peer.answer(b"HTTP/1.1 200 OK\r\n" + tag + length + data[:-5])
            else:
                whole = (MIB, len(data) - 1, len(data))
                length = b"Content-Length: 10\r\nContent-Range: bytes %d-%d/%d\r\n\r\n" % whole
                peer.answer(b"HTTP/1.1 206 Partial Content\r\n" + tag + length + data[MIB:])

    with serving(script) as server:
        for name, value in aws_environment(f"http://127.0.0.1:{server.port}").items():
            monkeypatch.setenv(name, value)
        store = S3RestoreStore(BUCKET, sleep=lambda _seconds: None)
        assert fetched(store, "k", len(data)) == data
        for one in (store._client, store._s3.quick):
            one.close()
    requests = [request for request in server.requests if request.method == "GET"]
    assert [r.headers.get("range") for r in requests] == [None, f"bytes={MIB}-"]
    assert [r.headers.get("if-match") for r in requests] == [None, '"e"']


# Asking for copies


@pytest.mark.parametrize("fault", [Fault.SLOW_DOWN, Fault.INTERNAL, Fault.RESET])
def test_a_fault_of_a_request_is_retried(strict_bucket: Bucket, fault: Fault) -> None:
    put(strict_bucket, "k", b"1", "DEEP_ARCHIVE")
    only(strict_bucket, "POST", [fault, fault])
    assert strict_bucket.restores().thaw("k", Tier.BULK, 7) is Answer.ACCEPTED
    assert seen(strict_bucket, "POST") == [fault, fault, Fault.NONE]


def test_a_request_whose_answer_is_lost_is_under_way(strict_bucket: Bucket) -> None:
    put(strict_bucket, "k", b"1", "DEEP_ARCHIVE")
    only(strict_bucket, "POST", [Fault.LOST])
    assert strict_bucket.restores().thaw("k", Tier.BULK, 7) is Answer.IN_PROGRESS


def test_requests_say_tier_and_days(strict_bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """By both clients; signatures are compared in test_s3_sign.py."""
    bodies: list[bytes] = []
    forward = strict_bucket.proxy._forward

    def remember(request: Any, body: bytes) -> Any:
        bodies.append(body)
        return forward(request, body)

    for key in ("lean", "boto3"):
        put(strict_bucket, key, b"1", "DEEP_ARCHIVE")
    lean = strict_bucket.restores()
    monkeypatch.setattr(connection, "bucket_endpoint", lambda *_: None)  # as behind a proxy
    boto3 = strict_bucket.restores()
    assert boto3.fetch_lane() is None
    strict_bucket.proxy._forward = remember  # type: ignore[method-assign]
    assert lean.thaw("lean", Tier.STANDARD, 12) is Answer.ACCEPTED
    assert boto3.thaw("boto3", Tier.STANDARD, 12) is Answer.ACCEPTED
    assert len(bodies) == 2
    for body in bodies:
        assert b"<Days>12</Days>" in body
        assert b"<GlacierJobParameters><Tier>Standard</Tier></GlacierJobParameters>" in body


@pytest.mark.usefixtures("one_attempt")
@pytest.mark.parametrize(
    ("call", "code"),
    [("thaw", Code.RESTORE_REFUSED), ("fetch", Code.DOWNLOAD_FAILED), ("state", None)],
)
def test_s3_that_stays_busy_fails_this_object_only(
    bucket: Bucket, call: str, code: Code | None
) -> None:
    bucket.proxy.decide = lambda _method, _path: Fault.SLOW_DOWN
    store = bucket.restores()
    if code is None:
        [(key, state)] = store.states(["k"])
        assert isinstance(state, ItemError)
        assert (key, state.code) == ("k", Code.DOWNLOAD_FAILED)
        return
    with pytest.raises(ItemError) as caught:
        asked(store)[call]()
    assert caught.value.code is code
    assert caught.value.detail in ("SlowDown", "503")


def asked(store: S3RestoreStore) -> dict[str, Callable[[], object]]:
    return {
        "thaw": lambda: store.thaw("k", Tier.BULK, 7),
        "fetch": lambda: fetched(store, "k", 7),
        "state": lambda: list(store.states(["k"])),
        "states": lambda: list(store.states([f"{n}" for n in range(20)])),
    }


@pytest.mark.parametrize("call", ["thaw", "fetch", "state", "states"])
@pytest.mark.parametrize(
    ("fault", "code"),
    [(Fault.DENIED, Code.ACCESS_DENIED), (Fault.EXPIRED, Code.CREDENTIALS_REJECTED)],
)
def test_what_the_next_object_would_meet_as_well_stops_the_run(
    bucket: Bucket, call: str, fault: Fault, code: Code
) -> None:
    store = bucket.restores()
    bucket.proxy.decide = lambda _method, _path: fault
    with pytest.raises(FatalError) as caught:
        asked(store)[call]()
    assert caught.value.code is code


@pytest.mark.parametrize("call", ["thaw", "fetch", "states"])
def test_an_endpoint_that_never_answers_stops_the_run(
    silence: list[socket.socket], call: str
) -> None:
    with pytest.raises(FatalError) as caught:
        asked(S3RestoreStore(BUCKET))[call]()
    assert caught.value.code is Code.S3_UNREACHABLE
    # One attempt, and the check with its second one.
    assert len(silence) <= 1 + 2


def test_a_silent_endpoint_is_looked_into_once_for_a_whole_lane(
    silence: list[socket.socket],
) -> None:
    ended = through_a_lane(S3RestoreStore(BUCKET), [(f"{n}", 1) for n in range(8)])
    assert {type(value) for value in ended.values()} == {FatalError}
    # Their own connections, and for each time they ran out the check with its second attempt.
    assert len(silence) <= 8 + 2 * 2


def test_credentials_that_cannot_be_renewed_stop_the_run(bucket: Bucket) -> None:
    class Expired:
        def get_frozen_credentials(self) -> None:
            raise RuntimeError("refreshed credentials are still expired")

    store = bucket.restores()
    store._s3.credentials = Expired()
    for call in (lambda: store.thaw("k", Tier.BULK, 7), lambda: through_a_lane(store, [("k", 1)])):
        with pytest.raises(FatalError) as caught:
            call()
        assert caught.value.code is Code.CREDENTIALS_UNAVAILABLE
    assert bucket.proxy.seen == []


def test_requests_keep_below_the_quota(bucket: Bucket) -> None:
    """Each attempt counts, of either client."""
    turns: list[None] = []

    class Counting(RateLimiter):
        def wait(self) -> None:
            turns.append(None)

    store = S3RestoreStore(load_settings({"HIMURO_BUCKET": bucket.name}), Counting(1))
    put(bucket, "k", b"1", "DEEP_ARCHIVE")
    only(bucket, "POST", [Fault.RESET] * 2)
    store.thaw("k", Tier.BULK, 7)
    assert len(turns) == len(seen(bucket, "POST")) == 3


@pytest.fixture
def clock() -> list[float]:
    return [1000.0]


def test_no_second_has_more_turns_than_allowed(clock: list[float]) -> None:
    def sleep(seconds: float) -> None:
        clock[0] += seconds

    limiter, given = RateLimiter(3, lambda: clock[0], sleep), []
    for step in (0.0, 0.0, 0.4, 0.0, 0.0, 0.1, 0.0, 5.0, 0.0, 0.0, 0.0):
        clock[0] += step
        limiter.wait()
        given.append(round(clock[0] - 1000, 6))
    assert given == [0, 0, 0.4, 1, 1, 1.4, 2, 7, 7, 7, 8]


def test_turns_of_waiting_threads_are_handed_out_in_advance(clock: list[float]) -> None:
    """The clock stands still: each caller is told how long to sleep."""
    pauses: list[float] = []
    limiter = RateLimiter(2, lambda: clock[0], pauses.append)
    for _ in range(6):
        limiter.wait()
    assert pauses == [1, 1, 2, 2]


# What S3 says of an object


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        ({}, ObjectState(Thaw.READABLE, 5)),
        ({"StorageClass": "GLACIER_IR"}, ObjectState(Thaw.READABLE, 5)),
        ({"StorageClass": "INTELLIGENT_TIERING"}, ObjectState(Thaw.READABLE, 5)),
        (
            {"StorageClass": "INTELLIGENT_TIERING", "ArchiveStatus": "DEEP_ARCHIVE_ACCESS"},
            ObjectState(Thaw.FROZEN, 5),
        ),
        ({"StorageClass": "GLACIER"}, ObjectState(Thaw.FROZEN, 5)),
        ({"StorageClass": "DEEP_ARCHIVE"}, ObjectState(Thaw.FROZEN, 5)),
        (
            {"StorageClass": "DEEP_ARCHIVE", "Restore": 'ongoing-request="true"'},
            ObjectState(Thaw.THAWING, 5),
        ),
        (
            {
                "StorageClass": "DEEP_ARCHIVE",
                "Restore": 'ongoing-request="false", expiry-date="Fri, 27 Nov 2026 00:00:00 GMT"',
            },
            ObjectState(Thaw.READABLE, 5, datetime(2026, 11, 27, tzinfo=UTC)),
        ),
    ],
    ids=str,
)
def test_what_a_head_means(answer: dict[str, Any], state: ObjectState) -> None:
    assert head_state({"ContentLength": 5, **answer}) == state


def error(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code}}, "RestoreObject")


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("SlowDown", (ItemError, Code.RESTORE_REFUSED)),
        ("GlacierExpeditedRetrievalNotAvailable", (ItemError, Code.RESTORE_REFUSED)),
        ("InvalidArgument", (ItemError, Code.RESTORE_REFUSED)),
        ("AccessDenied", (ItemError, Code.OBJECT_DENIED)),  # the bucket itself answers
        ("NoSuchBucket", (FatalError, Code.NO_SUCH_BUCKET)),
    ],
)
def test_what_a_refusal_means(
    bucket: Bucket, code: str, expected: tuple[type[HimuroError], Code]
) -> None:
    store = bucket.restores()

    class Refusing:
        def restore_object(self, **_: object) -> None:
            raise error(code)

    store._lean, store._client = None, Refusing()
    with pytest.raises(expected[0]) as caught:
        store.thaw("k", Tier.BULK, 7)
    assert caught.value.code is expected[1]  # type: ignore[attr-defined]
