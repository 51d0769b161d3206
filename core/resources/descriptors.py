"""How many files this process may have open."""

from __future__ import annotations

import importlib
import logging
from types import ModuleType

_ENOUGH = 65_536
"""Some programs go through every number below the limit; no more is needed for anything here."""

_logger = logging.getLogger(__name__)


def raise_limit() -> int | None:
    """Raise the number of files that may be open to what this process may have; return it.

    Shells and older service managers begin with 1,024 however much is allowed. None where the
    system knows no such limit (Windows). A limit that cannot be raised stays.
    """
    limits = _module()
    if limits is None:
        return None
    soft, hard = limits.getrlimit(limits.RLIMIT_NOFILE)
    wanted = _ENOUGH if hard == limits.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft == limits.RLIM_INFINITY or soft >= wanted:
        return None if soft == limits.RLIM_INFINITY else int(soft)
    try:
        limits.setrlimit(limits.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError) as exc:
        _logger.warning("the limit of open files stays at %d: %s", soft, exc)
        return int(soft)
    return int(wanted)


def _module() -> ModuleType | None:
    try:
        return importlib.import_module("resource")
    except ImportError:
        return None
