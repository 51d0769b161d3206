"""The filter before Streamlit's WebSocket: what pages need passes, at the rate that people click.

Streamlit's handlers run on the event loop, one message after the other, whoever sends them: what
they do not see costs nobody anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections import deque
from collections.abc import Callable

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit.runtime import Runtime

from core.auth.accounts import Role
from core.config.limits import Limits
from core.errors import HimuroError
from pages.auth import session
from pages.traffic import messages
from pages.traffic.bounds import bounds
from pages.traffic.buckets import Address, Addresses, Bucket
from pages.traffic.messages import LONGEST, MAX_BYTES, NEEDED, NotAllowed

BUSY = "ただいま混み合っています。しばらくしてからもう一度開いてください。"
POLICY, TOO_BIG, BINARY_ONLY, TRY_LATER = 1008, 1009, 1003, 1013
"""Codes with which a WebSocket is closed (RFC 6455, and IANA for the last one)."""
LONGER = "himuro.longer_messages"
"""Extension of the server: a function that is given the most bytes of a message."""
_AT_ONCE = 10
"""Seconds of the rate that may come at once."""
_PATIENCE = 5.0
"""Seconds that a message, or an opened page, waits for its turn at most."""
_ARRIVALS, _ARRIVALS_AT_ONCE = 5.0, 100.0
"""WebSockets that an address may open, a second and at once."""
_OFFENCE, _MAX_DEBT = 4.0, 5.0
"""What it costs an address, in opened WebSockets, when one had to be closed, and how many it may
owe: whoever floods and comes again at once is let in once a second, and others of his address
wait for a second longer."""
_LOG_SECONDS = 60.0

_logger = logging.getLogger(__name__)


class Traffic:
    """What is remembered of all WebSockets."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits
        self.clock = clock
        self.streams = 0
        """WebSockets that are open."""
        self.addresses = Addresses(self._address)

    def _address(self) -> Address:
        now, rate = self.clock(), self.limits.messages_per_second_per_address
        return Address(
            Bucket(_ARRIVALS, _ARRIVALS_AT_ONCE, now), Bucket(rate, rate * _AT_ONCE, now)
        )

    def is_full(self, address: Address) -> bool:
        return self.streams >= self.limits.pages or address.streams >= self.limits.pages_per_address

    def refused(self, client: str, address: Address, why: str) -> None:
        """Tell the log, once a minute for an address however much comes from it."""
        address.refused += 1
        now = self.clock()
        if now - address.told >= _LOG_SECONDS:
            _logger.warning("WebSocket of %s refused: %s (%d times)", client, why, address.refused)
            address.refused, address.told = 0, now


class WebSocketFilter:
    """ASGI middleware; everything but WebSockets passes."""

    def __init__(self, app: ASGIApp, traffic: Traffic | None = None) -> None:
        self._app = app
        self._traffic = traffic or Traffic(bounds())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            await self._app(scope, receive, send)
            return
        traffic = self._traffic
        client = scope["client"][0] if scope.get("client") else ""
        address = traffic.addresses.of(client)
        wait = address.arrivals.reserve(traffic.clock(), _PATIENCE)
        if traffic.is_full(address) or wait == math.inf:
            traffic.refused(client, address, "too many")
            await _refuse(scope, receive, send)
            return
        traffic.streams += 1
        address.streams += 1
        try:
            await asyncio.sleep(wait)
            stream = _Stream(traffic, address, scope, receive, send)
            await stream.allow()
            pump = asyncio.create_task(stream.pump())
            try:
                await self._app(scope, stream.receive, stream.send)
            finally:
                pump.cancel()
        finally:
            traffic.streams -= 1
            address.streams -= 1


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer the handshake with a sentence and 503, where the server can."""
    if "websocket.http.response" in scope.get("extensions", {}):
        headers = {"Cache-Control": "no-store", "Retry-After": "5"}
        await PlainTextResponse(BUSY, 503, headers)(scope, receive, send)
    else:
        await send({"type": "websocket.close", "code": TRY_LATER})


class _Stream:
    """One WebSocket, between the server and Streamlit.

    What comes is taken in at once and counted; what Streamlit gets of it waits for its turn. A
    flood is seen, and its connection closed, before much of it was looked at by anybody.
    """

    def __init__(
        self, traffic: Traffic, address: Address, scope: Scope, receive: Receive, send: Send
    ) -> None:
        self._traffic = traffic
        self._address = address
        self._scope = scope
        self._receive = receive
        self._send = send
        rate, now = traffic.limits.messages_per_second, traffic.clock()
        self._coming = Bucket(rate, rate * _AT_ONCE, now)
        self._going = Bucket(rate, rate, now)
        self._waiting: deque[Message] = deque()
        """Not more messages than may come at once, and not many more bytes than one may have."""
        self._bytes = 0
        """Of those that wait."""
        self._changed = asyncio.Event()
        """Set when a message waits, or one less."""
        self._ended = False
        self._session_id = ""
        self._read = asyncio.Event()
        """Unset while the browser does not read what is sent to it."""
        self._read.set()

    async def allow(self) -> None:
        """Have the server take the longer messages of those who may send them: it holds as much
        of a message that never ends."""
        longer = self._scope.get("extensions", {}).get(LONGER)
        if longer is not None and Request(self._http()).cookies:
            longer(MAX_BYTES[await run_in_threadpool(self._role)])

    async def pump(self) -> None:
        """Take in what comes, until the browser has gone or has to go."""
        try:
            while not self._is_over():
                await self._take(await self._receive())
        finally:
            if not self._is_over():  # the server failed; nobody waits for what does not come
                self._put({"type": "websocket.disconnect", "code": 1011})

    def _is_over(self) -> bool:
        return bool(self._waiting) and self._waiting[-1]["type"] == "websocket.disconnect"

    async def _take(self, message: Message) -> None:
        try:
            if message["type"] == "websocket.receive" and not self._is_needed(message):
                return
        except _End as end:
            message = await self._closed(end)
        self._put(message)
        while self._bytes > MAX_BYTES[Role.ANYONE]:
            self._changed.clear()
            await self._changed.wait()
        await self._read.wait()

    def _put(self, message: Message) -> None:
        self._waiting.append(message)
        self._bytes += len(message.get("bytes") or b"")
        self._changed.set()

    async def receive(self) -> Message:
        """Return the next message that may pass; at the end, that the browser has gone."""
        while True:
            while not self._waiting or not self._read.is_set():
                if self._waiting:
                    # Whoever does not read gets nothing made that would have to be kept for him.
                    await self._read.wait()
                else:
                    self._changed.clear()
                    await self._changed.wait()
            message = self._waiting.popleft()
            self._bytes -= len(message.get("bytes") or b"")
            self._changed.set()
            if message["type"] != "websocket.receive":
                return message
            try:
                if await self._passes(message):
                    return message
            except _End as end:
                return await self._closed(end)

    async def send(self, message: Message) -> None:
        """Send a message of Streamlit, without what it says about this machine."""
        if self._ended:
            return
        if message["type"] == "websocket.close":
            self._ended = True
        elif data := message.get("bytes"):
            told = messages.outgoing(data)
            if not told.data:
                return
            self._session_id = told.session_id or self._session_id
            message = {**message, "bytes": told.data}
        self._read.clear()
        try:
            await self._send(message)
        except OSError:
            # The browser has gone, which Streamlit is told as a message. Told as an error, it
            # writes a page to the log.
            self._ended = True
        finally:
            self._read.set()

    def _is_needed(self, message: Message) -> bool:
        """Return whether any page needs such a message; raises ``_End`` when none sends it."""
        if not self._coming.take(self._traffic.clock()):
            raise _End(POLICY, "too many messages")
        data = message.get("bytes")
        if data is None:
            raise _End(BINARY_ONLY, "text instead of a message")
        if len(data) > LONGEST:
            raise _End(TOO_BIG, "message too big")
        try:
            kind = messages.kind_of(data)
            if kind in NEEDED:
                messages.check(kind, data)
        except NotAllowed as exc:
            raise _End(POLICY, str(exc)) from exc
        return kind in NEEDED

    async def _passes(self, message: Message) -> bool:
        """Return whether Streamlit gets a message, when its turn has come."""
        data = message["bytes"]
        is_long = len(data) > MAX_BYTES[Role.ANYONE]
        needed = Role.OPERATOR if is_long else NEEDED[messages.kind_of(data)]
        if needed > Role.ANYONE and await run_in_threadpool(self._role) < needed:
            if is_long:
                raise _End(TOO_BIG, "message too big")
            return False
        now = self._traffic.clock()
        wait = self._address.messages.reserve(now, _PATIENCE)
        if wait == math.inf:
            raise _End(POLICY, "too many messages from this address")
        wait = max(wait, self._going.reserve(now, math.inf))
        if wait > 0:
            await asyncio.sleep(wait)
        return not self._ended

    def _role(self) -> Role:
        """Return who opened this WebSocket, as the pages see it."""
        try:
            return session.role_of_request(Request(self._http()))
        except HimuroError:
            return Role.ANYONE

    def _http(self) -> Scope:
        return {**self._scope, "type": "http", "method": "GET"}

    async def _closed(self, end: _End) -> Message:
        """Close the WebSocket; return what Streamlit is told."""
        client = self._scope["client"][0] if self._scope.get("client") else ""
        self._traffic.refused(client, self._address, str(end))
        self._address.arrivals.spend(_OFFENCE, self._traffic.clock(), _MAX_DEBT)
        self._waiting.clear()
        self._bytes = 0
        if not self._ended:
            self._ended = True
            if self._session_id and Runtime.exists():
                # Sessions are kept for a while, in case the browser comes back: not this one.
                Runtime.instance().mark_session_nonresumable(self._session_id)
            with contextlib.suppress(OSError, RuntimeError):
                await self._send({"type": "websocket.close", "code": end.code, "reason": str(end)})
        return {"type": "websocket.disconnect", "code": end.code}


class _End(Exception):
    """The connection is to be closed; the text says why."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code
