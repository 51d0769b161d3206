"""Whose file is made next, for any number of addresses that ask in any order."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from hypothesis import given
from hypothesis import strategies as st

from core.export.queue import Asker, Line


@dataclass(eq=False)
class File:
    asker: Asker
    number: int
    away_since: datetime | None = None


def line_of(addresses: list[str]) -> Line[File]:
    line: Line[File] = Line()
    for number, address in enumerate(addresses):
        line.add(File(Asker(address), number))
    return line


def test_the_turn_goes_round_the_addresses() -> None:
    line = line_of(["a", "a", "a", "b", "c", "b"])
    assert [file.number for file in line.in_order(())] == [0, 3, 4, 1, 5, 2]
    working = [File(Asker("a"), 0), File(Asker("b"), 0)]
    assert [file.number for file in line.in_order(working)] == [4, 0, 3, 1, 5, 2]


@given(
    st.lists(st.sampled_from("abcd"), max_size=12), st.lists(st.sampled_from("abcd"), max_size=2)
)
def test_nobody_has_a_turn_more_than_somebody_who_waits(
    addresses: list[str], working: list[str]
) -> None:
    line = line_of(addresses)
    order = line.in_order([File(Asker(address), -1) for address in working])
    assert sorted(file.number for file in order) == list(range(len(addresses)))
    turns = Counter(working)
    for n, file in enumerate(order):
        waiting = {other.asker.address for other in order[n:]}
        assert turns[file.asker.address] == min(turns[address] for address in waiting)
        turns[file.asker.address] += 1
    for address in "abcd":
        mine = [file.number for file in order if file.asker.address == address]
        assert mine == sorted(mine)
