"""Files from the disk as answers: whole, in ranges, or a 404 that says what to do."""

from __future__ import annotations

import logging
from pathlib import Path

from starlette.responses import FileResponse, PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from pages.http.doors import PRIVATE

_logger = logging.getLogger(__name__)


class Download(FileResponse):
    """A file that may be removed at any moment: it expires, or somebody clears a disk.

    The head of the answer waits for the first bytes. A file that cannot be opened by then is a
    404 with ``gone`` (a Japanese sentence) instead of a broken answer that promised it.
    """

    def __init__(self, path: Path, name: str, gone: str) -> None:
        super().__init__(
            path, filename=name, media_type="application/octet-stream", headers=PRIVATE
        )
        self._gone = gone

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        head: list[Message] = []
        begun = False

        async def send_together(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                head.append(message)
                return
            begun = True
            while head:
                await send(head.pop())
            await send(message)

        try:
            await super().__call__(scope, receive, send_together)
        # Starlette says RuntimeError when there is nothing, or no file, at the path.
        except (OSError, RuntimeError) as exc:
            if begun:
                raise
            _logger.warning("%s cannot be sent: %s", self.path, exc)
            await PlainTextResponse(self._gone, 404, PRIVATE)(scope, receive, send)
