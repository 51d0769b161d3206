"""The log of console and commands: lines that nobody can forge, without secrets."""

from __future__ import annotations

import logging
import os
import sys
from datetime import UTC, datetime, tzinfo
from typing import TextIO
from urllib.parse import unquote
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from core.database_url import secrets_of
from core.names import printable

_SECRETS = (
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
)
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")


class OneRecord(logging.Formatter):
    """Writes a record so that only its first line begins at the margin.

    File names, addresses and the words of other programs may hold line breaks and control
    letters; exceptions of drivers may quote what they were given. Neither forges a line, and
    no secret of the settings is written.
    """

    def format(self, record: logging.LogRecord) -> str:
        lines = super().format(record).split("\n")
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
    for name in list(root.manager.loggerDict):
        for handler in logging.getLogger(name).handlers:
            handler.setFormatter(_FORMATTER)


def without_secrets(text: str) -> str:
    """Return ``text`` with every secret of the settings replaced by ``***``."""
    for secret in _secrets():
        text = text.replace(secret, "***")
    return text


def _secrets() -> list[str]:
    """Return the secrets in the environment, as they are written there and as they are sent.

    The longest first: one may be a part of another. Very short ones are left out, they would
    hide half of every line.
    """
    found = [os.environ.get(name, "") for name in _SECRETS]
    found += secrets_of(os.environ.get("HIMURO_DATABASE_URL", "").strip())
    for proxy in (os.environ.get(name, "") for name in _PROXIES):
        # As urllib takes it apart; the part before the last @ may hold anything.
        password = proxy.rpartition("@")[0].partition("://")[2].partition(":")[2]
        found += [password, unquote(password)]
    return sorted({secret for secret in found if len(secret) > 3}, key=len, reverse=True)
