"""``/archive``: from a list to its result, in four steps.

Which step is shown follows from the address (``?draft=`` while a list is checked, ``?run=``
afterwards) and from the job queue: a reload, or another operator, sees the same.
"""

from __future__ import annotations

from collections.abc import Container

import streamlit as st

from core.model import RunRecord, RunState
from pages.common import guard, services, view, words
from pages.steps import address, check, progress, result, upload

_RECENT = 10


@view.explained
def render() -> None:
    guard.require_operator()
    st.title("アーカイブ", anchor=False)
    here = services.current()
    jobs = here.open_jobs()
    active = jobs.active()
    run_id, draft_id = address.run(), address.draft()
    if run_id:
        if not any(job.run_id == run_id for job in active):
            result.render(here, run_id)
    elif draft_id:
        check.render(here, draft_id)
    if active:
        progress.render(here, active, run_id)
    else:
        progress.announce_end(jobs)
    if run_id or draft_id:
        if run_id:
            st.button("新しい一覧をアップロードする", key="new", on_click=address.start_over)
    else:
        upload.render(here)
    _recent(here, {job.run_id for job in active if job.queued})


def _recent(here: services.Services, queued: Container[str]) -> None:
    """The newest runs, whoever started them and wherever; ``queued`` are those that wait."""
    records = here.jobs.records(_RECENT)
    if not records:
        return
    st.subheader("最近の実行", anchor=False)
    with st.container(key="recent", gap=None):
        for record in records:
            _recent_row(here, record, record.run_id in queued)
    address.link("runs", "すべての実行を見る")


def _recent_row(here: services.Services, record: RunRecord, queued: bool) -> None:
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
    link.button(
        "状況を見る" if record.state is RunState.RUNNING else "結果を見る",
        key=f"open-{record.run_id}",
        type="tertiary",
        icon=":material/chevron_right:",
        on_click=address.show_run,
        args=(record.run_id,),
    )
