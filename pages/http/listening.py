"""The sockets on which this process listens."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

_OPEN_FILES = Path("/dev/fd")


def send_at_once() -> None:
    """Have every answer leave as soon as it is written (TCP_NODELAY).

    asyncio does so by itself where a socket says that it is TCP; the one that Streamlit binds
    does not (the same as uvicorn#3149). On a connection that goes on, each answer and each
    message of a page then waits up to 40 ms for word that the one before has arrived. On Linux
    a connection takes this setting over from the socket that listens.
    """
    numbers = [int(file.name) for file in _OPEN_FILES.iterdir()] if _OPEN_FILES.is_dir() else []
    for number in numbers:
        try:
            if not stat.S_ISSOCK(os.fstat(number).st_mode):
                continue
            with socket.socket(fileno=os.dup(number)) as found:
                if _listens(found):
                    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            continue  # closed meanwhile, or of a kind that has no such setting


def _listens(found: socket.socket) -> bool:
    return found.family in (socket.AF_INET, socket.AF_INET6) and bool(
        found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    )
