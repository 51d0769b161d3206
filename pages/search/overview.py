"""What lies in the archive, in a few numbers and a chart: shown when nothing is asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date

import pandas as pd
import streamlit as st

from core.clock import utc_now
from core.search.statistics import Amount, Numbers
from pages import services
from pages.search import counted
from pages.widgets import view, words

_MONTHS = 24
"""Shown in the chart, the last of them this one."""
_HEIGHT = 125
_FILES, _BYTES = "ファイル数", "容量"
_UNITS = ("バイト", "KB", "MB", "GB", "TB")


def render(here: services.Services) -> None:
    """Show the numbers; nothing while the list is empty."""
    numbers = counted.current(here)
    if numbers is None or not numbers.folders.root.files:
        return
    this_month = utc_now().astimezone(here.settings.timezone).date().replace(day=1)
    left, right = st.columns([5, 8], gap="medium")
    with left:
        _figures(numbers, this_month)
        st.caption(f"{words.moment(numbers.as_of, here.settings.timezone)} 時点")
    with right:
        _chart(numbers, this_month)


def _figures(numbers: Numbers, this_month: date) -> None:
    root = numbers.folders.root
    new = numbers.months.get(this_month, Amount())
    view.metrics((("ファイル", words.count(root.files)), ("容量", words.size(root.size))))
    recent = f"{words.count(new.files)}（{words.size(new.size)}）"
    view.metrics((("今月のファイル", recent), ("フォルダー", words.count(len(numbers.folders)))))


def _chart(numbers: Numbers, this_month: date) -> None:
    """Bars of the last months, by what the reader chooses."""
    heading, choice = st.columns([2, 1], vertical_alignment="center")
    with choice.container(horizontal=True, horizontal_alignment="right"):
        shown = st.segmented_control(
            "グラフに表示するもの",
            (_FILES, _BYTES),
            default=_FILES,
            required=True,
            key="overview-chart",
            label_visibility="collapsed",
        )
    last = max(this_month, *numbers.months)
    months = [_earlier(last, back) for back in reversed(range(_MONTHS))]
    amounts = [numbers.months.get(month, Amount()) for month in months]
    unit, value = _scale(amounts, shown or _FILES)
    heading.caption(f"月ごとの{shown or _FILES}（{unit}、最近{_MONTHS}か月）")
    frame = pd.DataFrame(
        {
            "月": [f"{month:%Y/%m}" for month in months],
            "値": [value(amount) for amount in amounts],
            _FILES: [words.count(amount.files) for amount in amounts],
            _BYTES: [f"{words.size(a.size)}（{a.size:,} バイト）" for a in amounts],
        }
    )
    total = sum(amount.files for amount in amounts)
    st.vega_lite_chart(
        frame,
        _specification([f"{month:%Y/%m}" for month in months if month.month % 3 == 1]),
        height=_HEIGHT,
        alt=f"最近{_MONTHS}か月に、月ごとにアーカイブしたファイル。合計 {words.count(total)}",
        key="overview-months",
    )


def _scale(amounts: Sequence[Amount], shown: str) -> tuple[str, Callable[[Amount], float]]:
    """Return the unit of the chart's axis and how much of it an amount has."""
    if shown == _FILES:
        return "件", lambda amount: amount.files
    most = max(amount.size for amount in amounts)
    power = min(max(most.bit_length() - 1, 0) // 10, len(_UNITS) - 1)
    return _UNITS[power], lambda amount: amount.size / 1024**power


def _earlier(month: date, back: int) -> date:
    """Return the first day of a month so many months ago."""
    number = month.year * 12 + month.month - 1 - back
    return date(number // 12, number % 12 + 1, 1)


def _specification(labelled: Sequence[str]) -> dict[str, object]:
    """Return the chart for Vega-Lite; its texts are ours, all names of fields included."""
    return {
        "mark": {"type": "bar", "color": st.get_option("theme.primaryColor")},
        "encoding": {
            "x": {
                "field": "月",
                "type": "ordinal",
                "sort": None,
                "axis": {"title": None, "labelAngle": 0, "values": list(labelled)},
            },
            "y": {
                "field": "値",
                "type": "quantitative",
                "axis": {"title": None, "tickCount": 3, "tickMinStep": 1},
            },
            "tooltip": [{"field": name, "type": "nominal"} for name in ("月", _FILES, _BYTES)],
        },
    }
