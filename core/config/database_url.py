"""``HIMURO_DATABASE_URL`` as people write it → as every library reads it.

A password may hold any sign. Strictly, those that mean something in a URL have to be written as
``%40``; people paste them as they are, and each library then cuts the URL elsewhere. Here it is
cut once: where it can mean one thing only, it means that; all else is refused with what to write.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote

POSTGRESQL = "postgresql+psycopg2"
"""SQLAlchemy 2.1 takes psycopg 3 for the bare name; Himuro ships psycopg2."""
_POSTGRESQL = ("postgresql", "postgres", POSTGRESQL, "postgresql+psycopg")
"""All of them take the same parameters, those of libpq."""
_SQLITE = ("sqlite", "sqlite+pysqlite")
_OTHER_DRIVER = re.compile(r"(postgresql|postgres|sqlite)\+([a-z0-9_]{1,20})", re.ASCII)
_DRIVERS = ("aiosqlite", "asyncpg", "pg8000", "psycopg2cffi", "psycopg_async", "pysqlcipher")
"""Those that are named in a message; what else stands there may be a password."""
_DATABASES = ("mysql", "mariadb", "oracle", "mssql", "jdbc")

_WRONG_START = "HIMURO_DATABASE_URL は sqlite または postgresql で始めてください"
WRONG_SQLITE = "HIMURO_DATABASE_URL は sqlite:///ファイルのパス と書いてください"
_WRONG_FORM = (
    "HIMURO_DATABASE_URL の書き方が正しくありません。"
    "postgresql://ユーザー名:パスワード@サーバー名/データベース名 の形で書き、"
    "ユーザー名とパスワードの中の記号は % と16進数に置き換えてください"
    "（@ は %40、/ は %2F、: は %3A、? は %3F、# は %23、[ は %5B、] は %5D、% は %25、空白は %20）"
)

_PLACE = re.compile(
    r"(?P<host>\[[0-9A-Fa-f:.]+(?:%[\w.~%-]+)?\]|[^\s:/?#\[\]@]*)(?::(?P<port>[0-9]{0,5}))?"
    r"(?P<database>/[^?#@]*)?(?:\?(?P<query>[^=&#]+=[^&#]*(?:&[^=&#]+=[^&#]*)*&?)?)?"
)
"""What stands behind the password, where nothing is left to guess."""


class UrlFormError(ValueError):
    """A URL of the right kind that can be cut in no way, or in several; says what to write."""

    def __init__(self) -> None:
        super().__init__(_WRONG_FORM)


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """A PostgreSQL URL, taken apart."""

    user: str
    """Decoded; empty when none is given."""
    password: str | None = field(repr=False)
    """Decoded; None when none is given."""
    written: str = field(repr=False)
    """The password as it was written."""
    place: str
    """Host, port and database, as they are written."""
    query: str = field(repr=False)
    """Behind the question mark, as it is written."""

    def __str__(self) -> str:
        password = "" if self.password is None else f":{_encoded(self.password)}"
        return self._text(password) + (f"?{self.query}" if self.query else "")

    def without_secrets(self) -> str:
        """Return it for the screen: a password may stand in the parameters as well."""
        hidden = self.password is not None or (self.user and self.query)
        return self._text(":***" if hidden else "")

    def _text(self, password: str) -> str:
        who = _encoded(self.user) + password
        return f"{POSTGRESQL}://{who}{'@' if who else ''}{self.place}"


def read_url(text: str) -> DatabaseUrl | str:
    """Return what a URL names; for SQLite, which has no secrets, the URL itself.

    Raises ``ValueError`` (``UrlFormError``) whose text says in Japanese what to write, without a
    part of the URL that could be a secret.
    """
    scheme, _, rest = text.partition(":")
    if scheme.lower() in _SQLITE:
        if not rest.startswith("///"):  # a host, and with it perhaps a password
            raise ValueError(WRONG_SQLITE)
        return f"sqlite:{rest}"
    if scheme.lower() not in _POSTGRESQL:
        raise ValueError(_wrong_start(scheme.lower()))
    found = _read(rest[2:]) if rest.startswith("//") else None
    if found is None:
        raise UrlFormError
    return found


def hide_password(text: str) -> str:
    """Return a database URL with everything a password could hide in left out."""
    try:
        url = read_url(text)
    except ValueError:
        return "***"
    return url if isinstance(url, str) else url.without_secrets()


def secrets_of(text: str) -> Iterator[str]:
    """Yield the secrets of a URL in every form in which somebody might quote them; of one that
    cannot be read, all that could be one."""
    try:
        url = read_url(text)
    except ValueError:
        yield text
        yield text.rpartition("@")[0].partition("://")[2].partition(":")[2]
        return
    if isinstance(url, str):
        return
    if url.password:
        yield from (url.password, url.written, _encoded(url.password))
    for name, value in parse_qsl(url.query):
        if "pass" in name.lower():
            yield value


def _read(rest: str) -> DatabaseUrl | None:
    """Return what stands behind ``://`` taken apart; None when that cannot be told.

    First as the standard reads it: all up to the last ``@`` before the first of ``/?#`` names
    somebody. If that is no URL, or leaves an ``@`` among the parameters, a password holds one of
    these signs: it is whatever leaves a place behind it, if only one does.
    """
    end = re.split("[/?#]", rest, maxsplit=1)[0].rfind("@")
    if end >= 0 and (found := _cut(rest, end)) is not None and "@" not in found.query:
        return found
    ends = [-1, *(n for n, sign in enumerate(rest) if sign == "@")]
    readings = [found for n in ends if (found := _cut(rest, n)) is not None]
    return readings[0] if len(readings) == 1 else None


def _cut(rest: str, end: int) -> DatabaseUrl | None:
    """Return ``rest`` cut at the ``@`` at ``end``, -1 for none; None when that is no URL."""
    match = _PLACE.fullmatch(rest[end + 1 :])
    if match is None:
        return None
    user, colon, password = rest[: max(end, 0)].partition(":")
    if "/" in user:
        return None
    port = "" if match["port"] is None else f":{match['port']}"
    place = f"{match['host']}{port}{match['database'] or ''}"
    decoded = unquote(password) if colon else None
    return DatabaseUrl(unquote(user), decoded, password, place, match["query"] or "")


def _encoded(text: str) -> str:
    return quote(text, safe="")


def _wrong_start(start: str) -> str:
    match = _OTHER_DRIVER.fullmatch(start)
    if match is None:
        database = start.partition("+")[0]
        return _WRONG_START + (f"（現在: {database}）" if database in _DATABASES else "")
    write = "sqlite:///" if match[1] == "sqlite" else "postgresql://"
    driver = f"（{match[2]}）" if match[2] in _DRIVERS else ""
    return f"HIMURO_DATABASE_URL のドライバー{driver}は使えません。{write} で始めてください"
