"""When a pool grows: pure values, seconds of a clock that the test moves."""

from __future__ import annotations

import pytest

from core.concurrency.scaling import PoolScaling


def looks(*seen: tuple[float, float, float]) -> list[bool]:
    """Return what each look says: seconds, processor seconds so far, work so far."""
    growth = PoolScaling()
    return [growth.is_due(*look) for look in seen]


def test_a_crew_that_waits_grows() -> None:
    assert looks((0, 0, 0), (0.25, 0.01, 10)) == [False, True]


def test_the_first_look_says_nothing_and_neither_does_one_too_soon() -> None:
    assert looks((7, 3, 100)) == [False]
    assert looks((0, 0, 0), (0.2, 0.0, 10), (0.24, 0.0, 12)) == [False, False, False]


def test_a_crew_that_computes_does_not_grow_until_it_waits() -> None:
    busy, waiting = (0.25, 0.125, 500), (0.5, 0.15, 600)
    assert looks((0, 0, 0), busy, waiting) == [False, False, True]


def test_what_follows_a_growth_is_not_judged_at_once() -> None:
    """Files under way were begun by fewer threads."""
    assert looks((0, 0, 0), (0.25, 0, 10), (0.5, 0, 20), (0.75, 0, 40)) == [
        False,
        True,
        False,
        True,
    ]


@pytest.mark.parametrize(("done", "grows"), [(30.9, False), (31.1, True)])
def test_growth_that_brought_less_than_a_tenth_is_the_last(done: float, grows: bool) -> None:
    """Ten in a quarter of a second before; 20 at the second look, so 11 more are a tenth."""
    growth = PoolScaling()
    for look in ((0, 0, 0), (0.25, 0, 10), (0.5, 0, 20)):
        growth.is_due(*look)
    assert growth.is_due(0.75, 0, done) is grows
    # Even if it runs ten times as fast later: once over, it is over.
    later = [growth.is_due(1.0 + n / 4, 0, 200 * (n + 1)) for n in range(8)]
    assert any(later) is grows


def test_a_crew_that_stands_still_grows_to_its_end() -> None:
    """A slow answer is waited for; nothing was done, so growth cannot have been in vain."""
    grown = looks(*((n / 4, 0, 0) for n in range(10)))
    assert sum(grown) == 5
