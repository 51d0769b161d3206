"""Every signature equals the one that botocore makes of the same request."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.session import Session
from hypothesis import given, settings
from hypothesis import strategies as st

from core.paths.normalization import encode_metadata
from core.s3.http.sigv4 import Endpoint, Signer

NOW = datetime(2026, 11, 23, 18, 30, 5, tzinfo=UTC)
ENDPOINTS = [
    "http://127.0.0.1:9000/himuro-test",
    "https://himuro-test.s3.ap-northeast-1.amazonaws.com",
    "https://s3.ap-northeast-1.amazonaws.com/himuro.test",
    "https://s3.example:443/himuro-test",
    "http://s3.example:80/himuro-test",
    "https://s3.example:80/himuro-test",
    "http://[::1]:9000/base/himuro-test",
]


@dataclass(frozen=True)
class _Frozen:
    access_key: str
    secret_key: str
    token: str | None


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        botocore.auth, "get_current_datetime", lambda remove_tzinfo=True: NOW.replace(tzinfo=None)
    )


def request_of(head: bytes) -> tuple[str, dict[str, str]]:
    """Return the request line and the headers of a head."""
    assert head.endswith(b"\r\n\r\n")
    first, *lines = head.decode("ascii").removesuffix("\r\n\r\n").split("\r\n")
    return first, dict(line.split(": ", 1) for line in lines)


def as_botocore_signs(
    endpoint: Endpoint,
    frozen: _Frozen,
    target: tuple[str, str],
    data: bytes,
    headers: dict[str, str],
) -> str:
    """Return botocore's ``Authorization`` of a request; ``target``: method and path."""
    method, path = target
    host = endpoint.url.partition("://")[2].partition("/")[0]
    scheme = endpoint.url.partition("://")[0]
    request = AWSRequest(method, f"{scheme}://{host}{path}", dict(headers), data)
    request.context["client_config"] = Config(s3={"payload_signing_enabled": True})
    credentials = Credentials(frozen.access_key, frozen.secret_key, frozen.token)
    botocore.auth.S3SigV4Auth(credentials, "s3", endpoint.region).add_auth(request)
    return str(request.headers["Authorization"])


LETTERS = st.sampled_from("aZ0 %#~+?&=@:;,!$'()*[]^`{}|<>\"_.-/営業部～ーカ\u3099é😀\u3000\u00a0")
KEYS = st.one_of(
    st.text(LETTERS, min_size=1, max_size=30),
    st.text(min_size=1, max_size=20).filter(lambda key: key.isprintable()),
)


@pytest.mark.usefixtures("clock")
@settings(max_examples=150)
@given(
    url=st.sampled_from(ENDPOINTS),
    key=KEYS,
    source=KEYS,
    data=st.binary(max_size=20),
    token=st.sampled_from([None, "to/ken+with=signs"]),
    request=st.sampled_from([("PUT", ""), ("POST", "restore="), ("GET", "")]),
)
def test_a_signature_is_botocores(
    url: str, key: str, source: str, data: bytes, token: str | None, request: tuple[str, str]
) -> None:
    asked, query = request
    data = b"" if asked == "GET" else data
    endpoint, frozen = Endpoint(url, "ap-northeast-1"), _Frozen("AKIDEXAMPLE", "secret/key", token)
    headers = {
        "if-none-match": "*",
        "x-amz-meta-source-path": encode_metadata(source),
        "x-amz-storage-class": "DEEP_ARCHIVE",
    }
    sha256 = hashlib.sha256(data).hexdigest()
    signer = Signer(endpoint, lambda: frozen, lambda: NOW)
    size = None if asked == "GET" else len(data)
    line, sent = request_of(signer.head(asked, key, headers, size=size, sha256=sha256, query=query))
    method, path, version = line.split(" ")
    assert (method, version) == (asked, "HTTP/1.1")
    assert path.partition("?")[2] == query
    assert sent.pop("content-length", None) == (None if asked == "GET" else str(len(data)))
    assert sent.pop("host") == endpoint.host
    assert (sent["x-amz-date"], sent["x-amz-content-sha256"]) == ("20261123T183005Z", sha256)
    assert sent.get("x-amz-security-token") == token
    assert sent.pop("authorization") == as_botocore_signs(
        endpoint, frozen, (method, path), data, headers
    )


@pytest.fixture(scope="module")
def boto_client() -> Iterator[Any]:
    session = Session()
    session.set_credentials("AKIDEXAMPLE", "secret")
    client = session.create_client("s3", "ap-northeast-1", endpoint_url="http://127.0.0.1:9")
    with closing(client):
        yield client


class _NotSentError(Exception):
    pass


@settings(max_examples=100)
@given(key=KEYS.filter(lambda key: not {".", ".."} & set(key.split("/"))))
def test_a_key_is_encoded_as_boto3_does(boto_client: Any, key: str) -> None:
    asked: list[str] = []

    def look(request: Any, **_: object) -> None:
        asked.append(request.url)
        raise _NotSentError

    boto_client.meta.events.register("before-send.s3.PutObject", look)
    try:
        with pytest.raises(_NotSentError):
            boto_client.put_object(Bucket="himuro-test", Key=key, Body=b"")
    finally:
        boto_client.meta.events.unregister("before-send.s3.PutObject", look)
    signer = Signer(
        Endpoint("http://127.0.0.1:9/himuro-test", "ap-northeast-1"),
        lambda: _Frozen("AKIDEXAMPLE", "secret", None),
    )
    line, _ = request_of(signer.head("PUT", key, {}, size=0))
    assert asked == [f"http://127.0.0.1:9{line.split(' ')[1]}"]


@pytest.mark.usefixtures("clock")
def test_new_credentials_and_a_new_day_count_from_the_next_put() -> None:
    endpoint = Endpoint(ENDPOINTS[0], "eu-west-1")
    frozen, now = [_Frozen("A", "one", None)], [NOW]
    signer = Signer(endpoint, lambda: frozen[0], lambda: now[0])

    def signed() -> str:
        line, sent = request_of(signer.head("PUT", "k", {}, size=0))
        path = line.split(" ")[1]
        expected = as_botocore_signs(endpoint, frozen[0], ("PUT", path), b"", {})
        assert (sent["authorization"] == expected) is (now[0] == NOW)
        return sent["authorization"]

    first = signed()
    assert signed() == first
    frozen[0] = _Frozen("B", "two", "token")
    assert "Credential=B/20261123/" in signed()
    now[0] = datetime(2026, 11, 24, tzinfo=UTC)
    assert "Credential=B/20261124/eu-west-1/s3/aws4_request" in signed()


@pytest.mark.parametrize(
    ("url", "address", "host"),
    [
        (ENDPOINTS[0], ("127.0.0.1", 9000), "127.0.0.1:9000"),
        (ENDPOINTS[3], ("s3.example", 443), "s3.example"),
        (ENDPOINTS[4], ("s3.example", 80), "s3.example"),
        (ENDPOINTS[5], ("s3.example", 80), "s3.example:80"),
        (ENDPOINTS[6], ("::1", 9000), "[::1]:9000"),
    ],
)
def test_where_an_endpoint_is(url: str, address: tuple[str, int], host: str) -> None:
    endpoint = Endpoint(url, "ap-northeast-1")
    assert (endpoint.address, endpoint.host) == (address, host)
