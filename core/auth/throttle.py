"""Against guessing of passwords: who failed too often has to wait.

Three things are counted, in memory:

- an account from one seat (address, or a browser that has signed in to it before): after 5
  failures each further one costs 30 s, then twice as long, up to 15 minutes;
- an address, whatever account: after 30 failures 60 s and more. One machine cannot try every
  name;
- an account from everywhere (``core/auth/waiting_line.py``): 50 comparisons, and one more every 30
  seconds, 2,930 in a day at most, whatever the number of addresses. They are given out in turn.
  Somebody who comes from an address that has not failed at this account today has his password
  looked at within 30 seconds while other addresses keep guessing that have, of which 2,000 are
  remembered. Those that have not failed yet and asked before him come first, 30 seconds each;
  elsewhere than in his own neighbourhood (/24, /48) only one of each neighbourhood does. So an
  attacker can spend each address on him once a day: forty cost him that one turn (they have
  been through the store, and have failed), five hundred that begin a moment before him, each from
  another neighbourhood or all from his own, up to four hours, once.

What remains: who guesses from the owner's own address (behind the same gateway, say) makes him
wait up to 15 minutes there, and may do so again and again. A browser that has signed in before
carries a device cookie (OWASP, "Slow Down Online Guessing Attacks with Device Cookies") and is
counted for itself alone: nobody else's failures, be it from the same address, lock it out. Names
that do not exist are counted like those that do.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from core.auth.waiting_line import WaitingLines, networks

_MAX_KEYS = 20_000
"""Of each kind; beyond, the one that failed longest ago is forgotten."""


@dataclass(frozen=True, slots=True)
class _Rule:
    """After ``free`` failures one has to wait. Times in seconds."""

    free: int
    first: float
    most: float
    forget: float
    """A count without a failure for so long begins anew; more than ``most``."""

    def delay(self, failures: int) -> float:
        if failures < self.free:
            return 0.0
        return min(self.most, self.first * float(1 << min(failures - self.free, 20)))


_SEAT = _Rule(free=5, first=30, most=900, forget=3600)
_ADDRESS = _Rule(free=30, first=60, most=900, forget=3600)


class _Counts:
    """Failures under one rule."""

    def __init__(self, rule: _Rule) -> None:
        self._rule = rule
        self._failed: OrderedDict[str, tuple[int, float]] = OrderedDict()
        """Number and time of the last one."""

    def wait(self, key: str, now: float) -> float:
        """Return the seconds until the next attempt."""
        failures, last = self._failed.get(key, (0, now))
        if now - last > self._rule.forget:
            del self._failed[key]
            return 0.0
        return max(0.0, last + self._rule.delay(failures) - now)

    def failed(self, key: str, now: float) -> None:
        failures, _last = self._failed.pop(key, (0, now))
        self._failed[key] = (failures + 1, now)
        if len(self._failed) > _MAX_KEYS:
            self._failed.popitem(last=False)

    def forgive(self, key: str) -> None:
        """Take the latest failure back."""
        failures, last = self._failed.get(key, (0, 0.0))
        if failures > 1:
            self._failed[key] = (failures - 1, last)
        else:
            self._failed.pop(key, None)

    def clear(self, key: str) -> None:
        self._failed.pop(key, None)


class Throttle:
    """Counts attempts; ``clock`` is in seconds and never goes back."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._seats = _Counts(_SEAT)
        self._addresses = _Counts(_ADDRESS)
        self._lines = WaitingLines()

    def attempt(self, account: str, address: str, device: str = "") -> float:
        """Return 0 when an attempt may be made, which then counts as failed until
        ``succeeded``; otherwise the seconds to wait, and nothing is counted.

        Counting first leaves no gap in which many attempts pass at once. ``device`` names a
        browser known to have signed in to this account.
        """
        with self._lock:
            now = self._clock()
            counters = self._counters(account, address, device)
            wait = max(counts.wait(key, now) for counts, key in counters)
            if wait <= 0 and not device:
                wait = self._lines.ask(account, address, now)
            if wait <= 0:
                for counts, key in counters:
                    counts.failed(key, now)
            return wait

    def succeeded(self, account: str, address: str, device: str = "") -> None:
        """Take the attempt back, and what this seat did wrong before.

        The address keeps its other failures: who has one account may not reset the count of
        guesses at all the others.
        """
        with self._lock:
            (seats, seat), *others = self._counters(account, address, device)
            seats.clear(seat)
            for counts, key in others:
                counts.forgive(key)
            if not device:
                self._lines.succeeded(account, address, self._clock())

    def withdrawn(self, account: str, address: str, device: str = "") -> None:
        """Take an attempt back that was not looked at after all."""
        with self._lock:
            for counts, key in self._counters(account, address, device):
                counts.forgive(key)
            if not device:
                self._lines.withdrawn(account, address, self._clock())

    def _counters(self, account: str, address: str, device: str) -> list[tuple[_Counts, str]]:
        if device:
            return [(self._seats, f"{account}\n\n{device}")]
        place = networks(address).own
        return [(self._seats, f"{account}\n{place}"), (self._addresses, place)]
