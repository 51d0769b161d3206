"""The WebSocket of a page, as a script opens it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urlsplit

from websockets.sync.client import ClientConnection, connect


@contextmanager
def page_socket(url: str, headers: Mapping[str, str]) -> Iterator[ClientConnection]:
    """Open it; ``url`` is the console's. Whoever opens it waits for a busy machine."""
    with connect(
        f"ws://{urlsplit(url).netloc}/_stcore/stream",
        additional_headers=headers,
        open_timeout=60,
        proxy=None,
        max_size=None,
        compression=None,
        ping_interval=None,
    ) as stream:
        yield stream
