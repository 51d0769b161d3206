"""People at the archive list, all played by this one process.

Each has a WebSocket of his own and speaks as Streamlit's front end does: what he types goes out
as a ``BackMsg``, and his result stands when the run of the script is told to be over. He starts
from the address ``/``; the static files of the page are not fetched again.

``python -m tests.bench.console.crowd`` prints what it saw as one line of JSON, see ``Phase``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from urllib.parse import urlencode, urlsplit

import psutil
from streamlit.proto.Alert_pb2 import Alert
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ClientState_pb2 import ClientState, ContextInfo
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState, WidgetStates
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Origin, Subprotocol

FIELD = "-q"
"""How the id of the search field ends: its key."""
_PATIENCE = 120
"""Seconds after which a search counts as failed."""
_OPENING = 10
"""People who open the page at the same time, so that all come in one after the other."""


@dataclass(slots=True)
class Phase:
    """What some of the people did for a while, and what it cost."""

    people: int
    pause: tuple[float, float]
    """Least and most seconds between a result and the next search."""
    seconds: float = 0
    """Until the last one had his result."""
    taken: list[float] = field(default_factory=list)
    """Seconds of each search, from the message to the end of the run."""
    failed: list[str] = field(default_factory=list)
    """What went wrong, for each search without a result."""
    console_cpu: float = 0
    database_cpu: float = 0
    """Processor seconds of all its processes."""
    memory: int = 0
    """Resident bytes of the console at the end."""


class _Failed(Exception):
    """A search without a result."""


class _Person:
    """One open page."""

    def __init__(self, stream: ClientConnection, url: str) -> None:
        self._stream = stream
        self._context = ContextInfo(
            timezone="Asia/Tokyo", timezone_offset=-540, locale="ja-JP", url=url
        )
        self._field = ""
        self._page = ""
        self._kept: list[str] = []

    async def open(self) -> None:
        await self._run(ClientState())
        if not self._field:
            raise _Failed("no search field on the page")

    async def search(self, words: str) -> None:
        state = ClientState(
            query_string=urlencode({"q": words}),
            widget_states=WidgetStates(widgets=[WidgetState(id=self._field, string_value=words)]),
            page_script_hash=self._page,
            cached_message_hashes=self._kept,
        )
        await self._run(state)

    async def _run(self, state: ClientState) -> None:
        """Have the script run once; raises ``_Failed`` unless hits, or a word that there are
        none, have come when it ends."""
        state.context_info.CopyFrom(self._context)
        await self._stream.send(BackMsg(rerun_script=state).SerializeToString())
        self._kept, answered, trouble = [], False, ""
        while True:
            message = ForwardMsg.FromString(await self._received())
            kind = message.WhichOneof("type")
            if message.metadata.cacheable:
                self._kept.append(message.hash)
            if kind == "new_session":
                self._page = message.new_session.page_script_hash
            elif kind == "ref_hash":
                answered = True  # a table that this browser has already
            elif kind == "delta":
                element = message.delta.new_element
                shown = element.WhichOneof("type")
                answered |= shown in ("dataframe", "arrow_data_frame", "alert")
                if shown == "exception" or element.alert.format == Alert.ERROR:
                    trouble = element.exception.message or element.alert.body
                if shown == "text_input" and element.text_input.id.endswith(FIELD):
                    self._field = element.text_input.id
            elif kind == "script_finished":
                break
        if trouble or not answered:
            raise _Failed(trouble or "neither a table nor a word")

    async def _received(self) -> bytes:
        data = await self._stream.recv(decode=False)
        assert isinstance(data, bytes)
        return data


async def _attend(
    url: str,
    texts: Sequence[str],
    phases: Sequence[Phase],
    console: int,
    database: int,
    *,
    apart: bool,
) -> None:
    """Let everybody open the page, then fill in one phase after the other.

    ``apart``: each comes from an address of his own, as a proxy on this machine would say.
    """
    there = urlsplit(url)
    crowd: list[_Person] = []
    async with AsyncExitStack() as stack:
        turn = asyncio.Semaphore(_OPENING)

        async def arrive(number: int) -> None:
            named = {"X-Forwarded-For": f"198.18.{number // 250}.{number % 250 + 1}"}
            async with turn:
                stream = await stack.enter_async_context(
                    connect(
                        f"ws://{there.netloc}/_stcore/stream",
                        origin=Origin(url),
                        subprotocols=[Subprotocol("streamlit")],
                        compression=None,
                        max_size=None,
                        proxy=None,
                        ping_interval=None,  # browsers answer pings and send none
                        additional_headers=named if apart else None,
                    )
                )
                person = _Person(stream, url)
                await asyncio.wait_for(person.open(), _PATIENCE)
                crowd.append(person)

        await asyncio.gather(*map(arrive, range(max(p.people for p in phases))))
        for phase in phases:
            await _spend(phase, crowd[: phase.people], texts, console, database)


async def _spend(
    phase: Phase, crowd: Sequence[_Person], texts: Sequence[str], console: int, database: int
) -> None:
    """Let these people search until the time of the phase is over."""
    begin = time.perf_counter()
    end = begin + phase.seconds
    before = cpu_seconds(console), cpu_seconds(database)

    async def work(person: _Person, dice: random.Random) -> None:
        # People do not begin in the same instant, unless they never think.
        await asyncio.sleep(dice.uniform(0, phase.pause[1]))
        while (start := time.perf_counter()) < end:
            try:
                await asyncio.wait_for(person.search(dice.choice(texts)), _PATIENCE)
            except (_Failed, TimeoutError) as exc:
                phase.failed.append(str(exc) or "no result in time")
            except ConnectionClosed as exc:
                phase.failed.append(f"the console hung up: {exc}")
                return
            else:
                phase.taken.append(time.perf_counter() - start)
            await asyncio.sleep(dice.uniform(*phase.pause))

    await asyncio.gather(*(work(p, random.Random(n)) for n, p in enumerate(crowd)))
    phase.seconds = time.perf_counter() - begin
    phase.console_cpu = cpu_seconds(console) - before[0]
    phase.database_cpu = cpu_seconds(database) - before[1]
    phase.memory = psutil.Process(console).memory_info().rss


def cpu_seconds(pid: int) -> float:
    """Return the processor time of a process, of its children, and of those that have ended."""
    process = psutil.Process(pid)
    total = 0.0
    for one in (process, *process.children(recursive=True)):
        try:
            times = one.cpu_times()
        except psutil.NoSuchProcess:
            continue  # its time is in its parent's already
        total += times.user + times.system + times.children_user + times.children_system
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("console", type=int, help="process ID, for what it costs")
    parser.add_argument("database", type=int, help="process ID")
    parser.add_argument("phases", help="JSON: a list of [people, seconds, least, most pause]")
    parser.add_argument("texts", help="JSON: a list of what they type")
    parser.add_argument("--apart", action="store_true", help="each from an address of his own")
    given = parser.parse_args()
    phases = [
        Phase(people, (least, most), seconds)
        for people, seconds, least, most in json.loads(given.phases)
    ]
    asyncio.run(
        _attend(
            given.url,
            json.loads(given.texts),
            phases,
            given.console,
            given.database,
            apart=given.apart,
        )
    )
    print(json.dumps([asdict(phase) for phase in phases]))


if __name__ == "__main__":
    main()
