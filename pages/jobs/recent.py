"""The newest runs of a page, whoever started them and wherever."""

from __future__ import annotations

from collections.abc import Container, Iterable
from itertools import islice

import streamlit as st

from core.model import RunRecord, RunState
from pages import services
from pages.auth import guard
from pages.widgets import address, view, words

MOST = 10


def render(
    here: services.Services, records: Iterable[RunRecord], path: str, queued: Container[str]
) -> None:
    """Show the first of ``records`` on the page at ``path``; ``queued`` are those that wait."""
    guard.require_operator()
    shown = list(islice(records, MOST))
    if not shown:
        return
    st.subheader("最近の実行", anchor=False)
    with st.container(key="recent", gap=None):
        for record in shown:
            _row(here, record, path, record.run_id in queued)
    address.link(address.RUNS, "すべての実行を見る")


def _row(here: services.Services, record: RunRecord, path: str, queued: bool) -> None:
    when, state, request, requester, files, link = st.columns(
        [1.5, 1.6, 2, 1.6, 2.2, 1.2], vertical_alignment="center"
    )
    when.text(words.moment(record.created_at, here.settings.timezone))
    with state:
        view.state_badge(record.state, queued=queued)
    request.text(record.request.request_id, wrap=False)
    requester.text(record.request.requester, wrap=False)
    numbers = words.count(record.total_files)
    if record.failed_files:
        numbers += f"（失敗 {words.count(record.failed_files)}）"
    files.text(numbers)
    label = "状況を見る" if record.state is RunState.RUNNING else "結果を見る"
    with link:
        address.way_to(record, path, label, key=f"open-{record.run_id}")
