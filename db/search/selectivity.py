"""A few rows that tell how common terms are, so that only those are asked for that help.

A wrong guess costs time and never a hit: what is a hit is decided row by row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from db.search.terms import Group, grams

_ENOUGH = 0.5
"""A further term is asked for when it leaves at most so much of the rows that have the others:
looking it up costs about as much as looking at a row."""
_WHEN_RARE = 2
"""Terms that are asked for in addition when no row of the sample is left."""


@dataclass(slots=True)
class Sample:
    """Rows of the archive list, each a bit in a number."""

    rows: Sequence[tuple[str, str, int]] = ()
    """``検索キー``, requester in lower case, size in bytes."""
    _with_gram: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for place, (key, _, _) in enumerate(self.rows):
            for gram in set(grams(key)):
                self._with_gram[gram] = self._with_gram.get(gram, 0) | 1 << place

    def choose(self, groups: Iterable[Group]) -> list[Group]:
        """Return the groups worth asking the index for, the rarest first."""
        ranked = sorted(
            ((self._rows_of(group), group) for group in groups),
            key=lambda each: each[0].bit_count(),
        )
        chosen: list[Group] = []
        left, more = (1 << len(self.rows)) - 1, _WHEN_RARE
        for having, group in ranked:
            rest = left & having
            if left and rest.bit_count() > _ENOUGH * left.bit_count() and chosen:
                continue
            if not left:
                more -= 1
            chosen.append(group)
            left = rest
            if more == 0:
                break
        return chosen

    def _rows_of(self, group: Group) -> int:
        """Return the rows that have a term of a group."""
        if group.gram is not None:
            return self._with_gram.get(group.gram, 0)
        having = 0
        for place, row in enumerate(self.rows):
            if group.matches(*row):
                having |= 1 << place
        return having
