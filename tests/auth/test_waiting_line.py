"""Many addresses guess at one account at full speed, and its owner comes from a new one.

The clock is turned by hand: each second every attacker asks, and so does the owner.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from core.auth.throttle import Throttle
from core.auth.waiting_line import BURST, EVERY, KEPT, WaitingLines, networks
from tests.support.clock import Clock

OWNER = "198.51.100.7"
DAY = 86400


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def throttle(clock: Clock) -> Throttle:
    return Throttle(clock)


def scattered(count: int) -> list[str]:
    """Addresses without a neighbourhood in common."""
    return [f"{10 + n // 250}.{n % 250}.0.1" for n in range(count)]


def attack(throttle: Throttle, addresses: Sequence[str]) -> int:
    """Let every address ask once; returns how many passwords were compared."""
    return sum(throttle.attempt("tanaka", address) == 0 for address in addresses)


def turn_of_the_owner(
    throttle: Throttle, clock: Clock, addresses: Sequence[str], most: float
) -> float:
    """Return the seconds until the owner's password is compared; attackers ask before him."""
    begin = clock.now
    while clock.now - begin <= most:
        attack(throttle, addresses)
        if throttle.attempt("tanaka", OWNER) == 0:
            return clock.now - begin
        clock.now += 1
    raise AssertionError(f"no turn in {most} s")


@pytest.mark.parametrize("number", [40, 150])
@pytest.mark.parametrize("before", [7200, 40_000])
def test_addresses_that_keep_trying_cost_the_owner_one_turn(
    throttle: Throttle, clock: Clock, number: int, before: float
) -> None:
    addresses, end = scattered(number), clock.now + before
    while clock.now < end:
        attack(throttle, addresses)
        clock.now += 30
    assert turn_of_the_owner(throttle, clock, addresses, 300) <= 30
    # And every time he comes again from there.
    throttle.succeeded("tanaka", OWNER)
    assert turn_of_the_owner(throttle, clock, addresses, 300) <= 30


def test_forty_addresses_that_begin_with_him_cost_him_nothing_more(
    throttle: Throttle, clock: Clock
) -> None:
    addresses = scattered(40)
    for _ in range(20):
        attack(throttle, addresses)
    assert turn_of_the_owner(throttle, clock, addresses, 300) <= 30


def test_new_addresses_delay_him_once_each(throttle: Throttle, clock: Clock) -> None:
    """The worst case: 100 addresses that have never failed ask a moment before him."""
    addresses = scattered(100)
    waited = turn_of_the_owner(throttle, clock, addresses, 7200)
    assert waited <= EVERY * (100 - BURST + 1)
    throttle.succeeded("tanaka", OWNER)
    assert turn_of_the_owner(throttle, clock, addresses, 7200) <= 60


def test_a_neighbourhood_is_no_crowd(throttle: Throttle, clock: Clock) -> None:
    """A whole /24, or 65,536 networks of one /48, against an owner from elsewhere."""
    for addresses in (
        [f"203.0.113.{n}" for n in range(250)],
        [f"2001:db8:1:{n:x}::1" for n in range(1500)],
    ):
        begun = Throttle(clock)
        attack(begun, addresses)
        assert turn_of_the_owner(begun, clock, addresses, 300) <= 30


def test_his_own_mistakes_put_him_behind_nobody_who_made_more(
    throttle: Throttle, clock: Clock
) -> None:
    addresses, end = scattered(40), clock.now + 7200
    while clock.now < end:
        attack(throttle, addresses)
        clock.now += 30
    for _ in range(4):
        assert turn_of_the_owner(throttle, clock, addresses, 300) <= 30


@pytest.mark.parametrize("number", [40, 500])
def test_guesses_of_a_day(throttle: Throttle, clock: Clock, number: int) -> None:
    """Whatever the number of addresses; each asks every ten minutes, which is enough."""
    looked_at = 0
    for _ in range(DAY // 600):
        looked_at += attack(throttle, scattered(number))
        clock.now += 600
    assert looked_at <= DAY / EVERY + BURST == 2930


def test_a_turn_is_kept_and_not_given_twice(clock: Clock) -> None:
    lines = WaitingLines()
    for _ in range(BURST):
        assert lines.ask("tanaka", "203.0.113.1", clock.now) == 0
    assert lines.ask("tanaka", OWNER, clock.now) == EVERY
    assert lines.ask("tanaka", "203.0.113.1", clock.now) == 2 * EVERY
    clock.now += EVERY
    assert lines.ask("tanaka", "203.0.113.1", clock.now) == EVERY
    clock.now += KEPT
    assert lines.ask("tanaka", OWNER, clock.now) == 0


def test_a_turn_that_nobody_takes_is_a_failure(clock: Clock) -> None:
    lines = WaitingLines()
    for _ in range(BURST):
        lines.ask("tanaka", "203.0.113.1", clock.now)
    lines.ask("tanaka", OWNER, clock.now)
    clock.now += EVERY
    lines.ask("tanaka", "192.0.2.1", clock.now)
    clock.now += KEPT + 1
    for _ in range(BURST):
        lines.ask("tanaka", "203.0.113.2", clock.now)
    assert lines.ask("tanaka", OWNER, clock.now) > 0
    assert lines.ask("tanaka", "192.0.2.2", clock.now) == pytest.approx(EVERY, abs=EVERY)
    assert lines.ask("tanaka", OWNER, clock.now) > EVERY


def test_an_attempt_that_was_not_looked_at_keeps_its_turn(clock: Clock) -> None:
    lines = WaitingLines()
    for _ in range(BURST):
        lines.ask("tanaka", "203.0.113.1", clock.now)
    lines.ask("tanaka", OWNER, clock.now)
    clock.now += EVERY
    for _ in range(3):
        assert lines.ask("tanaka", OWNER, clock.now) == 0
        lines.withdrawn("tanaka", OWNER, clock.now)
    assert lines.ask("tanaka", "203.0.113.1", clock.now) > 0


def test_forgetting_gives_no_guess_away(clock: Clock) -> None:
    """Whoever floods the memory with names finds the account as he left it."""
    throttle = Throttle(clock)
    for n in range(100):
        throttle.attempt("tanaka", f"10.1.{n}.1")
    assert throttle.attempt("tanaka", "10.2.0.1") > 0
    for n in range(20_100):
        throttle.attempt(f"user{n}", f"2001:db8:{n // 5000:x}:{n % 5000:x}::1")
    assert "tanaka" not in throttle._lines._lines
    assert throttle.attempt("tanaka", "10.2.0.2") > 0


def test_memory_is_bounded(clock: Clock) -> None:
    lines = WaitingLines()
    for n in range(2500):
        lines.ask("tanaka", f"2001:db8:0:{n:x}::1", clock.now)
        clock.now += EVERY
    assert len(lines._lines["tanaka"].places) == 2000
    for n in range(2500):
        lines.ask("sato", f"2001:db8:0:{n:x}::1", clock.now)
    line = lines._lines["sato"]
    assert len(line.places) == len(line.waiting) == 2000
    # Somebody from elsewhere finds a place all the same, and is nearly first.
    assert lines.ask("sato", OWNER, clock.now) <= 2 * EVERY
    # Turns that nobody took hold no place.
    clock.now += 2000 * EVERY + KEPT
    lines.ask("sato", OWNER, clock.now)
    clock.now += KEPT + 1
    for n in range(2500):
        lines.ask("sato", f"2001:db8:1:{n:x}::1", clock.now)
    assert len(line.places) == 2000
    assert lines._places == sum(len(each.places) for each in lines._lines.values())


@pytest.mark.parametrize(
    ("address", "own", "wide"),
    [
        ("10.1.2.3", "10.1.2.3", "10.1.2.0/24"),
        ("::ffff:10.1.2.3", "10.1.2.3", "10.1.2.0/24"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64", "2001:db8:1::/48"),
        ("nonsense\n", "?", "?"),
    ],
)
def test_networks(address: str, own: str, wide: str) -> None:
    assert networks(address) == (own, wide)
