"""The object store: one contract for the real client (on moto) and for the one in memory."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    MetadataRetrievalError,
    NoCredentialsError,
)

from core.archive.ports import Lane, NewObject, ObjectStore, Part
from core.config.settings import load_settings
from core.errors import Code, FatalError, HimuroError, ItemError
from core.s3 import connection
from core.s3 import session as aws_session
from core.s3.archive_store import MAX_PARTS, PART_BYTES, S3ObjectStore
from core.s3.failures import explain
from core.s3.http.fast_put import bucket_endpoint
from tests.support.environment import aws_environment
from tests.support.fakes import MemoryStore
from tests.support.servers.buckets import Bucket
from tests.support.servers.proxy import Fault

MIB = 1024 * 1024
UNC = r"\\fsx01\share\営業部\見積書～.txt"


def new(key: str, data: bytes, source: str = UNC) -> NewObject:
    return NewObject(key, len(data), hashlib.sha256(data).hexdigest(), source)


def parts(data: bytes, size: int) -> Iterator[Part]:
    for start in range(0, len(data), size):
        piece = data[start : start + size]
        yield Part(piece, hashlib.sha256(piece).digest())


@pytest.fixture(params=["moto", "memory"])
def store(request: pytest.FixtureRequest) -> ObjectStore:
    if request.param == "memory":
        return MemoryStore(part_bytes=PART_BYTES)
    store: ObjectStore = request.getfixturevalue("bucket").store()
    return store


KEYS = [
    "a",
    "fsx01/share/営業部/見積書～B社（最終）.xlsx",
    "100%/50%20/#~[1]{2}^`'&+=@;!,$().txt",
    "decomposed カ\u3099/emoji 😀 .txt",
    " leading and trailing ",
    "x" * 1024,
]


@pytest.mark.parametrize("key", KEYS)
def test_an_object_comes_back_as_it_was_described(store: ObjectStore, key: str) -> None:
    store.check()
    assert store.head(key) is None
    assert store.create(new(key, b"data"), b"data") is True
    there = store.head(key)
    assert there is not None
    assert (there.size, there.sha256) == (4, hashlib.sha256(b"data").hexdigest())
    assert (there.source_path, there.storage_class) == (UNC, "DEEP_ARCHIVE")


@pytest.mark.parametrize("size", [0, 1, 8 * MIB, 8 * MIB + 1])
def test_an_object_is_never_overwritten(store: ObjectStore, size: int) -> None:
    first, second = b"a" * size, b"b" * (size + 1)
    assert store.create(new("k", first), first) is True
    assert store.create(new("k", second), second) is False
    there = store.head("k")
    assert there is not None
    assert there.sha256 == hashlib.sha256(first).hexdigest()


def through_a_lane(store: ObjectStore, objects: dict[str, bytes]) -> dict[str, object]:
    """Create objects as one thread does it; returns what became of each key."""
    lane: Lane[str] | None = store.lane()
    assert lane is not None
    ended: list[tuple[str, object]] = []
    with contextlib.closing(lane):
        for key, data in objects.items():
            lane.begin(new(key, data), data, key)
            while lane.is_full:
                ended += lane.wait()
        while lane.busy:
            ended += lane.wait()
    assert len(dict(ended)) == len(ended)
    return dict(ended)


def test_a_lane_creates_what_comes_back(store: ObjectStore) -> None:
    objects = {key: b"" if n == 0 else os.urandom(n * 7) for n, key in enumerate(KEYS)}
    objects |= {f"営業部/{n}.txt": str(n).encode() for n in range(20)}
    assert through_a_lane(store, objects) == dict.fromkeys(objects, True)
    for key, data in objects.items():
        there = store.head(key)
        assert there is not None
        assert (there.size, there.sha256) == (len(data), hashlib.sha256(data).hexdigest())
        assert (there.source_path, there.storage_class) == (UNC, "DEEP_ARCHIVE")


def test_a_lane_never_overwrites(store: ObjectStore) -> None:
    store.create(new("taken", b"first"), b"first")
    ended = through_a_lane(store, {"a": b"1", "taken": b"second", "b": b"2"})
    assert ended == {"a": True, "taken": False, "b": True}
    there = store.head("taken")
    assert there is not None
    assert there.sha256 == hashlib.sha256(b"first").hexdigest()


def test_a_lane_takes_as_much_as_it_says(store: ObjectStore) -> None:
    lane: Lane[str] | None = store.lane()
    assert lane is not None
    data = os.urandom(lane.most_bytes)
    lane.close()
    assert through_a_lane(store, {"k": data}) == {"k": True}
    there = store.head("k")
    assert there is not None
    assert (there.size, there.sha256) == (len(data), hashlib.sha256(data).hexdigest())


def test_parts_make_one_object_that_is_never_overwritten(store: ObjectStore) -> None:
    data = os.urandom(11 * MIB)
    assert store.create_in_parts(new("k", data), parts(data, 5 * MIB)) is True
    there = store.head("k")
    assert there is not None
    assert (there.size, there.sha256) == (11 * MIB, hashlib.sha256(data).hexdigest())
    assert (there.source_path, there.storage_class) == (UNC, "DEEP_ARCHIVE")
    other = b"o" * 6 * MIB
    assert store.create_in_parts(new("k", other), parts(other, 5 * MIB)) is False
    assert store.head("k") == there
    assert store.abort_unfinished(["k"]) == 0


def test_an_error_between_parts_leaves_nothing_behind(store: ObjectStore) -> None:
    def breaking() -> Iterator[Part]:
        yield next(parts(b"a" * 5 * MIB, 5 * MIB))
        raise ItemError(Code.CHANGED_WHILE_READING)

    with pytest.raises(ItemError) as caught:
        store.create_in_parts(new("k", b""), breaking())
    assert caught.value.code is Code.CHANGED_WHILE_READING
    assert store.head("k") is None
    assert store.abort_unfinished(["k"]) == 0


def test_a_source_path_that_does_not_fit_is_left_out(store: ObjectStore) -> None:
    if isinstance(store, MemoryStore):
        return  # it has no limit to respect
    long = "\\\\fsx01\\share\\" + "漢" * 300
    assert store.create(new("k", b"x", long), b"x")
    there = store.head("k")
    assert there is not None
    assert (there.source_path, there.sha256) == ("", hashlib.sha256(b"x").hexdigest())


def test_parts_never_exceed_s3s_number(bucket: Bucket) -> None:
    store = bucket.store()
    assert store.part_size(0) is None
    assert store.part_size(PART_BYTES) is None
    assert store.part_size(PART_BYTES + 1) == PART_BYTES
    for size in (PART_BYTES * MAX_PARTS, PART_BYTES * MAX_PARTS + 1, 5 * 1024**4):
        part = store.part_size(size)
        assert part is not None
        assert -(-size // part) <= MAX_PARTS


@pytest.mark.parametrize("fault", [Fault.SLOW_DOWN, Fault.INTERNAL, Fault.RESET, Fault.LOST])
@pytest.mark.parametrize("size", [10, 9 * MIB])
def test_a_passing_fault_is_retried_inside_the_call(
    bucket: Bucket, fault: Fault, size: int
) -> None:
    faults = [fault, fault]
    bucket.proxy.decide = lambda method, _path: (
        faults.pop() if method == "PUT" and faults else Fault.NONE
    )
    data = os.urandom(size)
    created = bucket.store().create(new("k", data), data)
    # After a lost answer the retry finds the object: False, and the caller adopts it.
    assert created is (fault is not Fault.LOST)
    head = bucket.client.head_object(Bucket=bucket.name, Key="k")
    assert head["ContentLength"] == size
    assert head["Metadata"]["sha256"] == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("fault", [Fault.SLOW_DOWN, Fault.RESET, Fault.LOST])
def test_faults_during_parts_are_retried_too(bucket: Bucket, fault: Fault) -> None:
    faults = [fault] * 3
    bucket.proxy.decide = lambda method, path: (
        faults.pop() if faults and method in ("PUT", "POST") and "uploadId" in path else Fault.NONE
    )
    data = os.urandom(11 * MIB)
    bucket.store().create_in_parts(new("k", data), parts(data, 5 * MIB))
    assert bucket.client.head_object(Bucket=bucket.name, Key="k")["ContentLength"] == 11 * MIB
    assert bucket.unfinished() == []


def test_expired_credentials_stop_the_run(bucket: Bucket) -> None:
    store = bucket.store()
    bucket.proxy.decide = lambda _method, _path: Fault.EXPIRED
    with pytest.raises(FatalError) as caught:
        store.create(new("k", b"x"), b"x")
    assert caught.value.code is Code.CREDENTIALS_REJECTED


def test_a_bucket_that_does_not_exist_stops_the_run(bucket: Bucket) -> None:
    store = S3ObjectStore(load_settings({"HIMURO_BUCKET": "himuro-nowhere"}))
    with pytest.raises(FatalError) as caught:
        store.check()
    assert (caught.value.code, caught.value.detail) == (Code.NO_SUCH_BUCKET, "himuro-nowhere")
    with pytest.raises(FatalError) as caught:
        store.create(new("k", b"x"), b"x")
    assert caught.value.code is Code.NO_SUCH_BUCKET


def test_leftovers_are_given_up_for_the_named_keys_only(bucket: Bucket) -> None:
    for key in ("営業部/mine.bin", "営業部/other.bin"):
        bucket.client.create_multipart_upload(Bucket=bucket.name, Key=key)
    assert bucket.store().abort_unfinished(["営業部/mine.bin", "営業部/none.bin"]) == 1
    assert bucket.unfinished() == ["営業部/other.bin"]


def test_missing_credentials_are_said_at_once(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(FatalError) as caught:
        bucket.store()
    assert caught.value.code is Code.NO_CREDENTIALS


@pytest.fixture
def metadata_service(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """An address for instance metadata that knows no role; the requests it was sent."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:  # noqa: N802
            asked.append(f"{self.command} {self.path}")
            self.send_error(404)

        do_GET = do_PUT  # noqa: N815

        def log_message(self, *_args: object) -> None:
            return

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
        address = f"http://127.0.0.1:{server.server_address[1]}/"
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", address)
        yield asked
        server.shutdown()
        thread.join()


def test_missing_credentials_are_looked_up_once(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, metadata_service: list[str]
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(FatalError) as caught:
        bucket.store()
    assert caught.value.code is Code.NO_CREDENTIALS
    assert metadata_service.count("PUT /latest/api/token") == 1


@pytest.mark.parametrize(("given", "seconds"), [(None, 0.5), ("3", 3)])
def test_what_the_user_set_for_instance_metadata_counts(
    monkeypatch: pytest.MonkeyPatch, given: str | None, seconds: float
) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("AWS_METADATA_SERVICE_TIMEOUT", raising=False)
    if given:
        monkeypatch.setenv("AWS_METADATA_SERVICE_TIMEOUT", given)
    session = aws_session.make_session()
    assert session.get_config_variable("metadata_service_timeout") == seconds


@pytest.mark.parametrize("call", ["small", "large", "parts", "head"])
def test_an_endpoint_that_never_answers_stops_the_run(
    silence: list[socket.socket], call: str
) -> None:
    store = S3ObjectStore(load_settings({"HIMURO_BUCKET": "himuro-silent"}))
    data = b"x" * (10 if call == "small" else 9 * MIB)
    calls: dict[str, Callable[[], object]] = {
        "head": lambda: store.head("k"),
        "parts": lambda: store.create_in_parts(new("k", data), parts(data, 5 * MIB)),
    }
    with pytest.raises(FatalError) as caught:
        calls.get(call, lambda: store.create(new("k", data), data))()
    assert caught.value.code is Code.S3_UNREACHABLE
    assert len(silence) <= 1 + 2  # one attempt, and the check with its second one


def test_a_silent_endpoint_is_looked_into_once_for_a_whole_lane(
    silence: list[socket.socket],
) -> None:
    store = S3ObjectStore(load_settings({"HIMURO_BUCKET": "himuro-silent"}))
    ended = through_a_lane(store, {f"{n}": b"x" for n in range(8)})
    assert {type(value) for value in ended.values()} == {FatalError}
    assert {value.code for value in ended.values()} == {Code.S3_UNREACHABLE}  # type: ignore[attr-defined]
    # Their own connections, and for each time they ran out the check with its second attempt.
    assert len(silence) <= 8 + 2 * 2


def test_one_hiccup_does_not_refuse_a_run(bucket: Bucket) -> None:
    faults = [Fault.INTERNAL]
    bucket.proxy.decide = lambda _method, _path: faults.pop() if faults else Fault.NONE
    bucket.store().check()
    assert [fault for _, _, fault in bucket.proxy.seen] == [Fault.INTERNAL, Fault.NONE]


def test_s3_that_is_busy_is_not_gone(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    config = connection.client_config
    monkeypatch.setattr(
        connection,
        "client_config",
        lambda _attempts, *, connect, read: config(1, connect=connect, read=read),
    )
    bucket.proxy.decide = lambda method, _path: Fault.RESET if method == "PUT" else Fault.SLOW_DOWN
    with pytest.raises(ItemError) as caught:
        bucket.store().create(new("k", b"x"), b"x")
    assert caught.value.code is Code.UPLOAD_FAILED


@pytest.mark.parametrize(
    ("environ", "bucket_name", "url", "region"),
    [
        ({}, "himuro-x", "https://himuro-x.s3.ap-northeast-1.amazonaws.com", "ap-northeast-1"),
        ({}, "himuro.x", "https://s3.ap-northeast-1.amazonaws.com/himuro.x", "ap-northeast-1"),
        (
            {"AWS_DEFAULT_REGION": "us-gov-west-1", "AWS_USE_FIPS_ENDPOINT": "true"},
            "himuro-x",
            "https://himuro-x.s3-fips.us-gov-west-1.amazonaws.com",
            "us-gov-west-1",
        ),
        (
            {"AWS_USE_DUALSTACK_ENDPOINT": "true"},
            "himuro-x",
            "https://himuro-x.s3.dualstack.ap-northeast-1.amazonaws.com",
            "ap-northeast-1",
        ),
        (
            {"AWS_ENDPOINT_URL_S3": "http://[::1]:9000/base/"},
            "himuro-x",
            "http://[::1]:9000/base/himuro-x",
            "ap-northeast-1",
        ),
        ({"AWS_DEFAULT_REGION": "aws-global"}, "himuro-x", None, "us-east-1"),
        # A proxy that is not for this address; what is excepted from a proxy alone is none.
        ({"HTTP_PROXY": "http://127.0.0.1:9"}, "himuro-x", None, "ap-northeast-1"),
        ({"NO_PROXY": "elsewhere"}, "himuro-x", None, "ap-northeast-1"),
    ],
)
def test_the_lean_client_sends_where_boto3_does(
    monkeypatch: pytest.MonkeyPatch,
    environ: dict[str, str],
    bucket_name: str,
    url: str | None,
    region: str,
) -> None:
    client = boto_client(monkeypatch, environ)
    endpoint = bucket_endpoint(bucket_name, client, None)
    assert endpoint is not None
    assert endpoint.region == region
    if url:
        assert endpoint.url == url
    assert endpoint.ca_bundle is not None
    given = bucket_endpoint(bucket_name, client, "/etc/ours.pem")
    assert given is not None
    assert given.ca_bundle == "/etc/ours.pem"


def boto_client(monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]) -> Any:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name, value in (aws_environment("") | {"NO_PROXY": ""} | environ).items():
        monkeypatch.setenv(name, value)
    if "AWS_ENDPOINT_URL_S3" not in environ:
        monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    return aws_session.make_session().create_client(
        "s3", config=connection.client_config(1, connect=1, read=1)
    )


def test_boto3_is_alone_behind_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    client = boto_client(monkeypatch, {"HTTPS_PROXY": "http://127.0.0.1:9", "no_proxy": ""})
    assert bucket_endpoint("himuro-x", client, None) is None


def test_certificates_that_cannot_be_read_are_said_at_once(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://127.0.0.1:9")
    monkeypatch.setenv("AWS_CA_BUNDLE", "/nowhere/ca.pem")
    with pytest.raises(FatalError) as caught:
        bucket.store()
    assert caught.value.code is Code.CERTIFICATE_UNTRUSTED
    assert caught.value.detail == "AWS_CA_BUNDLE /nowhere/ca.pem を読み取れません: 存在しません"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RuntimeError("refreshed credentials are still expired"), Code.CREDENTIALS_UNAVAILABLE),
        (MetadataRetrievalError(error_msg="x"), Code.CREDENTIALS_UNAVAILABLE),
        (
            ClientError({"Error": {"Code": "Throttling"}}, "AssumeRole"),
            Code.CREDENTIALS_UNAVAILABLE,
        ),
        (ClientError({"Error": {"Code": "AccessDenied"}}, "AssumeRole"), Code.ROLE_REFUSED),
    ],
    ids=lambda value: type(value).__name__,
)
def test_credentials_that_cannot_be_renewed_stop_the_run(
    bucket: Bucket, error: Exception, code: Code
) -> None:
    class Expired:
        def get_frozen_credentials(self) -> None:
            raise error

    store = bucket.store()
    store._s3.credentials = Expired()
    with pytest.raises(FatalError) as caught:
        store.create(new("k", b"x"), b"x")
    assert caught.value.code is code
    with pytest.raises(FatalError) as caught:
        through_a_lane(store, {"k": b"x"})
    assert caught.value.code is code
    assert bucket.writes() == []


def client_error(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code}}, "PutObject")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (client_error("NoSuchBucket"), (FatalError, Code.NO_SUCH_BUCKET)),
        (client_error("AccessDenied"), (FatalError, Code.ACCESS_DENIED)),
        (client_error("403"), (FatalError, Code.ACCESS_DENIED)),
        (client_error("InvalidAccessKeyId"), (FatalError, Code.ACCESS_KEY_UNKNOWN)),
        (client_error("SignatureDoesNotMatch"), (FatalError, Code.SECRET_KEY_WRONG)),
        (client_error("ExpiredToken"), (FatalError, Code.CREDENTIALS_REJECTED)),
        (client_error("RequestTimeTooSkewed"), (FatalError, Code.CLOCK_WRONG)),
        (client_error("PermanentRedirect"), (FatalError, Code.REGION_WRONG)),
        (NoCredentialsError(), (FatalError, Code.NO_CREDENTIALS)),
        (client_error("BadDigest"), (ItemError, Code.CHANGED_WHILE_READING)),
        (client_error("XAmzContentSHA256Mismatch"), (ItemError, Code.CHANGED_WHILE_READING)),
        (client_error("SlowDown"), (ItemError, Code.UPLOAD_FAILED)),
        (client_error("InternalError"), (ItemError, Code.UPLOAD_FAILED)),
        (client_error("EntityTooLarge"), (ItemError, Code.UPLOAD_FAILED)),
        (client_error(""), (ItemError, Code.UPLOAD_FAILED)),
        (EndpointConnectionError(endpoint_url="x"), (ItemError, Code.UPLOAD_FAILED)),
        (ConnectTimeoutError(endpoint_url="x"), (ItemError, Code.UPLOAD_FAILED)),
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_an_error_means(error: Exception, expected: tuple[type[HimuroError], Code]) -> None:
    cause: Any = explain(error)
    assert (type(cause), cause.code) == expected


def test_the_bytes_are_guarded_by_a_checksum_on_the_wire(bucket: Bucket) -> None:
    """moto accepts a wrong checksum, so the headers themselves are looked at."""
    seen: list[dict[str, str]] = []
    forward = bucket.proxy._forward

    def remember(request: Any, body: bytes) -> Any:
        seen.append({k.lower(): v for k, v in request.headers.items()})
        return forward(request, body)

    bucket.proxy._forward = remember  # type: ignore[method-assign]
    for size, way in ((10, "call"), (9 * MIB, "call"), (11, "lane")):
        data = os.urandom(size)
        if way == "lane":
            assert through_a_lane(bucket.store(), {f"k{size}": data}) == {f"k{size}": True}
        else:
            bucket.store().create(new(f"k{size}", data), data)
        headers = seen[-1]
        digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
        assert headers["x-amz-checksum-sha256"] == digest
        assert headers["if-none-match"] == "*"
        assert headers["x-amz-storage-class"] == "DEEP_ARCHIVE"
        assert headers["x-amz-meta-sha256"] == hashlib.sha256(data).hexdigest()
        assert headers["x-amz-meta-source-path"].startswith("%5C%5Cfsx01%5Cshare%5C%E5%96%B6")
