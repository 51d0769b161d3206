"""The log of console and commands: lines that nobody can forge, without secrets."""

from __future__ import annotations

import atexit
import json
import logging
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from html import escape
from typing import TextIO
from urllib.parse import quote, quote_plus, unquote
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from core.config.database_url import secrets_of
from core.config.repeated_lines import Repeats
from core.paths.normalization import printable

_SECRETS = (
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
)
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
_DATABASE = "HIMURO_DATABASE_URL"
_MAX_HIDDEN = 32
_hidden: tuple[str, ...] = ()


class OneRecord(logging.Formatter):
    """Writes a record so that only its first line begins at the margin.

    File names, addresses and the words of other programs may hold line breaks and control
    letters; exceptions of drivers may quote what they were given. Neither forges a line, and
    no secret of the settings is written.
    """

    def format(self, record: logging.LogRecord) -> str:
        # Before and after: what is no letter to be printed may belong to a secret.
        lines = without_secrets(super().format(record)).split("\n")
        return without_secrets("\n    ".join(printable(line) for line in lines))

    def formatTime(self, record: logging.LogRecord, _datefmt: str | None = None) -> str:
        """Return the record's time in ``HIMURO_TIMEZONE``, the offset with it."""
        zone = _zone(os.environ.get("HIMURO_TIMEZONE") or "Asia/Tokyo")
        return datetime.fromtimestamp(record.created, zone).isoformat(" ", "milliseconds")


def _zone(name: str) -> tzinfo:
    """Return a time zone, UTC where it cannot be read: a line may be about just that."""
    try:
        return ZoneInfo(name)  # kept by itself once it was read
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC


class _StandardError(logging.StreamHandler[TextIO]):
    """Writes to what standard error is at the time, not to what it was at the start."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(_FORMATTER)

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, _stream: TextIO) -> None:
        return


_FORMATTER = OneRecord("%(asctime)s %(levelname)s %(name)s: %(message)s")


def set_up() -> None:
    """Write every log of this process in this form; a second call changes nothing.

    The web server and Streamlit have brought handlers of their own by the time the console
    calls this: they stay, and write like all others.
    """
    _zone(os.environ.get("HIMURO_TIMEZONE") or "Asia/Tokyo")
    root = logging.getLogger()
    if not any(isinstance(handler, _StandardError) for handler in root.handlers):
        root.addHandler(_StandardError())
    for handler in root.handlers:
        if isinstance(handler, _StandardError):
            _once(handler)
    # Streamlit's loggers share the root's, where there were some: those are somebody else's.
    shared = set(root.handlers)
    for name in list(root.manager.loggerDict):
        for handler in set(logging.getLogger(name).handlers) - shared:
            handler.setFormatter(_FORMATTER)
            _once(handler)


def _once(handler: logging.Handler) -> None:
    """Have a handler write repeated lines once with their count."""
    if not any(isinstance(found, Repeats) for found in handler.filters):
        repeats = Repeats(handler, without_secrets)
        handler.addFilter(repeats)
        atexit.register(repeats.flush)


def hide(*secrets: str | None) -> None:
    """Let no line show these either: secrets that stand in no variable of the environment.

    The last ones count: credentials that are renewed are new ones each hour.
    """
    global _hidden
    for secret in filter(None, secrets):
        if secret not in _hidden:
            _hidden = (*_hidden, secret)[-_MAX_HIDDEN:]


def without_secrets(text: str) -> str:
    """Return ``text`` with every secret of the settings replaced by ``***``."""
    for secret in _secrets():
        text = text.replace(secret, "***")
    return text


def _secrets() -> list[str]:
    values = tuple(os.environ.get(name, "") for name in (*_SECRETS, *_PROXIES, _DATABASE))
    return _forms(values, _hidden)


@lru_cache(maxsize=4)
def _forms(values: tuple[str, ...], hidden: tuple[str, ...]) -> list[str]:
    """Return secrets in every form in which somebody might quote them.

    The longest first: one may be a part of another. Very short ones are left out, they would
    hide half of every line.
    """
    found = [*values[: len(_SECRETS)], *hidden, *secrets_of(values[-1].strip())]
    for proxy in values[len(_SECRETS) : -1]:
        # As urllib takes it apart; the part before the last @ may hold anything.
        found.append(proxy.rpartition("@")[0].partition("://")[2].partition(":")[2])
    whole = {form for secret in found for form in (secret, unquote(secret))}
    forms = {form for secret in whole for form in _written(secret)}
    return sorted((form for form in forms if len(form) > 3), key=len, reverse=True)


def _written(secret: str) -> Iterator[str]:
    """Yield a secret as programs write it: in addresses, in JSON, in Python, in a log."""
    yield secret
    yield from (quote(secret, safe="", errors="replace"), quote(secret, errors="replace"))
    yield from (quote_plus(secret, errors="replace"), printable(secret))
    yield from (json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1])
    yield from (repr(secret)[1:-1], ascii(secret)[1:-1], escape(secret))
