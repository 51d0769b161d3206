"""The filter before Streamlit's WebSocket, with something in Streamlit's place that keeps what it
is given."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send
from streamlit.proto.BackMsg_pb2 import BackMsg

from core.auth.accounts import Role
from core.config.limits import Limits
from pages.auth import session
from pages.traffic.messages import MAX_BYTES
from pages.traffic.websocket import Traffic, WebSocketFilter

SCOPE: Scope = {"type": "websocket", "path": "/_stcore/stream", "headers": [], "client": None}
GONE: Message = {"type": "websocket.disconnect", "code": 1001}


def framed(message: BackMsg) -> Message:
    return {"type": "websocket.receive", "bytes": message.SerializeToString()}


def one_of_each() -> list[BackMsg]:
    found = []
    for field in BackMsg.DESCRIPTOR.oneofs_by_name["type"].fields:
        message = BackMsg()
        if field.message_type is None:
            setattr(message, field.name, True)
        else:
            getattr(message, field.name).SetInParent()
        found.append(message)
    return found


def test_every_role_has_a_longest_message() -> None:
    assert list(MAX_BYTES) == list(Role)


class Line:
    """A connection: what is put into it comes, what is sent is kept."""

    def __init__(self, traffic: Traffic | None = None) -> None:
        self.coming: asyncio.Queue[Message] = asyncio.Queue()
        self.sent: list[Message] = []
        self.passed: list[str] = []
        self.reads = asyncio.Event()
        self.reads.set()
        self._filter = WebSocketFilter(self._streamlit, traffic or Traffic(Limits()))

    async def open(self) -> None:
        await self._filter(SCOPE, self.coming.get, self._send)

    async def _send(self, message: Message) -> None:
        self.sent.append(message)
        await self.reads.wait()

    async def _streamlit(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Take what comes and answer each message with one."""
        answers: list[asyncio.Future[None]] = []
        while (message := await receive())["type"] != "websocket.disconnect":
            read = BackMsg.FromString(message["bytes"])
            self.passed.append(str(read.WhichOneof("type")))
            answer = send({"type": "websocket.send", "bytes": b""})
            answers.append(asyncio.ensure_future(answer))
            await asyncio.sleep(0)
        self.passed.append("gone")
        await asyncio.gather(*answers)


def passed(messages: Sequence[Message], traffic: Traffic | None = None) -> Line:
    async def run() -> Line:
        line = Line(traffic)
        for message in [*messages, GONE]:
            line.coming.put_nowait(message)
        await asyncio.wait_for(line.open(), 60)
        return line

    return asyncio.run(run())


@pytest.mark.parametrize("role", list(Role))
def test_what_pages_need_passes_by_role(role: Role, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "role_of_request", lambda _request: role)
    found = passed([framed(message) for message in one_of_each()])
    everybody = {"rerun_script", "stop_script", "gone"}
    uploads = {"file_urls_request"} if role >= Role.OPERATOR else set()
    assert set(found.passed) == everybody | uploads
    assert found.sent == [{"type": "websocket.send", "bytes": b""}] * (len(found.passed) - 1)


def test_a_flood_is_closed_before_streamlit_has_seen_much_of_it() -> None:
    message = BackMsg()
    message.rerun_script.SetInParent()
    found = passed([framed(message)] * 10_000)
    assert len(found.passed) < 20
    assert found.sent[-1]["type"] == "websocket.close"
    assert found.sent[-1]["code"] == 1008


def test_nothing_is_made_for_whoever_does_not_read() -> None:
    """What is sent to him would have to be kept."""

    async def run() -> tuple[list[str], list[str]]:
        line = Line()
        message = BackMsg()
        message.rerun_script.SetInParent()
        opened = asyncio.create_task(line.open())
        line.reads.clear()
        line.coming.put_nowait(framed(message))
        while not line.sent:
            await asyncio.sleep(0)
        for _ in range(5):
            line.coming.put_nowait(framed(message))
        for _ in range(100):
            await asyncio.sleep(0)
        meanwhile = list(line.passed)
        line.reads.set()
        line.coming.put_nowait(GONE)
        await asyncio.wait_for(opened, 60)
        return meanwhile, line.passed

    meanwhile, after = asyncio.run(run())
    assert meanwhile == ["rerun_script"]
    assert after == ["rerun_script"] * 6 + ["gone"]


def test_an_address_is_held_to_its_own_rate() -> None:
    clock = iter([0.0] * 1_000_000)
    traffic = Traffic(
        Limits(messages_per_second=1000, messages_per_second_per_address=1), clock.__next__
    )
    message = BackMsg()
    message.rerun_script.SetInParent()
    traffic.addresses.of("").messages.spend(20, 0.0, 10)
    found = passed([framed(message)] * 8, traffic)
    assert found.sent[-1]["code"] == 1008
    assert "address" in found.sent[-1]["reason"]


def test_pages_are_counted_while_they_are_open() -> None:
    async def run() -> list[Any]:
        traffic = Traffic(Limits(pages=2, pages_per_address=2))
        lines = [Line(traffic) for _ in range(3)]
        tasks = [asyncio.create_task(line.open()) for line in lines]
        await asyncio.wait_for(tasks[2], 60)
        refused = lines[2].sent
        for line in lines[:2]:
            line.coming.put_nowait(GONE)
        await asyncio.wait_for(asyncio.gather(*tasks), 60)
        again = Line(traffic)
        again.coming.put_nowait(GONE)
        await asyncio.wait_for(again.open(), 60)
        return [refused, again.passed, traffic.streams]

    refused, passed_later, left = asyncio.run(run())
    assert refused == [{"type": "websocket.close", "code": 1013}]
    assert passed_later == ["gone"]
    assert left == 0
