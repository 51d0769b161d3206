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
from collections.abc import Callable

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.accounts import Role
from core.errors import HimuroError
from core.limits import Limits
from pages.common import session
from pages.traffic import messages
from pages.traffic.bounds import bounds
from pages.traffic.buckets import Address, Addresses, Bucket
from pages.traffic.messages import LONGEST, MOST_BYTES, NEEDED, NotAllowed

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
_OFFENCE, _MOST_DEBT = 4.0, 5.0
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
            await self._app(scope, stream.receive, stream.send)
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
    """One WebSocket, between the server and Streamlit."""

    def __init__(
        self, traffic: Traffic, address: Address, scope: Scope, receive: Receive, send: Send
    ) -> None:
        self._traffic = traffic
        self._address = address
        self._scope = scope
        self._receive = receive
        self._send = send
        rate = traffic.limits.messages_per_second
        self._bucket = Bucket(rate, rate * _AT_ONCE, traffic.clock())
        self._ended = False
        self._read = asyncio.Event()
        """Unset while the browser does not read what is sent to it."""
        self._read.set()

    async def allow(self) -> None:
        """Have the server take the longer messages of those who may send them: it holds as much
        of a message that never ends."""
        longer = self._scope.get("extensions", {}).get(LONGER)
        if longer is not None and Request(self._http()).cookies:
            longer(MOST_BYTES[await run_in_threadpool(self._role)])

    async def receive(self) -> Message:
        """Return the next message that may pass; at the end, that the browser has gone."""
        while True:
            # Whoever does not read gets nothing made that would have to be kept for him.
            await self._read.wait()
            message = await self._receive()
            if message["type"] != "websocket.receive":
                return message
            try:
                if await self._passes(message):
                    return message
            except _End as end:
                await self._close(end.code, str(end))
                return {"type": "websocket.disconnect", "code": end.code}

    async def send(self, message: Message) -> None:
        """Send a message of Streamlit, without what it says about this machine."""
        if self._ended:
            return
        if message["type"] == "websocket.close":
            self._ended = True
        elif data := message.get("bytes"):
            told = messages.outgoing(data)
            if told is None:
                return
            message = {**message, "bytes": told}
        self._read.clear()
        try:
            await self._send(message)
        finally:
            self._read.set()

    async def _passes(self, message: Message) -> bool:
        """Return whether Streamlit gets a message, when its turn has come.

        Cheap questions come first. Raises ``_End`` when the connection is to be closed.
        """
        if not self._bucket.take(self._traffic.clock()):
            raise _End(POLICY, "too many messages")
        data = message.get("bytes")
        if data is None:
            raise _End(BINARY_ONLY, "text instead of a message")
        if len(data) > LONGEST:
            raise _End(TOO_BIG, "message too big")
        try:
            kind = messages.kind_of(data)
            if kind not in NEEDED:
                return False
            needed = NEEDED[kind]
            if len(data) > MOST_BYTES[Role.ANYONE]:
                needed = max(needed, Role.OPERATOR)
            if needed > Role.ANYONE and await run_in_threadpool(self._role) < needed:
                if len(data) > MOST_BYTES[Role.ANYONE]:
                    raise _End(TOO_BIG, "message too big")
                return False
            messages.check(kind, data)
        except NotAllowed as exc:
            raise _End(POLICY, str(exc)) from exc
        await self._turn()
        return True

    async def _turn(self) -> None:
        """Wait until the address has a token."""
        wait = self._address.messages.reserve(self._traffic.clock(), _PATIENCE)
        if wait == math.inf:
            raise _End(POLICY, "too many messages from this address")
        if wait > 0:
            await asyncio.sleep(wait)

    def _role(self) -> Role:
        """Return who opened this WebSocket, as the pages see it."""
        try:
            return session.role_of_request(Request(self._http()))
        except HimuroError:
            return Role.ANYONE

    def _http(self) -> Scope:
        return {**self._scope, "type": "http", "method": "GET"}

    async def _close(self, code: int, why: str) -> None:
        client = self._scope["client"][0] if self._scope.get("client") else ""
        self._traffic.refused(client, self._address, why)
        self._address.arrivals.spend(_OFFENCE, self._traffic.clock(), _MOST_DEBT)
        if self._ended:
            return
        self._ended = True
        with contextlib.suppress(OSError, RuntimeError):
            await self._send({"type": "websocket.close", "code": code, "reason": why})


class _End(Exception):
    """The connection is to be closed; the text says why."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code
