"""The lane that fetches, against a server that does what a script says, on the wire."""

from __future__ import annotations

import contextlib
import os
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.s3.http.client import LeanClient
from core.s3.http.get import GetLane
from core.s3.http.sigv4 import Endpoint, Signer
from tests.support.certificates import Authority, make_authority
from tests.support.environment import free_port
from tests.support.servers.scripted_s3 import Keys, Peer, Script, answering, serving


def client_of(port: int, *, seconds: float = 5.0, ca: Path | None = None) -> LeanClient:
    url = f"{'https' if ca else 'http'}://127.0.0.1:{port}/bucket"
    endpoint = Endpoint(url, "ap-northeast-1", str(ca) if ca else None)
    return LeanClient(endpoint, Signer(endpoint, Keys), seconds)


@contextlib.contextmanager
def lane_of(client: LeanClient, connections: int = 8) -> Iterator[GetLane[str]]:
    lane: GetLane[str] = GetLane(client, connections)
    with contextlib.closing(lane):
        yield lane


def all_of(lane: GetLane[str]) -> dict[str, bytes | int | None]:
    """Wait for everything that is under way; no token may come twice."""
    ended: list[tuple[str, bytes | int | None]] = []
    while lane.busy:
        ended += lane.wait()
    assert len(dict(ended)) == len(ended)
    return dict(ended)


def ok(content: bytes, more: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n%s" % (more, len(content), content)


def plain(text: str) -> Script:
    return answering(text.replace("\n", "\r\n").encode())


def in_pieces(peer: Peer) -> None:
    while peer.request():
        for byte in ok(b"12345"):
            peer.answer(bytes([byte]))


def test_what_is_sent_is_a_signed_get() -> None:
    with serving(answering(ok(b"12345"))) as server:
        client = client_of(server.port)
        with lane_of(client) as lane:
            lane.begin("営業部/a b%.txt", 5, "x")
            assert all_of(lane) == {"x": b"12345"}
        del client, lane
    [request] = server.requests
    assert request.method == "GET"
    assert request.path == "/bucket/%E5%96%B6%E6%A5%AD%E9%83%A8/a%20b%25.txt"
    assert request.data == b""
    assert request.headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")


@pytest.mark.parametrize(
    ("script", "answer", "connections"),
    [
        (answering(ok(b"12345")), b"12345", 1),
        (in_pieces, b"12345", 1),
        (plain("HTTP/1.1 200 OK\nETag: x\nCONTENT-LENGTH: 5\n\n12345"), b"12345", 1),
        (plain("HTTP/1.1 200\ncontent-length:5\n\n12345"), b"12345", 1),
        (answering(ok(b"12345", b"Connection: close\r\n")), b"12345", 2),
        (answering(ok(b"12345") + b"6"), b"12345", 2),
        (answering(ok(b"1234")), 200, 2),
        (answering(ok(b"123456")), 200, 2),
        (plain("HTTP/1.1 200 OK\n\n12345"), 200, 2),
        (plain("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n5\n12345\n0\n\n"), 200, 2),
        (
            plain("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\nContent-Length: 5\n\n5\n1234"),
            200,
            2,
        ),
        (plain("HTTP/1.1 206 Partial Content\nContent-Length: 5\n\n12345"), 206, 2),
        (plain("HTTP/1.1 403 Forbidden\nContent-Length: 5\n\n<XML>"), 403, 2),
        (plain("HTTP/1.1 404 Not Found\nTransfer-Encoding: chunked\n\n0\n\n"), 404, 2),
        (plain("HTTP/1.1 503 Slow Down\nContent-Length: 0\n\n"), 503, 2),
    ],
    ids=lambda value: "" if callable(value) else str(value),
)
def test_only_a_plain_answer_of_the_right_length_is_one(
    script: Script, answer: bytes | int, connections: int
) -> None:
    with serving(script) as server:
        client = client_of(server.port)
        with lane_of(client) as lane:
            for key in "ab":
                lane.begin(key, 5, key)
                assert all_of(lane) == {key: answer}
        del client, lane
    assert server.connections == connections
    assert [request.path for request in server.requests] == ["/bucket/a", "/bucket/b"]


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n1234",
        b"garbage\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n12345",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X-Endless: 1\r\n" * 10_000,
        b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 9000 + b"\r\nContent-Length: 5\r\n\r\n12345",
    ],
    ids=lambda answer: repr(answer[:60]),
)
def test_what_is_no_whole_answer_is_not_taken_for_one(answer: bytes) -> None:
    def script(peer: Peer) -> None:
        peer.request()
        peer.answer(answer)

    with serving(script) as server:
        client = client_of(server.port)
        with lane_of(client) as lane:
            lane.begin("a", 5, "a")
            assert all_of(lane) == {"a": None}
        del client, lane


def test_a_connection_that_was_closed_while_idle_breaks_at_most_one_get() -> None:
    def script(peer: Peer) -> None:
        if peer.request():
            peer.answer(ok(b"12345"))

    with serving(script) as server:
        client = client_of(server.port)
        with lane_of(client) as lane:
            for key in "abc":
                lane.begin(key, 5, key)
                # None: it was sent into a closed connection; the caller asks again.
                assert all_of(lane)[key] in (b"12345", None)
        del client, lane


def by_key(peer: Peer) -> None:
    """Answer keys that begin with ``a``, break at ``b``, and never answer the others."""
    while request := peer.request():
        if request.path.startswith("/bucket/b"):
            peer.answer(ok(b"12345")[:-2])
            return
        if request.path.startswith("/bucket/a"):
            peer.answer(ok(b"12345"))


def test_each_get_of_a_lane_has_its_own_end() -> None:
    with serving(by_key) as server:
        client = client_of(server.port, seconds=1.0)
        with lane_of(client) as lane:
            for key in ("a1", "silent1", "b1", "a2", "silent2", "b2", "a3"):
                assert not lane.is_full
                lane.begin(key, 5, key)
            assert lane.busy == 7
            assert all_of(lane) == {
                **dict.fromkeys(("a1", "a2", "a3"), b"12345"),
                **dict.fromkeys(("silent1", "silent2"), 408),
                **dict.fromkeys(("b1", "b2"), None),
            }
            lane.begin("a4", 5, "a4")
            assert all_of(lane) == {"a4": b"12345"}
        del client, lane
    assert server.connections == 7


def test_content_that_keeps_coming_is_not_late() -> None:
    """The limit counts for each piece, not for the whole."""
    pause = threading.Event()

    def script(peer: Peer) -> None:
        while peer.request():
            for piece in (ok(b"12345")[:-5], b"1", b"2", b"3", b"4", b"5"):
                peer.answer(piece)
                pause.wait(0.3)

    with serving(script) as server:
        client = client_of(server.port, seconds=1.2)
        with lane_of(client) as lane:
            lane.begin("a", 5, "a")
            assert all_of(lane) == {"a": b"12345"}
        del client, lane


def test_a_lane_is_full_and_keeps_its_connections() -> None:
    with serving(answering(ok(b"12345"))) as server:
        client = client_of(server.port)
        with lane_of(client, 3) as lane:
            seen: list[str] = []
            for number in range(30):
                lane.begin(f"{number}", 5, f"{number}")
                while lane.is_full:
                    ended = lane.wait()
                    assert {content for _, content in ended} == {b"12345"}
                    seen += [token for token, _ in ended]
            seen += all_of(lane)
            assert lane.wait() == []
        del client, lane
    assert sorted(seen, key=int) == [str(number) for number in range(30)]
    assert server.connections <= 3


def test_an_endpoint_that_refuses_is_told_by_wait() -> None:
    with lane_of(client_of(free_port())) as lane:
        lane.begin("a", 5, "a")
        assert lane.is_full  # the next one would only find out the same
        assert lane.wait() == [("a", None)]
        assert (lane.busy, lane.is_full) == (0, False)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("ours"))


@pytest.mark.parametrize("tls", [False, True])
def test_large_content_arrives_byte_for_byte(tls: bool, authority: Authority) -> None:
    contents = {f"{size}": os.urandom(size) for size in (0, 1, 16 * 1024, 100_000, 256 * 1024)}

    def script(peer: Peer) -> None:
        while request := peer.request():
            with contextlib.suppress(ssl.SSLError):
                peer.answer(ok(contents[request.path.rpartition("/")[2]]))

    with serving(script, authority.tls if tls else None) as server:
        client = client_of(server.port, ca=authority.file if tls else None)
        with lane_of(client) as lane:
            for _ in range(2):
                for key in contents:
                    lane.begin(key, int(key), key)
                assert all_of(lane) == contents
        del client, lane
    assert server.connections == len(contents)
