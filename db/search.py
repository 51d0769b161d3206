"""What is asked of the archive list → conditions in SQL, the same on both databases."""

from __future__ import annotations

from sqlalchemy import ColumnElement, false, func, or_

from core.errors import ListError
from core.model import MARKER_SUFFIX, SearchQuery
from core.names import fold
from db.models import ArchivedFile as File

MOST_CHARACTERS = 1200
"""Of the words together: more than any path that has a key. SQLite limits patterns and terms."""

_ESCAPE = "/"


def storable(*texts: str) -> bool:
    """Return whether both databases can hold these texts: no NUL, no lone surrogate."""
    return all("\0" not in text and text == _without_surrogates(text) for text in texts)


def clean(text: str) -> str:
    """Return what was typed by hand without the characters that no database can hold."""
    return _without_surrogates(text.replace("\0", ""))


def _without_surrogates(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def conditions(query: SearchQuery) -> list[ColumnElement[bool]]:
    """Return what all hits fulfil. Raises ``ListError`` when there are too many words."""
    if len(query.words) > MOST_CHARACTERS:
        raise ListError(f"検索語が長すぎます（{MOST_CHARACTERS:,}文字まで）。短くしてください。")
    if not storable(query.words, query.directory, query.request_id, query.requester):
        return [false()]
    # Explorer's "copy as path" puts quotation marks around it; no name on Windows has any.
    found = [_word(word) for word in query.words.replace('"', " ").split()]
    if query.directory.strip():
        found.append(_below(query.directory.strip()))
    if request_id := query.request_id.strip():
        found.append(func.lower(File.request_id) == func.lower(request_id))
    if requester := query.requester.strip():
        # The database folds both sides, so that they agree whatever its collation knows.
        pattern = func.lower(f"%{_literal(requester)}%")
        found.append(func.lower(File.requester).like(pattern, escape=_ESCAPE))
    if query.since:
        found.append(File.archived_at >= query.since)
    if query.until:
        found.append(File.archived_at < query.until)
    return found


def _literal(text: str) -> str:
    """Return ``text`` for a LIKE pattern in which every character stands for itself."""
    for sign in (_ESCAPE, "%", "_"):
        text = text.replace(sign, _ESCAPE + sign)
    return text


def _word(word: str) -> ColumnElement[bool]:
    """Match a word anywhere in directory or original name.

    People paste what they see in the folder, which is the marker's name. A slash may be a
    separator, or the full-width one of a name, which folds into it.
    """
    folded = fold(word)
    folded = folded.removesuffix(MARKER_SUFFIX) or folded
    spellings = dict.fromkeys((folded, folded.replace("/", "\\")))
    return or_(*(File.search_key.like(f"%{_literal(s)}%", escape=_ESCAPE) for s in spellings))


def _below(directory: str) -> ColumnElement[bool]:
    """Match everything in a UNC directory and below it."""
    parts = (part for part in directory.replace("/", "\\").split("\\") if part)
    prefix = "\\\\" + fold("\\".join(parts)).strip("\\") + "\\"
    return File.search_key.like(f"{_literal(prefix)}%", escape=_ESCAPE)
