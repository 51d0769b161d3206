"""What to try when a search finds nothing: searches nearby that do find something."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from zoneinfo import ZoneInfo

from core.errors import ListError
from core.model import SearchPage
from core.ports import Catalogue
from core.search.query_words import typed_words
from core.search.spelling_variants import near
from core.search.typed_query import TypedQuery

MAX_SEARCHES = 12
MAX_SECONDS = 0.4
"""No further search begins after that: the person waits."""

_MAX_WORDS = 4
"""Of many words only the first ones are tried alone."""
_NONE = TypedQuery()
_FILTERS: dict[str, tuple[str, ...]] = {
    "フォルダー": ("directory", "directory_only"),
    "依頼ID": ("request_id",),
    "依頼者": ("requester",),
    "期間": ("first", "last", "last_month"),
    "種類": ("file_types",),
    "サイズ": ("least_size", "most_size"),
}


@dataclass(frozen=True, slots=True)
class Hint:
    """A search that finds something."""

    said: str
    """What is different, in words; may hold what was typed."""
    typed: TypedQuery
    hits: int
    over: bool
    """There are more hits than that."""


@dataclass(frozen=True, slots=True)
class Advice:
    """What is known of a search without hits."""

    absent: tuple[str, ...] = ()
    """Words that occur in no row at all, as typed."""
    hints: tuple[Hint, ...] = ()


@dataclass
class _Tries:
    """A few searches."""

    search: Callable[[TypedQuery], SearchPage]
    clock: Callable[[], float]
    left: int = MAX_SEARCHES
    hints: list[Hint] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._until = self.clock() + MAX_SECONDS

    def hits(self, typed: TypedQuery) -> SearchPage | None:
        """Return what a search finds; None when there were enough of them, or when nobody can
        ask for that: a word in pieces is longer than the word."""
        if self.left <= 0 or self.clock() >= self._until:
            return None
        self.left -= 1
        try:
            return self.search(typed)
        except ListError:
            return None

    def suggest(self, said: str, typed: TypedQuery) -> bool:
        """Try a search and keep it if it finds something; answer whether it does."""
        if any(hint.typed == typed for hint in self.hints):
            return True
        found = self.hits(typed)
        if found is None or not found.total:
            return False
        self.hints.append(Hint(said, typed, found.total, found.over))
        return True


def advise(
    catalogue: Catalogue,
    typed: TypedQuery,
    timezone: ZoneInfo,
    today: date,
    clock: Callable[[], float] = time.monotonic,
) -> Advice:
    """Return what to try instead of ``typed``, which finds nothing.

    Makes at most ``MAX_SEARCHES`` searches, in the order in which they are likely to help:
    without the filters, without one of them, without words that occur nowhere, with other
    spellings of those.
    """
    typed = replace(typed, order=_NONE.order, descending=_NONE.descending)
    tries = _Tries(
        lambda one: catalogue.search(one.query(timezone, today), page=1, per_page=1), clock
    )
    found_without_filters = _filters(tries, typed)
    absent = () if found_without_filters else _words(tries, typed)
    return Advice(absent, tuple(tries.hints))


def _filters(tries: _Tries, typed: TypedQuery) -> bool:
    """Suggest fewer filters; answer whether the words alone find something."""
    active = _active(typed)
    if not active:
        return False
    if typed.words and not tries.suggest("絞り込みをすべてやめる", TypedQuery(typed.words)):
        return False  # no filter is to blame
    if len(active) > 1:
        for name in active:
            tries.suggest(f"「{name}」の条件をやめる", _without(typed, name))
    return True


def _active(typed: TypedQuery) -> list[str]:
    return [name for name in _FILTERS if _without(typed, name) != typed]


def _without(typed: TypedQuery, name: str) -> TypedQuery:
    fields = {each: getattr(_NONE, each) for each in _FILTERS[name]}
    return replace(typed, **fields)


def _words(tries: _Tries, typed: TypedQuery) -> tuple[str, ...]:
    """Suggest fewer and other words, without any filter; return those that occur nowhere."""
    words = typed_words(typed.words)
    too = "、絞り込みもやめる" if _active(typed) else ""
    absent = tuple(words) if len(words) == 1 else _absent(tries, words[:_MAX_WORDS])
    doubtful = [absent] if absent else [(word,) for word in words[:_MAX_WORDS]]
    for left_out in doubtful:
        if rest := [word for word in words if word not in left_out]:
            tries.suggest(f"{'、'.join(left_out)} をやめる{too}", TypedQuery(" ".join(rest)))
    for word in absent:
        for other in near(word):
            others = (other if each == word else each for each in words)
            said = f"{word} の代わりに {other}{too}"
            if tries.suggest(said, TypedQuery(" ".join(others))):
                break
    return absent


def _absent(tries: _Tries, words: Sequence[str]) -> tuple[str, ...]:
    found = ((word, tries.hits(TypedQuery(word))) for word in words)
    return tuple(word for word, page in found if page and not page.total)
