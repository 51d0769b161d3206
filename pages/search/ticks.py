"""The rows that somebody has ticked: kept over pages and searches, as long as the window."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import streamlit as st

from core.model import Entry

MOST = 10_000
"""Rows that may be ticked at once: each of them is kept in memory."""
_KEY = "ticked"


def ticked() -> tuple[Entry, ...]:
    """Return the ticked rows in the order in which they were ticked."""
    return tuple(_kept().values())


def rows(shown: Sequence[Entry]) -> list[int]:
    """Return which of the rows that are shown are ticked."""
    kept = _kept()
    return [row for row, entry in enumerate(shown) if entry.id in kept]


def take(shown: Sequence[Entry], chosen: Collection[int]) -> bool:
    """Tick exactly these of the rows that are shown; others stay as they are.

    Returns False when there would be too many: the last ones stay without a tick.
    """
    kept = _kept()
    for row, entry in enumerate(shown):
        if row not in chosen:
            kept.pop(entry.id, None)
    for row in sorted(chosen):
        if 0 <= row < len(shown) and (len(kept) < MOST or shown[row].id in kept):
            kept[shown[row].id] = shown[row]
    return all(shown[row].id in kept for row in chosen if 0 <= row < len(shown))


def clear() -> None:
    _kept().clear()


def _kept() -> dict[int, Entry]:
    kept: dict[int, Entry] = st.session_state.setdefault(_KEY, {})
    return kept
