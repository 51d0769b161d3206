"""The lean client against a server that does what a script says, on the wire."""

from __future__ import annotations

import contextlib
import hashlib
import os
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.s3.http.client import AnswerError, Reply
from core.s3.http.put import Put, PutClient, PutLane
from core.s3.http.sigv4 import Endpoint, Signer
from tests.support.certificates import Authority, make_authority
from tests.support.environment import free_port
from tests.support.servers.scripted_s3 import Keys, Peer, Script, answering, serving

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
SLOW_DOWN = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 8\r\n\r\n<Error/>"
MIB = 1024 * 1024


def client_of(
    port: int, *, seconds: float = 5.0, scheme: str = "http", ca: Path | None = None
) -> PutClient:
    endpoint = Endpoint(
        f"{scheme}://127.0.0.1:{port}/bucket", "ap-northeast-1", str(ca) if ca else None
    )
    return PutClient(endpoint, Signer(endpoint, Keys), seconds)


def put_of(key: str, data: bytes = b"data") -> Put:
    return Put(key, data, hashlib.sha256(data).hexdigest(), {"x-amz-storage-class": "DEEP_ARCHIVE"})


def status_of(reply: Reply | int | None) -> int | None:
    return reply.status if isinstance(reply, Reply) else reply


def all_of(lane: PutLane[str]) -> dict[str, int | None]:
    """Wait for everything that is under way; no token may come twice."""
    ended: list[tuple[str, int | None]] = []
    while lane.busy:
        ended += [(token, status_of(reply)) for token, reply in lane.wait()]
    assert len(dict(ended)) == len(ended)
    return dict(ended)


@contextlib.contextmanager
def lane_of(client: PutClient, connections: int = 8) -> Iterator[PutLane[str]]:
    lane: PutLane[str] = PutLane(client, connections)
    with contextlib.closing(lane):
        yield lane


def test_what_is_sent_is_a_conditional_put() -> None:
    with serving(answering(OK)) as server:
        client = client_of(server.port)
        assert client.put(put_of("営業部/a b.txt", b"12345")).status == 200
        with lane_of(client) as lane:
            lane.begin(put_of("営業部/a b.txt", b"12345"), "x")
            assert all_of(lane) == {"x": 200}
        del client, lane
    for request in server.requests:
        assert request.path == "/bucket/%E5%96%B6%E6%A5%AD%E9%83%A8/a%20b.txt"
        assert request.data == b"12345"
        assert request.headers["if-none-match"] == "*"
        assert request.headers["x-amz-storage-class"] == "DEEP_ARCHIVE"
    assert len(server.requests) == 2


def in_pieces(peer: Peer) -> None:
    while peer.request():
        for byte in OK:
            peer.answer(bytes([byte]))


def plain(text: str) -> Script:
    return answering(text.replace("\n", "\r\n").encode())


@pytest.mark.parametrize(
    ("script", "status", "connections"),
    [
        (answering(OK), 200, 1),
        (in_pieces, 200, 1),
        (plain("HTTP/1.1 200 OK\ncontent-length: 0\nServer: x\n\n"), 200, 1),
        (plain("HTTP/1.1 200 OK\nETag: x\nCONTENT-LENGTH: 0\n\n"), 200, 1),
        (plain("HTTP/1.1 200\nContent-Length: 0\n\n"), 200, 1),
        (plain("HTTP/1.1 200 OK\nContent-Length: 0\nConnection: close\n\n"), 200, 2),
        (plain("HTTP/1.1 200 OK\nconnection: Close\nContent-Length: 0\n\n"), 200, 2),
        (plain("HTTP/1.1 200 OK\n\n"), 200, 2),
        (plain("HTTP/1.1 412 Precondition Failed\nContent-Length: 0\n\n"), 412, 1),
        (plain("HTTP/1.1 412 Precondition Failed\nContent-Length: 5\n\n<XML>"), 412, 2),
        (answering(SLOW_DOWN), 503, 2),
        (plain("HTTP/1.1 403 Forbidden\nTransfer-Encoding: chunked\n\n0\n\n"), 403, 2),
    ],
    ids=lambda value: "" if callable(value) else str(value),
)
@pytest.mark.parametrize("way", ["client", "lane"])
def test_a_connection_is_kept_only_when_nothing_is_left_on_it(
    script: Script, status: int, connections: int, way: str
) -> None:
    with serving(script) as server:
        client = client_of(server.port)
        if way == "client":
            assert [client.put(put_of(key)).status for key in "ab"] == [status, status]
        else:
            with lane_of(client) as lane:
                for key in "ab":
                    lane.begin(put_of(key), key)
                    assert all_of(lane) == {key: status}
        del client
    assert server.connections == connections
    assert [request.path for request in server.requests] == ["/bucket/a", "/bucket/b"]


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"garbage\r\n\r\n",
        b"\x00" * 100 + b"\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X-Endless: 1\r\n" * 10_000,
    ],
    ids=lambda answer: repr(answer[:25]),
)
def test_what_is_no_answer_is_not_taken_for_one(answer: bytes) -> None:
    def script(peer: Peer) -> None:
        peer.request()
        peer.answer(answer)

    with serving(script) as server:
        client = client_of(server.port)
        with pytest.raises((AnswerError, ConnectionResetError)):
            client.put(put_of("a"))
        with lane_of(client) as lane:
            lane.begin(put_of("a"), "a")
            assert all_of(lane) == {"a": None}
        del client
    assert server.connections == 2


@pytest.mark.parametrize("way", ["client", "lane"])
def test_a_connection_that_was_closed_while_idle_costs_nothing(way: str) -> None:
    def script(peer: Peer) -> None:
        if peer.request():
            peer.answer(OK)

    with serving(script) as server:
        client = client_of(server.port)
        if way == "client":
            assert [client.put(put_of(key)).status for key in "abc"] == [200, 200, 200]
            assert server.connections == 3
        else:
            with lane_of(client) as lane:
                for key in "abc":
                    lane.begin(put_of(key), key)
                    # None: it was sent into a closed connection; the caller asks again.
                    assert all_of(lane)[key] in (200, None)
                lane.begin(put_of("d"), "d")
                assert len(all_of(lane)) == 1
        del client


def only_at_a(peer: Peer) -> None:
    """Answer keys that begin with ``a``, break at ``b``, and never answer the others."""
    while request := peer.request():
        if request.path.startswith("/bucket/b"):
            return
        if request.path.startswith("/bucket/a"):
            peer.answer(OK)


def test_nobody_who_answers_is_a_time_out() -> None:
    with serving(only_at_a) as server:
        client = client_of(server.port, seconds=0.5)
        with pytest.raises(TimeoutError):
            client.put(put_of("silent"))
        assert client.put(put_of("a")).status == 200
        with pytest.raises(TimeoutError):  # on the kept connection as well, and only once
            client.put(put_of("silent"))
        del client
    assert len(server.requests) == 3


def test_each_put_of_a_lane_has_its_own_end() -> None:
    with serving(only_at_a) as server:
        client = client_of(server.port, seconds=1.0)
        with lane_of(client) as lane:
            for key in ("a1", "silent1", "b1", "a2", "silent2", "b2", "a3"):
                assert not lane.is_full
                lane.begin(put_of(key), key)
            assert lane.busy == 7
            assert all_of(lane) == {
                **dict.fromkeys(("a1", "a2", "a3"), 200),
                **dict.fromkeys(("silent1", "silent2"), 408),
                **dict.fromkeys(("b1", "b2"), None),
            }
            lane.begin(put_of("a4"), "a4")
            assert all_of(lane) == {"a4": 200}
        del client
    assert server.connections == 7


def test_a_lane_is_full_and_keeps_its_connections() -> None:
    with serving(answering(OK)) as server:
        client = client_of(server.port)
        with lane_of(client, 3) as lane:
            seen: list[str] = []
            for number in range(30):
                lane.begin(put_of(f"{number}"), f"{number}")
                while lane.is_full:
                    ended = lane.wait()
                    assert ended
                    assert {status_of(reply) for _, reply in ended} == {200}
                    seen += [token for token, _ in ended]
            seen += all_of(lane)
            assert lane.wait() == []
        del client
    assert sorted(seen, key=int) == [str(number) for number in range(30)]
    assert server.connections <= 3


def test_close_lets_go_of_every_connection() -> None:
    with serving(only_at_a) as server:
        client = client_of(server.port)
        with lane_of(client) as lane:
            for key in ("a", "silent1", "silent2"):
                lane.begin(put_of(key), key)
            assert [(token, status_of(reply)) for token, reply in lane.wait()] == [("a", 200)]
        assert client.put(put_of("a")).status == 200
        del client, lane
        server.join()  # every script has seen the end of its connection
    assert server.connections == 4


def test_an_endpoint_that_refuses_is_told_by_wait() -> None:
    client = client_of(free_port())
    with pytest.raises(ConnectionRefusedError):
        client.put(put_of("a"))
    with lane_of(client) as lane:
        lane.begin(put_of("a"), "a")
        assert lane.is_full  # the next one would only find out the same
        assert lane.wait() == [("a", None)]
        assert (lane.busy, lane.is_full) == (0, False)


def test_credentials_that_fail_begin_nothing() -> None:
    class ExpiredError(Exception):
        pass

    def expired() -> Keys:
        raise ExpiredError

    endpoint = Endpoint(f"http://127.0.0.1:{free_port()}/b", "ap-northeast-1")
    client = PutClient(endpoint, Signer(endpoint, expired), 1.0)
    with lane_of(client) as lane:
        with pytest.raises(ExpiredError):
            lane.begin(put_of("a"), "a")
        assert (lane.busy, lane.wait()) == (0, [])


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("ours"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("strange"))


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("way", ["client", "lane"])
def test_more_than_the_network_takes_arrives_byte_for_byte(
    scheme: str, way: str, authority: Authority
) -> None:
    sizes = [0, 1, 15_000, 16 * 1024, 17_000, 6 * MIB + 1]
    begun = threading.Event()

    def slow(peer: Peer) -> None:
        assert begun.wait(10)
        while peer.request(read=16 * 1024):
            peer.answer(OK)

    with serving(slow, authority.tls if scheme == "https" else None) as server:
        client = client_of(server.port, scheme=scheme, ca=authority.file)
        puts = {f"{size}": put_of(f"{size}", os.urandom(size)) for size in sizes}
        if way == "client":
            begun.set()
            assert {client.put(put).status for put in puts.values()} == {200}
        else:
            with lane_of(client) as lane:
                for key, put in puts.items():
                    lane.begin(put, key)
                begun.set()  # by now the largest one waits for room
                assert all_of(lane) == dict.fromkeys(puts, 200)
                lane.begin(puts["1"], "again")
                assert all_of(lane) == {"again": 200}
        del client
    for request in server.requests:
        assert request.data == puts[request.path.rpartition("/")[2]].data
    assert len(server.requests) == len(sizes) + (way == "lane")
    assert server.connections == (1 if way == "client" else len(sizes))


@pytest.mark.parametrize("wrong", ["authority", "address", "nobody's"])
def test_nothing_is_sent_to_a_server_that_cannot_prove_who_it_is(
    authority: Authority, stranger: Authority, wrong: str
) -> None:
    tls = {"authority": stranger.tls, "address": authority.elsewhere, "nobody's": authority.tls}
    with serving(answering(OK), tls[wrong]) as server:
        client = client_of(
            server.port, scheme="https", ca=None if wrong == "nobody's" else authority.file
        )
        with pytest.raises(ssl.SSLCertVerificationError):
            client.put(put_of("a"))
        with lane_of(client) as lane:
            lane.begin(put_of("a"), "a")
            assert all_of(lane) == {"a": None}
        del client
    assert server.connections == 2
    assert server.requests == []


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_server_that_answers_before_it_has_read_is_understood(
    scheme: str, authority: Authority
) -> None:
    """S3 refuses some requests by their headers alone and hangs up."""

    def hasty(peer: Peer) -> None:
        peer.connection.recv(1024)
        peer.answer(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    with serving(hasty, authority.tls if scheme == "https" else None) as server:
        client = client_of(server.port, scheme=scheme, ca=authority.file)
        with lane_of(client) as lane:
            for key in ("a", "b"):
                lane.begin(put_of(key, b"x" * 6 * MIB), key)
                # The reset may overtake the answer: then nothing is known.
                assert all_of(lane)[key] in (403, None)
        with contextlib.suppress(OSError, AnswerError):
            assert client.put(put_of("c", b"x" * 6 * MIB)).status == 403
        assert not client._idle
        del client
