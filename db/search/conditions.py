"""What is asked of the archive list → conditions and order in SQL, the same on both databases."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, false, func, or_

from core.errors import ListError
from core.model import SearchQuery
from core.paths.normalization import fold
from core.search.query_words import Wanted, wanted
from db.table.models import ArchivedFile as File

MAX_CHARACTERS = 1200
"""Of the words together: more than any path that has a key. SQLite limits patterns and terms."""

MAX_TYPES = 100
"""Endings of names at once, for the same reason."""

FOLDING_INTO_BACKSLASH = "\u00a5\uff3c\ufe68"
"""Legal letters of names that ``fold`` makes a backslash."""

_LARGEST = 2**63 - 1
_ESCAPE = "/"
_BETWEEN_TYPES = re.compile(r"[\s,;、，；]+")


def storable(*texts: str) -> bool:
    """Return whether both databases can hold these texts: no NUL, no lone surrogate."""
    return all("\0" not in text and text == _without_surrogates(text) for text in texts)


def clean(text: str) -> str:
    """Return what was typed by hand without the characters that no database can hold."""
    return _without_surrogates(text.replace("\0", ""))


def _without_surrogates(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def answerable(query: SearchQuery) -> bool:
    """Return whether a database can be asked this at all; if not, there are no hits."""
    typed = (query.words, query.directory, query.request_id, query.requester, query.file_types)
    return storable(*typed)


def conditions(query: SearchQuery) -> list[ColumnElement[bool]]:
    """Return what all hits fulfil, apart from the time.

    Raises ``ListError`` when there are too many words or file types.
    """
    if len(query.words) > MAX_CHARACTERS:
        raise ListError(f"検索語が長すぎます（{MAX_CHARACTERS:,}文字まで）。短くしてください。")
    if not answerable(query):
        return [false()]
    found = [_occurs(each) for each in wanted(query.words)]
    if directory := directory_key(query):
        found.append(File.search_key.like(f"{_literal(directory)}\\%", escape=_ESCAPE))
        if query.directory_only:
            found.append(_backslashes() == directory.count("\\"))
    if request_id := query.request_id.strip():
        found.append(func.lower(File.request_id) == func.lower(request_id))
    if requester := query.requester.strip():
        # The database folds both sides, so that they agree whatever its collation knows.
        pattern = func.lower(f"%{_literal(requester)}%")
        found.append(func.lower(File.requester).like(pattern, escape=_ESCAPE))
    if types := file_types(query):
        if len(types) > MAX_TYPES:
            raise ListError(f"種類が多すぎます（{MAX_TYPES}個まで）。減らしてください。")
        endings = (File.search_key.like(f"%.{_literal(t)}", escape=_ESCAPE) for t in types)
        found.append(or_(*endings))
    if query.least_size is not None:
        found.append(File.size >= min(max(query.least_size, 0), _LARGEST))
    if query.most_size is not None:
        found.append(File.size <= max(min(query.most_size, _LARGEST), -1))
    return found


def dates(
    query: SearchQuery, archived_at: ColumnElement[datetime] | None = None
) -> list[ColumnElement[bool]]:
    """Return what the time of all hits fulfils; ``archived_at``: where it is to be found."""
    at = File.archived_at if archived_at is None else archived_at
    found = []
    if query.since:
        found.append(at >= query.since)
    if query.until:
        found.append(at < query.until)
    return found


def directory_key(query: SearchQuery) -> str:
    """Return the directory that is asked for as it begins a ``検索キー``; empty: any.

    Without the backslash that follows it there.
    """
    parts = (part for part in query.directory.strip().replace("/", "\\").split("\\") if part)
    names = fold("\\".join(parts)).strip("\\")
    return "\\\\" + names if names else ""


def file_types(query: SearchQuery) -> list[str]:
    """Return the endings that are asked for, folded, without the dot before them."""
    typed = _BETWEEN_TYPES.split(query.file_types)
    return [t for t in dict.fromkeys(fold(each).lstrip("*.") for each in typed) if t]


def _literal(text: str) -> str:
    """Return ``text`` for a LIKE pattern in which every character stands for itself."""
    for sign in (_ESCAPE, "%", "_"):
        text = text.replace(sign, _ESCAPE + sign)
    return text


def _occurs(one: Wanted) -> ColumnElement[bool]:
    """Match what was wanted anywhere in directory or original name."""
    return or_(*(and_(*map(_contains, texts)) for texts in one.ways))


def _contains(text: str) -> ColumnElement[bool]:
    return File.search_key.like(f"%{_literal(text)}%", escape=_ESCAPE)


def _backslashes() -> ColumnElement[int]:
    """Return how many backslashes the directory has in ``検索キー``."""
    others: Any = File.directory
    for sign in "\\" + FOLDING_INTO_BACKSLASH:
        others = func.replace(others, sign, "")
    return func.length(File.directory) - func.length(others)
