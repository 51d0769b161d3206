"""Starting a thread where the machine may have none left: a sentence instead of a traceback."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from core.errors import unexpected

_logger = logging.getLogger(__name__)


def start_thread(work: Callable[..., object], *args: object, name: str) -> threading.Thread:
    """Start a daemon that calls ``work(*args)`` and return it.

    Raises ``FatalError(MACHINE_SHORT)`` when the system allows no further thread, or has no
    memory for its stack; nothing runs then.
    """
    try:
        thread = threading.Thread(target=work, args=args, name=name, daemon=True)
        thread.start()
    except (RuntimeError, MemoryError) as exc:
        _logger.warning("the thread %s cannot be started: %r", name, exc)
        raise unexpected(exc) from exc
    return thread
