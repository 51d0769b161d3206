"""The same words with plain ``ILIKE``, newest first, and the count of all hits."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from core.model import SearchQuery
from db.connection.engine import make_engine
from tests.bench.archive_list.big import BigList
from tests.bench.archive_list.searches import CLASSES
from tests.bench.measure import milliseconds
from tests.bench.report import Row

_TIMEOUT_MS = 10_000


def plain(big: BigList, part: str) -> list[Row]:
    """Return a line for each class of words alone.

    With pg_trgm where the server has it, as people index such a column usually; the index
    stays.
    """
    execute = big.server.execute
    there = execute("SELECT 1 FROM pg_available_extensions WHERE name = 'pg_trgm'")
    name = "ILIKE + pg_trgm" if there else "ILIKE, no pg_trgm here"
    if there:
        execute("CREATE EXTENSION pg_trgm", big.database)
        columns = '"ディレクトリパス" gin_trgm_ops, "アーカイブファイル名" gin_trgm_ops'
        execute(f"CREATE INDEX plain ON archive_list USING gin ({columns})", big.database)
        execute("VACUUM ANALYZE archive_list", big.database)
    rows = []
    engine = make_engine(big.url)
    with engine.connect() as connection:
        for kind in CLASSES:
            words = [query.words for query in kind.queries if query == SearchQuery(query.words)]
            taken = milliseconds([partial(_ilike, connection, each) for each in words if each], 1)
            if taken:
                rows.append(Row.times(part, f"{name}: {kind.name}", taken))
    engine.dispose()
    return rows


def _ilike(connection: Connection, words: str) -> None:
    """Read the newest hundred rows with all words and count all of them, at most
    ``_TIMEOUT_MS`` each."""
    patterns = {f"word{n}": f"%{_literal(word)}%" for n, word in enumerate(words.split())}
    where = " AND ".join(
        f'("ディレクトリパス" ILIKE :{name} OR "アーカイブファイル名" ILIKE :{name})'
        for name in patterns
    )
    for what in (
        f'SELECT * FROM archive_list WHERE {where} ORDER BY "アーカイブ日時" DESC LIMIT 100',
        f"SELECT count(*) FROM archive_list WHERE {where}",
    ):
        with connection.begin(), suppress(DBAPIError):
            connection.execute(text(f"SET LOCAL statement_timeout = {_TIMEOUT_MS}"))
            connection.execute(text(what), patterns).all()


def _literal(word: str) -> str:
    for sign in ("\\", "%", "_"):
        word = word.replace(sign, "\\" + sign)
    return word
