"""What the index ``ix_archive_list_terms`` knows of a row: numbers, the same as ``himuro_terms``
(migration 0002) makes of it. A search asks for rows that have all of some of them.

Terms only narrow down. What is a hit is decided by ``db.search.conditions.conditions``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import BigInteger, ColumnElement, func, literal

from core.model import SearchQuery
from core.search.query_words import wanted
from db.search.conditions import directory_key, file_types

_LETTER_BITS = 21
_REQUESTER = 1 << 42
_BLOCK = 1 << 60
_SIZE = 1 << 61
_REQUEST_ID, _BELOW, _DIRECTORY, _FILE_TYPE = range(1, 5)
"""Seeds of the hashes, so that equal texts of different kinds are different terms."""

Term = int | ColumnElement[int]


@dataclass(frozen=True, slots=True)
class Group:
    """Terms of which every hit has one at least."""

    terms: tuple[Term, ...]
    gram: int | None = None
    """The only term, when it is a gram of the words."""
    matches: Callable[[str, str, int], bool] = lambda _key, _requester, _size: False
    """Whether a row has one of them, told from its ``検索キー``, its requester in lower case and
    its size. Of a gram and of what is always rare it is not asked."""


def groups(query: SearchQuery, requester: str) -> list[Group]:
    """Return what all hits have.

    ``requester`` is the one of the query in lower case as the database makes it.
    """
    found = []
    if request_id := query.request_id.strip():
        found.append(Group((_hashed(func.lower(literal(request_id)), _REQUEST_ID),)))
    if directory := directory_key(query):
        kind = _DIRECTORY if query.directory_only else _BELOW
        term = _hashed(literal(directory[1:]), kind)
        found.append(Group((term,), None, lambda key, _, __: key.startswith(f"{directory}\\")))
    asked = dict.fromkeys(gram for one in wanted(query.words) for gram in _necessary(one.ways))
    found += [Group((gram,), gram) for gram in asked]
    pairs = [gram for gram in dict.fromkeys(grams(requester)) if gram < _REQUESTER]
    found += [
        Group((_REQUESTER | gram,), None, lambda _, name, __: requester in name)
        for gram in _longest(pairs)
    ]
    if types := tuple(f".{each}" for each in file_types(query)):
        endings = dict.fromkeys(each.rpartition(".")[2] for each in types)
        hashed = tuple(_hashed(literal(ending), _FILE_TYPE) for ending in endings)
        found.append(Group(hashed, None, lambda key, _, __: key.endswith(types)))
    if sizes := _sizes(query):
        bits = frozenset(sizes)
        terms = tuple(_SIZE | each for each in sizes)
        found.append(Group(terms, None, lambda _, __, size: size.bit_length() in bits))
    return found


def block(number: int) -> int:
    """Return the term of the rows in a block: 32,768 whose serial keys differ in their last 15
    bits only."""
    return _BLOCK | number


def grams(text: str) -> list[int]:
    """Return each letter of a text, each two and each three digits, in their order."""
    found, earlier, before = [], 0, 0
    for sign in text:
        letter = ord(sign)
        found += [letter, before << _LETTER_BITS | letter]
        if all(48 <= code <= 57 for code in (earlier, before, letter)):
            found.append((earlier << 2 * _LETTER_BITS) | (before << _LETTER_BITS) | letter)
        earlier, before = before, letter
    return found


def _necessary(ways: Sequence[Sequence[str]]) -> list[int]:
    """Return the grams that a search key has in whichever way something occurs in it."""
    each = [dict.fromkeys(g for text in way for g in grams(text)) for way in ways]
    return _longest([gram for gram in each[0] if all(gram in other for other in each[1:])])


def _longest(found: Sequence[int]) -> list[int]:
    """Return grams without those that are part of another one."""
    parts: set[int] = set()
    mask = (1 << _LETTER_BITS) - 1
    for gram in found:
        if gram > mask:
            head = gram >> _LETTER_BITS
            parts.update((head, gram & mask))
            if head > mask:
                parts.add(gram & ((1 << 2 * _LETTER_BITS) - 1))
    return [gram for gram in found if gram not in parts]


def _sizes(query: SearchQuery) -> range:
    """Return the numbers of binary digits that sizes within the limits have; empty: any."""
    if query.least_size is None and query.most_size is None:
        return range(0)
    least = min(max(query.least_size or 0, 0).bit_length(), 63)
    most = 63 if query.most_size is None else max(query.most_size, 0).bit_length()
    return range(least, min(most, 63) + 1)


def _hashed(text: ColumnElement[str], kind: int) -> ColumnElement[int]:
    return func.hashtextextended(text, kind, type_=BigInteger)
