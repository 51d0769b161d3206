"""Whose turn it is at an account that many addresses try at once.

Comparisons of passwords are given out at one rate, however many ask: an account has ``BURST``
of them in store, and one more comes every ``EVERY`` seconds. While there is one, whoever asks
has it. When there is none, whoever asks takes a place in the line; each one that comes is given
to the place that is first, and kept for it for ``KEPT`` seconds, so that nobody has to ask in
the right moment, and whoever asks faster gets nothing by it.

First is who failed least often at this account within a day; among those, whose neighbourhood
(/24, or /48 of IPv6) has least failures and least others in the line; among those, who asked
first. An address that goes on guessing falls
behind every address that has not guessed yet. A newcomer therefore waits for one turn, however
many addresses keep trying, and for one more for each address that, like his own, has not failed
yet and asked before him.
"""

from __future__ import annotations

import ipaddress
from bisect import bisect, insort
from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

EVERY = 30.0
"""Seconds from one comparison to the next: 2,880 a day."""
BURST = 50
"""Comparisons that come at once after 25 quiet minutes."""
KEPT = 600.0
"""Seconds for which a turn may be taken; one that is not counts as a failure."""
_REMEMBERED = 86400.0
"""Seconds after which a place without a failure begins anew."""
_MAX_PLACES = 2000
"""Addresses that wait for their turn at one account, some 300 bytes each."""
_MAX_PLACES_IN_ALL = 20_000


@dataclass(slots=True)
class _Place:
    """What one network did at one account. Times as ``Throttle``'s clock gives them."""

    wide: str
    failures: int = 0
    failed_at: float = 0.0
    waits: _Order | None = None
    """Where it stands in the line; None when it does not wait."""
    turn_until: float = 0.0
    """A comparison may be had until then; 0 when none is kept."""


_Order = tuple[int, int, int]
"""Failures of the place, of its neighbourhood when it came, and which question that was."""


class Networks(NamedTuple):
    """One customer's network, and the neighbourhood that many of them may share."""

    own: str
    wide: str


@lru_cache(maxsize=4096)
def networks(address: str) -> Networks:
    """Return an IPv4 address and its /24, or the /64 and the /48 of an IPv6 one; ``?`` for
    what is no address."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return Networks("?", "?")
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is None:
            return Networks(_cut(parsed, 64), _cut(parsed, 48))
        parsed = parsed.ipv4_mapped
    return Networks(str(parsed), _cut(parsed, 24))


def _cut(address: ipaddress.IPv4Address | ipaddress.IPv6Address, bits: int) -> str:
    rest = address.max_prefixlen - bits
    return str(ipaddress.ip_network((int(address) >> rest << rest, bits)))


@dataclass(slots=True)
class _Line:
    """The line of one account."""

    since: float
    """Since when it has saved time up: a comparison costs ``EVERY`` seconds of it."""
    places: OrderedDict[str, _Place] = field(default_factory=OrderedDict)
    """By network; whoever asked longest ago comes first."""
    waiting: list[tuple[_Order, str]] = field(default_factory=list)
    """In their order, with their networks."""
    wide: Counter[str] = field(default_factory=Counter)
    """Failures, and places in the line, of each neighbourhood."""
    questions: int = 0

    def ask(self, network: str, now: float) -> float:
        """Return 0 and take a comparison, or else the seconds until there is one for it."""
        place = self.places[network]
        self._give_out(now)
        self._forget(place, now)
        if place.turn_until:
            place.turn_until = 0.0
        elif now - self.since >= EVERY:
            self.since += EVERY
        else:
            return self._wait(network, place, now)
        self._failed(place, 1, now)
        return 0.0

    def _give_out(self, now: float) -> None:
        """Give what has come meanwhile to those who are first, and keep the rest."""
        while self.waiting and now - self.since >= EVERY:
            _order, network = self.waiting.pop(0)
            first = self.places[network]
            first.waits, first.turn_until = None, now + KEPT
            self.wide[first.wide] -= 1
            self.since += EVERY
        self.since = max(self.since, now - BURST * EVERY)

    def _wait(self, network: str, place: _Place, now: float) -> float:
        if place.waits is None:
            self.questions += 1
            place.waits = (place.failures, self.wide[place.wide], self.questions)
            insort(self.waiting, (place.waits, network))
            self.wide[place.wide] += 1
        ahead = bisect(self.waiting, (place.waits, ""))
        return self.since + (ahead + 1) * EVERY - now

    def _forget(self, place: _Place, now: float) -> None:
        """Bring a place up to date: what is older than a day, and a turn that nobody took."""
        if place.turn_until and place.turn_until < now:
            place.turn_until = 0.0
            self._failed(place, 1, now)
        if place.failures and now - place.failed_at > _REMEMBERED:
            self._failed(place, -place.failures, place.failed_at)

    def _failed(self, place: _Place, times: int, when: float) -> None:
        place.failures += times
        place.failed_at = when
        self.wide[place.wide] += times
        if self.wide[place.wide] <= 0:
            del self.wide[place.wide]

    def answered(self, place: _Place, *, kept: bool, now: float) -> None:
        """Take a failure back; ``kept``: nothing was compared, and the turn stays."""
        if place.failures:
            self._failed(place, -1, place.failed_at)
        if kept:
            place.turn_until = now + KEPT
        else:
            self.since -= EVERY

    def make_room(self, wide: str, now: float) -> bool:
        """Forget one place for a newcomer from ``wide``; False when all are before him.

        It is the one that asked longest ago and waits for nothing, or else the last in line.
        """
        for network, place in self.places.items():
            if not place.waits and place.turn_until < now:
                self._failed(place, -place.failures, 0.0)
                del self.places[network]
                return True
        if not self.waiting or self.waiting[-1][0] < (0, self.wide[wide], self.questions + 1):
            return False
        _order, network = self.waiting.pop()
        last = self.places.pop(network)
        self._failed(last, -last.failures - 1, 0.0)
        return True


class WaitingLines:
    """The lines of all accounts. Not for several threads at once; ``now`` never goes back."""

    def __init__(self) -> None:
        self._lines: OrderedDict[str, _Line] = OrderedDict()
        self._places = 0
        self._forgotten = float("-inf")
        """When a line was last asked that had to go since. A line that is made anew begins as if
        it had been emptied then: forgetting never gives a guess away."""

    def ask(self, account: str, address: str, now: float) -> float:
        """Return 0 when a password may be compared, which then counts as failed; otherwise the
        seconds after which to come back, within ``KEPT`` seconds."""
        own, wide = networks(address)
        line = self._line(account, now)
        place = line.places.get(own)
        if place is None:
            if len(line.places) >= _MAX_PLACES:
                if not line.make_room(wide, now):
                    return EVERY * len(line.waiting)
                self._places -= 1
            place = line.places[own] = _Place(wide)
            self._places += 1
            self._bound(account)
        line.places.move_to_end(own)
        return line.ask(own, now)

    def succeeded(self, account: str, address: str, now: float) -> None:
        """Take the failure of an attempt back, and give its comparison to the next one."""
        self._answered(account, address, kept=False, now=now)

    def withdrawn(self, account: str, address: str, now: float) -> None:
        """Take an attempt back that was not looked at: it has its turn still."""
        self._answered(account, address, kept=True, now=now)

    def _answered(self, account: str, address: str, *, kept: bool, now: float) -> None:
        line = self._lines.get(account)
        place = line.places.get(networks(address).own) if line else None
        if line and place:
            line.answered(place, kept=kept, now=now)

    def _line(self, account: str, now: float) -> _Line:
        line = self._lines.get(account)
        if line is None:
            line = self._lines[account] = _Line(max(self._forgotten, now - BURST * EVERY))
        self._lines.move_to_end(account)
        return line

    def _bound(self, account: str) -> None:
        while self._places > _MAX_PLACES_IN_ALL and len(self._lines) > 1:
            oldest, line = next(iter(self._lines.items()))
            if oldest == account:
                return
            del self._lines[oldest]
            self._places -= len(line.places)
            self._forgotten = max(self._forgotten, line.since)
