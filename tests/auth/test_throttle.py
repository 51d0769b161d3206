"""How long somebody who guesses has to wait; the clock is turned by hand."""

from __future__ import annotations

import pytest

from core.auth.throttle import Throttle
from core.auth.waiting_line import networks
from tests.support.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def throttle(clock: Clock) -> Throttle:
    return Throttle(clock)


def tries(throttle: Throttle, account: str, address: str, number: int) -> int:
    """Make attempts that fail; returns how many were looked at."""
    return sum(throttle.attempt(account, address) == 0 for _ in range(number))


def test_five_mistakes_then_longer_and_longer(throttle: Throttle, clock: Clock) -> None:
    assert tries(throttle, "tanaka", "10.0.0.1", 100) == 5
    waits = []
    for _ in range(8):
        wait = throttle.attempt("tanaka", "10.0.0.1")
        waits.append(wait)
        clock.now += wait
        assert throttle.attempt("tanaka", "10.0.0.1") == 0
    assert waits == [30, 60, 120, 240, 480, 900, 900, 900]


def test_a_wait_is_not_prolonged_by_asking(throttle: Throttle, clock: Clock) -> None:
    tries(throttle, "tanaka", "10.0.0.1", 5)
    clock.now += 20
    assert tries(throttle, "tanaka", "10.0.0.1", 50) == 0
    clock.now += 10
    assert throttle.attempt("tanaka", "10.0.0.1") == 0


def test_success_begins_anew(throttle: Throttle) -> None:
    for _ in range(5):
        assert tries(throttle, "tanaka", "10.0.0.1", 4) == 4
        assert throttle.attempt("tanaka", "10.0.0.1") == 0
        throttle.succeeded("tanaka", "10.0.0.1")
    assert tries(throttle, "tanaka", "10.0.0.1", 10) == 5


def test_an_hour_of_peace_begins_anew(throttle: Throttle, clock: Clock) -> None:
    tries(throttle, "tanaka", "10.0.0.1", 5)
    clock.now += 3601
    assert tries(throttle, "tanaka", "10.0.0.1", 10) == 5


def test_nobody_is_locked_out_by_somebody_elsewhere(throttle: Throttle) -> None:
    tries(throttle, "tanaka", "203.0.113.9", 1000)
    assert throttle.attempt("tanaka", "10.0.0.1") == 0
    assert throttle.attempt("sato", "10.0.0.1") == 0


def test_one_machine_cannot_try_every_name(throttle: Throttle, clock: Clock) -> None:
    looked_at = sum(throttle.attempt(f"user{n}", "203.0.113.9") == 0 for n in range(1000))
    assert looked_at == 30
    assert throttle.attempt("another", "203.0.113.9") == 60


def test_own_success_does_not_reset_the_address(throttle: Throttle) -> None:
    for n in range(29):
        assert throttle.attempt(f"user{n}", "203.0.113.9") == 0
    assert throttle.attempt("mallory", "203.0.113.9") == 0
    throttle.succeeded("mallory", "203.0.113.9")
    assert throttle.attempt("x", "203.0.113.9") == 0
    assert throttle.attempt("y", "203.0.113.9") == 60


def test_many_machines_together_are_slow(throttle: Throttle, clock: Clock) -> None:
    """A day with a thousand addresses against one account."""
    looked_at, end = 0, clock.now + 86400
    while clock.now < end:
        for n in range(0, 1000, 50):
            looked_at += throttle.attempt("tanaka", f"203.0.{n // 250}.{n % 250}") == 0
        clock.now += 30
    assert 2000 < looked_at < 3500


def test_a_known_browser_is_counted_for_itself(throttle: Throttle) -> None:
    for n in range(200):
        throttle.attempt("tanaka", f"203.0.113.{n}")
        throttle.attempt("tanaka", "10.0.0.1")
    assert throttle.attempt("tanaka", "10.0.0.1") > 0
    assert throttle.attempt("tanaka", "10.0.0.1", "browser") == 0
    assert sum(throttle.attempt("tanaka", "10.0.0.1", "browser") == 0 for _ in range(99)) == 4


def test_memory_is_bounded(throttle: Throttle) -> None:
    tries(throttle, "tanaka", "10.0.0.1", 5)
    for n in range(20_100):
        throttle.attempt(f"user{n}", f"2001:db8:{n // 5000:x}:{n % 5000:x}::1")
    assert len(throttle._seats._failed) == 20_000
    assert len(throttle._addresses._failed) == 20_000


@pytest.mark.parametrize(
    ("address", "same"),
    [
        ("10.0.0.1", "::ffff:10.0.0.1"),
        ("2001:db8::1", "2001:db8::ffff:1"),
        ("", "nonsense"),
        ("testclient", "10.0.0.256"),
    ],
)
def test_one_customer_is_one_place(address: str, same: str) -> None:
    assert networks(address).own == networks(same).own


def test_different_customers_are_not() -> None:
    places = ["10.0.0.1", "10.0.0.2", "2001:db8::1", "2001:db8:0:1::1", "?"]
    assert len({networks(place).own for place in places}) == len(places)
