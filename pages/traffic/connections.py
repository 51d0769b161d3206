"""Which connections are kept: at most so many, none that stays silent, none that floods.

uvicorn accepts whatever comes and waits for ever for a first request. The classes here are its
own with these bounds; it takes protocol classes as a setting, which ``streamlit run`` cannot
set, so it is told when it starts the application.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from core.auth.accounts import Role
from core.auth.waiting_line import networks
from core.config.limits import BACKLOG, Limits
from pages.traffic.bounds import bounds
from pages.traffic.buckets import Bucket
from pages.traffic.messages import MAX_BYTES
from pages.traffic.websocket import BINARY_ONLY, BUSY, LONGER, POLICY, TOO_BIG

REQUEST_SECONDS = 20.0
"""For the head of a request, from the first moment or from the answer before."""
BODY_SECONDS = 300.0
"""For the body of a request; 25 MB over a slow line."""
STUCK_SECONDS = 60.0
"""For which a browser may read nothing of what is sent to it."""
_LOOK_SECONDS = 5.0
_LINGER_SECONDS = 1.0
"""For which a connection that was closed stays open unread, so that the reason arrives."""
_READ_BYTES = 8192
"""Of a WebSocket at one time: some hundred of the smallest messages, a few milliseconds."""
_FRAMES, _FRAMES_AT_ONCE = 2.0, 64.0
"""Frames that are no whole message: pings, pongs, pieces. Browsers answer a ping in 30 s."""
_OURS = (POLICY, TOO_BIG, BINARY_ONLY)

_BUSY_ANSWER = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Cache-Control: no-store\r\nRetry-After: 5\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%s"
) % (len(BUSY.encode()), BUSY.encode())

_logger = logging.getLogger(__name__)


class Table:
    """The connections that are open. Belongs to the event loop."""

    def __init__(self, limits: Limits, trusted: ProxyHeadersMiddleware) -> None:
        self._limits = limits
        self._trusted = trusted.trusted_hosts
        self._open: dict[asyncio.BaseTransport, str] = {}
        """With the address each comes from."""
        self._silent: OrderedDict[asyncio.BaseTransport, None] = OrderedDict()
        """Those that have no request under way, the longest so first."""
        self._of: dict[str, int] = {}
        self._watched: set[_Http] = set()
        self._next: asyncio.TimerHandle | None = None

    def opened(self, transport: asyncio.Transport, host: str) -> bool:
        """Count a connection; return False when it cannot be kept.

        Where there are too many, the one that has been silent for longest goes: whoever only
        holds connections open never keeps others out. A proxy that is trusted stands for many
        people; nginx counts those.
        """
        key = "" if host in self._trusted else networks(host).own
        if key and self._of.get(key, 0) >= self._limits.connections_per_address:
            same = (t for t in self._silent if self._open.get(t) == key)
            if not self._displaced(next(same, None)):
                return False
        full = len(self._open) >= self._limits.connections
        if full and not self._displaced(next(iter(self._silent), None)):
            return False
        self._open[transport] = key
        self._of[key] = self._of.get(key, 0) + 1
        self._silent[transport] = None
        return True

    def _displaced(self, transport: asyncio.BaseTransport | None) -> bool:
        if transport is None:
            return False
        self.closed(transport)
        cast(asyncio.Transport, transport).abort()
        return True

    def closed(self, transport: asyncio.BaseTransport) -> None:
        """Count a connection no longer; a second call does nothing."""
        self._silent.pop(transport, None)
        key = self._open.pop(transport, None)
        if key is None:
            return
        self._of[key] -= 1
        if not self._of[key]:
            del self._of[key]

    def watch(self, connection: _Http) -> None:
        """Look at a connection from now on, every few seconds.

        At all of them together: while a run computes, each turn of the event loop may have to
        wait for its lock, and a thousand timers are a thousand turns.
        """
        self._watched.add(connection)
        if self._next is None:
            self._next = connection.loop.call_later(_LOOK_SECONDS, self._look)

    def unwatch(self, connection: _Http) -> None:
        self._watched.discard(connection)

    def _look(self) -> None:
        self._next = None
        for connection in list(self._watched):
            connection.look()
            if self._next is None:
                self._next = connection.loop.call_later(_LOOK_SECONDS, self._look)

    def busy(self, transport: asyncio.BaseTransport) -> None:
        self._silent.pop(transport, None)

    def silent(self, transport: asyncio.BaseTransport) -> None:
        if transport in self._open:
            self._silent[transport] = None
            self._silent.move_to_end(transport)


class _Http(H11Protocol):
    """An HTTP connection with an end."""

    table: Table

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._since = self.loop.time()
        self._stuck = 0.0
        host = self.client[0] if self.client else ""
        if self.table.opened(transport, host):
            self.table.watch(self)
        else:
            transport.write(_BUSY_ANSWER)
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.table.unwatch(self)
        self.table.closed(self.transport)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self.transport.is_closing():
            super().data_received(data)

    def handle_events(self) -> None:
        before = self.cycle
        super().handle_events()
        if self.cycle is not before and self._under_way():
            self._since = self.loop.time()
            self.table.busy(self.transport)

    def handle_websocket_upgrade(self, event: Any) -> None:
        self.table.unwatch(self)
        self.table.busy(self.transport)
        super().handle_websocket_upgrade(event)

    def on_response_complete(self) -> None:
        self._since = self.loop.time()
        self.table.silent(self.transport)
        super().on_response_complete()

    def pause_writing(self) -> None:
        self._stuck = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        self._stuck = 0.0
        super().resume_writing()

    def _under_way(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def look(self) -> None:
        """End the connection when what it waits for does not come."""
        now = self.loop.time()
        if self._stuck and now - self._stuck > STUCK_SECONDS:
            self.transport.abort()
        elif not self._under_way() and now - self._since > REQUEST_SECONDS:
            self.transport.close()
        elif self._under_way() and self.cycle.more_body and now - self._since > BODY_SECONDS:
            self.transport.abort()


class _WebSocket(WebSocketsSansIOProtocol):
    """A WebSocket that is read no faster than it may send, and left unread once it is closed."""

    table: Table

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._bucket = Bucket(_FRAMES, _FRAMES_AT_ONCE, self.loop.time())
        self._stuck: asyncio.TimerHandle | None = None
        if hasattr(transport, "max_size"):  # asyncio's own for plain sockets
            transport.max_size = _READ_BYTES

    def connection_lost(self, exc: Exception | None) -> None:
        self.resume_writing()
        self.table.closed(self.transport)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self.close_sent:
            super().data_received(data)

    def handle_connect(self, event: Any) -> None:
        super().handle_connect(event)
        if not self.close_sent:
            cast(Any, self.scope)["extensions"][LONGER] = self._take_up_to

    def _take_up_to(self, most: int) -> None:
        self.conn.max_message_size = most

    def handle_ping(self) -> None:
        if self._counted():
            super().handle_ping()

    def handle_pong(self, event: Any) -> None:
        if self._counted():
            super().handle_pong(event)

    def handle_cont(self, event: Any) -> None:
        if self._counted():
            super().handle_cont(event)

    def _counted(self) -> bool:
        """Return whether a frame may come; the first that may not ends the connection."""
        if self.close_sent:
            return False
        if self._bucket.take(self.loop.time()):
            return True
        self.frames = []
        self.queue.put_nowait({"type": "websocket.disconnect", "code": POLICY, "reason": ""})
        self.conn.send_close(POLICY)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self._leave_unread()
        return False

    async def send(self, message: Any) -> None:
        if self.close_sent and message["type"] == "websocket.send":
            raise ClientDisconnected
        await super().send(message)
        if message["type"] == "websocket.close" and message.get("code") in _OURS:
            self._leave_unread()

    def _leave_unread(self) -> None:
        """Let the reason arrive; what still comes stays in the kernel, and then goes with it."""
        if self.close_timer is not None:
            self.close_timer.cancel()
        self.transport.pause_reading()
        self.close_timer = self.loop.call_later(_LINGER_SECONDS, self.transport.abort)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._stuck is None:
            self._stuck = self.loop.call_later(STUCK_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None


class ConnectionLimits:
    """ASGI middleware that sets the bounds when the server starts; requests pass."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            config = getattr(getattr(receive, "__self__", None), "config", None)
            if isinstance(config, uvicorn.Config):
                _bound(config, bounds())
            else:
                _logger.warning("connections are not bounded: not started by uvicorn")
        await self._app(scope, receive, send)


def _bound(config: uvicorn.Config, limits: Limits) -> None:
    """Make a server that is about to listen keep these limits."""
    trusted = ProxyHeadersMiddleware(cast(Any, None), config.forwarded_allow_ips)
    shared = {"table": Table(limits, trusted)}
    config.http_protocol_class = type("Http", (_Http,), shared)
    config.ws_protocol_class = type("WebSocket", (_WebSocket,), shared)
    config.ws_max_size = MAX_BYTES[Role.ANYONE]
    # asyncio accepts as many as this before it looks at anything else.
    config.backlog = BACKLOG
