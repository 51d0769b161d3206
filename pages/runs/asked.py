"""What the address of ``/runs`` asks for. People type addresses: nothing in it is believed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import streamlit as st

from core.paths.normalization import typed
from core.runs.filters import STATES, RunFilter
from pages.auth import guard
from pages.widgets import address, view
from pages.widgets.address import word

MAX_LETTERS = 200
"""That somebody can type into a field."""
FILTERS = ("kind", "state", "person", "from", "to", "text")
"""Parameters that restrict the list."""
_OF_A_RUN = ("run", "log", "code", "file")


@dataclass(frozen=True, slots=True)
class Asked:
    """The list that is asked for."""

    kind: str = ""
    state: str = ""
    person: str = ""
    first: date | None = None
    """First day, in the time zone of the settings; None: from the beginning."""
    last: date | None = None
    """Last day, inclusive; None: until now."""
    text: str = ""
    page: int = 1

    def run_filter(self, timezone: ZoneInfo) -> RunFilter:
        return RunFilter(
            kind=self.kind,
            state=self.state,
            person=self.person,
            since=_midnight(self.first, 0, timezone),
            until=_midnight(self.last, 1, timezone),
            text=self.text,
        )

    @property
    def restricted(self) -> bool:
        return self != Asked(page=self.page)


def current(kinds: Collection[str]) -> Asked:
    """Return what the address asks for; whatever makes no sense restricts nothing."""
    kind, state = word("kind"), word("state")
    return Asked(
        kind=kind if kind in kinds else "",
        state=state if state in STATES else "",
        person=word("person"),
        first=_day(word("from")),
        last=_day(word("to")),
        text=word("text"),
        page=view.page_number(word("page")),
    )


def put(**values: str) -> None:
    """Change parameters of the address, as ``address.put`` does."""
    guard.require_operator()
    address.put(**values)


def changed(name: str, key: str) -> None:
    """Take over what a widget now holds; another filter begins at its first page."""
    guard.require_operator()
    value = st.session_state[key]
    text = value.isoformat() if isinstance(value, date) else typed(str(value or ""))
    (address.ask if name in FILTERS else address.put)(**{name: text[:MAX_LETTERS]})


def clear() -> None:
    """Show everything."""
    guard.require_operator()
    address.ask(**dict.fromkeys(FILTERS, ""))


def open_run(run_id: str) -> None:
    """Show one run; the list keeps its filters for the way back."""
    guard.require_operator()
    address.put(run=run_id)


def leave_run() -> None:
    """Show the list again, as it was."""
    guard.require_operator()
    address.put(**dict.fromkeys(_OF_A_RUN, ""))


def _day(text: str) -> date | None:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    return day if 1970 <= day.year <= 2999 else None


def _midnight(day: date | None, days_later: int, timezone: ZoneInfo) -> datetime | None:
    return datetime.combine(day + timedelta(days=days_later), time(), timezone) if day else None
