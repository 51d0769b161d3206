"""Step 3: the run that goes on, and those that wait. The same for every operator."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial

import streamlit as st

from core.jobs.queue import Jobs, JobView
from core.model import RunKind, RunState
from pages import services
from pages.auth import guard
from pages.widgets import address, view, words
from pages.widgets.confirmation import Act, confirm

_WATCHED = "watched-run"
"""The run this session has seen going on: its end is announced."""


def render(here: services.Services, active: Sequence[JobView], asked_for: str) -> None:
    """Show the queue. ``asked_for`` is the run of the address, empty when there is none."""
    guard.require_operator()
    ids = tuple(job.run_id for job in active)
    number = ids.index(asked_for) if asked_for in ids else None
    st.session_state[_WATCHED] = active[0].run_id
    if number is None:
        heading = "実行中"
    else:
        heading = "順番待ち" if number else "実行中"
        # A restore has several steps of this kind, so they have no number there.
        heading = heading if active[number].kind == RunKind.RESTORE else f"3. {heading}"
    st.subheader(heading, anchor=False)
    if number:
        st.info(
            f"この依頼は順番を待っています（{number}番目）。前の実行が終わると自動で始まります。",
            icon=":material/hourglass_top:",
        )
    queue(here, active)


def queue(here: services.Services, active: Sequence[JobView]) -> None:
    """Show the run that goes on, with the means to stop it, and those that wait."""
    guard.require_operator()
    with st.container(border=True):
        _watch(tuple(job.run_id for job in active))
        first = active[0]
        if st.button(
            "停止する", key="stop", icon=":material/stop_circle:", disabled=first.stopping
        ):
            _ask_to_stop(first.run_id)
    if len(active) > 1:
        st.markdown(f"**順番を待っている実行（{words.count(len(active) - 1)}）**")
        for place, job in enumerate(active[1:], start=1):
            _waiting(place, job, here)


def announce_end(jobs: Jobs, path: str) -> None:
    """Say that the run this session was watching has ended, until its result was opened.

    ``path``: of the page that says it.
    """
    guard.require_operator()
    run_id = st.session_state.get(_WATCHED, "")
    if run_id and run_id == address.run():
        del st.session_state[_WATCHED]
        return
    record = jobs.record(run_id) if run_id and not address.draft() else None
    if record is None or record.state is RunState.RUNNING:
        return
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        st.text("実行が終わりました。")
        view.state_badge(record.state)
        st.text(f"依頼ID: {record.request.request_id}")
        address.way_to(record, path, "結果を見る", key="ended", type="primary")


@st.fragment(run_every=1.0)
def _watch(ids: tuple[str, ...]) -> None:
    """Show the first of the queue once a second; redraw the page when the queue has moved."""
    guard.require_operator()
    active = services.current().jobs.active()
    if tuple(job.run_id for job in active) != ids:
        st.rerun()
    job = active[0]
    doing = job.progress
    pace = words.pace(doing, job.started_at, datetime.now(UTC))
    timezone = services.current().settings.timezone
    view.facts(
        (
            ("種類", words.kind(job.kind)),
            ("依頼ID", job.request.request_id),
            ("依頼者", job.request.requester),
            ("一覧", "、".join(job.sources)),
            ("開始", words.moment(job.started_at, timezone) if job.started_at else ""),
            ("コメント", job.request.comment),
        )
    )
    phase = "停止しています（処理中のファイルが終わるまでお待ちください）" if job.stopping else ""
    st.progress(
        pace.fraction, text=f"{phase or doing.phase or '準備しています'}　{pace.fraction:.0%}"
    )
    view.metrics(
        (
            ("ファイル", f"{doing.done_files:,} / {words.count(doing.total_files)}"),
            ("サイズ", f"{words.size(doing.done_bytes)} / {words.size(doing.total_bytes)}"),
            ("速度", pace.rate),
            ("件数の速度", pace.file_rate),
            ("残り時間", pace.left),
            ("失敗", words.count(doing.failed_files)),
        )
    )
    with st.container(gap=None):
        st.caption("処理中のファイル")
        st.text(doing.current or words.UNKNOWN, wrap=False)


def _waiting(place: int, job: JobView, here: services.Services) -> None:
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        st.text(f"{place}番目")
        st.text(words.kind(job.kind))
        st.text(f"依頼ID: {job.request.request_id}")
        st.text(f"依頼者: {job.request.requester}")
        st.text(f"{words.count(job.progress.total_files)}、{words.size(job.progress.total_bytes)}")
        st.text(f"受付 {words.moment(job.created_at, here.settings.timezone)}")
        label = "取り消しています" if job.stopping else "取り消す"
        if st.button(label, key=f"cancel-{job.run_id}", disabled=job.stopping):
            _ask_to_stop(job.run_id)


def _ask_to_stop(run_id: str) -> None:
    show = partial(_what_is_stopped, run_id)
    confirm("実行を停止しますか", show, yes="停止する", no="続ける", width="small")


def _what_is_stopped(run_id: str) -> Act:
    """Draw what becomes of a run that is stopped; returns what stops it."""
    jobs = services.current().jobs
    job = next((job for job in jobs.active() if job.run_id == run_id), None)
    if job is None:
        st.rerun()
    view.facts(
        (
            ("種類", words.kind(job.kind)),
            ("依頼ID", job.request.request_id),
            ("依頼者", job.request.requester),
        )
    )
    st.text(_after_stop(job))
    return partial(jobs.stop, run_id)


def _after_stop(job: JobView) -> str:
    """Return what becomes of the files of a run that is stopped."""
    if job.queued:
        when, rest = "この実行はまだ始まっていません。", "すべてのファイル"
    else:
        when, rest = "処理中のファイルが終わってから止まります。", "残り"
    if job.kind == RunKind.RESTORE:
        return f"{when}エラーファイル一覧は作りません。{rest}は復元の画面から続けられます。"
    return f"{when}{rest}はエラーファイル一覧に書き出され、後で再実行できます。"
