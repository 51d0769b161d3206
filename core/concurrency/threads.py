"""Starting a thread where the machine may have none left: a sentence instead of a traceback."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from core.resources.shortage import patiently, unexpected

_logger = logging.getLogger(__name__)


def start_thread(
    work: Callable[..., object], *args: object, name: str, patient: bool = False
) -> threading.Thread:
    """Start a daemon that calls ``work(*args)`` and return it.

    ``patient``: for one that cannot be done without; it is waited for. Raises
    ``FatalError(MACHINE_SHORT)`` when the system allows no further thread, or has no memory
    for its stack; nothing runs then.
    """

    def start() -> threading.Thread:
        thread = threading.Thread(target=work, args=args, name=name, daemon=True)
        thread.start()
        return thread

    try:
        return patiently(start) if patient else start()
    except (RuntimeError, MemoryError) as exc:
        _logger.warning("the thread %s cannot be started: %r", name, exc)
        raise unexpected(exc) from exc
