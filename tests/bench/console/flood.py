"""Somebody who wants the console to stop, played by this one process.

Three floods at once: a WebSocket with 10,000 messages a second that is opened again as soon as it
is closed, a thousand connections that never say anything, and a hundred WebSockets with a message
that never ends. What is closed is opened again. Prints a line when all of it is under way, and at
SIGTERM what it did, as one line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import struct
from collections import Counter
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from streamlit.proto.BackMsg_pb2 import BackMsg
from websockets.frames import Frame, Opcode

PER_SECOND, AT_ONCE = 10_000, 100
IDLE, UNFINISHED = 1_000, 100
UNFINISHED_BYTES = 60_000
"""Sent of each message, one less than it is said to have; strangers may send 65,536."""
READY = "under way"
_ERRORS = (OSError, EOFError, asyncio.IncompleteReadError)


@dataclass(slots=True)
class _Flood:
    host: str
    port: int
    done: Counter[str] = field(default_factory=Counter)

    async def dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self.host, self.port)

    async def page(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open the WebSocket of a page; raises ``EOFError`` when it is refused."""
        reader, writer = await self.dial()
        writer.write(
            f"GET /_stcore/stream HTTP/1.1\r\nHost: {self.host}:{self.port}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        )
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101 "):
            self.done["pages refused"] += 1
            writer.close()
            raise EOFError
        self.done["pages opened"] += 1
        return reader, writer

    async def messages(self) -> None:
        """Ask for the page again and again, the shortest message there is."""
        message = BackMsg()
        message.rerun_script.SetInParent()
        data = Frame(Opcode.BINARY, message.SerializeToString())
        block = data.serialize(mask=True, extensions=[]) * AT_ONCE
        while True:
            with contextlib.suppress(*_ERRORS):
                reader, writer = await self.page()
                reading = asyncio.create_task(_closed(reader))
                while not reading.done() and not writer.is_closing():
                    writer.write(block)
                    self.done["messages"] += AT_ONCE
                    await writer.drain()
                    await asyncio.sleep(AT_ONCE / PER_SECOND)
                writer.close()
                self.done["floods closed"] += 1
            await asyncio.sleep(0)

    async def idle(self) -> None:
        while True:
            with contextlib.suppress(*_ERRORS):
                reader, writer = await self.dial()
                self.done["idle connections"] += 1
                await reader.read(-1)
                writer.close()
            await asyncio.sleep(0.2)

    async def unfinished(self) -> None:
        head = struct.pack("!BBQ", 0x80 | Opcode.BINARY, 0x80 | 127, UNFINISHED_BYTES + 1)
        while True:
            with contextlib.suppress(*_ERRORS):
                reader, writer = await self.page()
                writer.write(head + b"mask" + bytes(UNFINISHED_BYTES))
                await writer.drain()
                self.done["unfinished messages"] += 1
                await reader.read(-1)
                writer.close()
            await asyncio.sleep(0.2)


async def _closed(reader: asyncio.StreamReader) -> None:
    """Return when nothing more comes, however that is said."""
    with contextlib.suppress(*_ERRORS):
        await reader.read(-1)


async def _run(url: str) -> dict[str, int]:
    there = urlsplit(url)
    flood = _Flood(there.hostname or "", there.port or 0)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    kinds = [flood.idle] * IDLE + [flood.unfinished] * UNFINISHED + [flood.messages]
    tasks = [asyncio.create_task(kind()) for kind in kinds]
    while flood.done["messages"] == 0 or flood.done["idle connections"] < IDLE:
        await asyncio.sleep(0.1)
    print(READY, flush=True)
    await ended.wait()
    for task in tasks:
        task.cancel()
    return dict(flood.done)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    print(json.dumps(asyncio.run(_run(parser.parse_args().url))))


if __name__ == "__main__":
    main()
