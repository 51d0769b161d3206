"""The limits that hold for this process."""

from __future__ import annotations

import logging
from functools import lru_cache

from core.config.limits import Limits
from core.errors import HimuroError
from core.resources.descriptors import raise_limit
from pages import services

_logger = logging.getLogger(__name__)
_logger.setLevel(logging.INFO)  # what this module says once at the start is no warning


@lru_cache(maxsize=1)
def bounds() -> Limits:
    """Return the limits as they are set, as far as this process may have files open.

    With wrong settings the usual ones hold: such a console answers too.
    """
    try:
        wanted = services.current().settings.limits
    except HimuroError:
        wanted = Limits()
    return wanted.fitting(raise_limit())


def tell() -> None:
    """Write the limits to the log."""
    limits, files = bounds(), raise_limit()
    _logger.info(
        "at most %d connections (%d from one address) and %d pages (%d from one address);"
        " this process may open %s files",
        limits.connections,
        limits.connections_per_address,
        limits.pages,
        limits.pages_per_address,
        "any number of" if files is None else files,
    )
