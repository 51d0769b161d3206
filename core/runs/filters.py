"""Which of the past runs somebody wants to see."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from core.model import RunState
from core.paths.normalization import fold
from core.runs.history import DAMAGED, PastRun

STATES = (*(state.value for state in RunState), DAMAGED)
"""What a filter may ask for."""


@dataclass(frozen=True, slots=True)
class RunFilter:
    """What is asked of the past runs. Empty fields do not restrict."""

    kind: str = ""
    state: str = ""
    """One of ``STATES``."""
    person: str = ""
    """Part of the requester's name or of that of who started it."""
    since: datetime | None = None
    """Created at or after; with time zone."""
    until: datetime | None = None
    """Created before; with time zone."""
    text: str = ""
    """Words separated by spaces, all of which must occur in run id, request ID, requester,
    comment or names of lists."""

    def matcher(self) -> Callable[[PastRun], bool]:
        """Return a function that tells whether a run is wanted."""
        person, words = fold(self.person.strip()), [fold(word) for word in self.text.split()]

        def matches(run: PastRun) -> bool:
            return (
                (not self.kind or run.kind == self.kind)
                and (not self.state or run.state == self.state)
                and person in run.people
                and all(word in run.haystack for word in words)
                and self._in_time(run.created_at)
            )

        return matches

    def select(self, runs: Iterable[PastRun]) -> tuple[PastRun, ...]:
        """Return those that match, in their order."""
        return tuple(filter(self.matcher(), runs))

    def _in_time(self, created_at: datetime | None) -> bool:
        if created_at is None:
            return self.since is None and self.until is None
        return (self.since is None or self.since <= created_at) and (
            self.until is None or created_at < self.until
        )
