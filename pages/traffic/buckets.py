"""Token buckets: how often something may happen, for one connection and for one address."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable

from core.auth.waiting_line import networks

_MAX_ADDRESSES = 4096
"""Addresses that are remembered; beyond, the one that was longest silent is forgotten."""


class Bucket:
    """A token bucket. It begins full; times are seconds of a clock that never goes back."""

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        """``rate`` tokens are added a second, up to ``burst``."""
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._at = now

    def take(self, now: float) -> bool:
        """Take a token if there is one; return whether there was."""
        self._fill(now)
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def reserve(self, now: float, patience: float) -> float:
        """Take a token, of the future if there is none now; return the seconds until it counts.

        Infinite, and nothing is taken, when that is more than ``patience``. Whoever reserves
        first comes first.
        """
        self._fill(now)
        wait = max(0.0, (1 - self._tokens) / self._rate)
        if wait > patience:
            return math.inf
        self._tokens -= 1
        return wait

    def spend(self, tokens: float, now: float, most_debt: float) -> None:
        """Take tokens away, of the future too as long as no more are owed than ``most_debt``."""
        self._fill(now)
        self._tokens = max(self._tokens - tokens, min(self._tokens, -most_debt))

    def _fill(self, now: float) -> None:
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now


class Address:
    """What is known of one address."""

    __slots__ = ("arrivals", "messages", "refused", "streams", "told")

    def __init__(self, arrivals: Bucket, messages: Bucket) -> None:
        self.arrivals = arrivals
        """For each WebSocket that it opens."""
        self.messages = messages
        """For each message of all its WebSockets that is handed on."""
        self.streams = 0
        """WebSockets that are open."""
        self.refused = 0
        """What was refused since the log was told."""
        self.told = -math.inf
        """When the log was told."""


class Addresses:
    """The addresses that came lately, a bounded number of them."""

    def __init__(self, make: Callable[[], Address], most: int = _MAX_ADDRESSES) -> None:
        """``make`` returns what is known of an address that is not known."""
        self._make = make
        self._most = most
        self._known: OrderedDict[str, Address] = OrderedDict()

    def of(self, client: str) -> Address:
        """Return what is known of an address; of IPv6, of the 64 bits that one customer has."""
        key = networks(client).own
        found = self._known.pop(key, None) or self._make()
        self._known[key] = found
        if len(self._known) > self._most:
            self._forget()
        return found

    def _forget(self) -> None:
        """Forget the one longest silent that has nothing open; the number of those that have is
        bounded by the number of connections."""
        for key, address in self._known.items():
            if not address.streams:
                del self._known[key]
                return
