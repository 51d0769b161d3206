"""Step 4: how a run ended, its files, and the way on."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import streamlit as st

from core.errors import HimuroError
from core.jobs.queue import Jobs
from core.model import RunKind, RunRecord
from pages import services
from pages.auth import guard
from pages.http.routes import file_address
from pages.widgets import address, view, words

_FILES = ("error_log.txt", "failed_uploads.txt", "report.csv")


def render(here: services.Services, run_id: str) -> None:
    """Show a run that is over."""
    guard.require_operator()
    record = here.jobs.record(run_id)
    if record is None:
        view.notice("warning", "この実行は見つかりません。アドレスを確認してください。")
        return
    if record.kind == RunKind.RESTORE:
        view.notice("info", "これは復元の実行です。")
        address.link(address.RESTORE, "復元の画面で見る", ":material/chevron_right:", run=run_id)
        return
    st.subheader("4. 結果", anchor=False)
    summary(record, here.settings.timezone)
    _downloads(here.jobs, record)
    address.link(address.RUNS, "実行履歴で詳しく見る", run=record.run_id)


def summary(record: RunRecord, timezone: ZoneInfo) -> None:
    """Show whose run it was, how it ended, what to do next, and its numbers."""
    view.facts(
        (
            ("種類", words.kind(record.kind)),
            ("依頼ID", record.request.request_id),
            ("依頼者", record.request.requester),
            ("コメント", record.request.comment),
            ("実行者", record.request.started_by),
            ("一覧", "、".join(record.inputs)),
            ("受付", words.moment(record.created_at, timezone)),
            ("終了", words.moment(record.finished_at, timezone) if record.finished_at else ""),
            ("実行番号", record.run_id),
        )
    )
    headline = f"{words.STATE_WORDS[record.state]}　{words.next_step(record)}"
    view.notice(view.level(record.state), headline, record.message)
    view.metrics(words.numbers(record))


def _downloads(jobs: Jobs, record: RunRecord) -> None:
    with st.container(horizontal=True):
        if jobs.file(record.run_id, "failed_uploads.txt"):
            st.button(
                "エラーファイル一覧で再実行する",
                key="retry",
                type="primary",
                icon=":material/replay:",
                on_click=_retry,
                args=(record.run_id,),
            )
        for name in _FILES:
            if jobs.file(record.run_id, name):
                st.link_button(
                    words.file_label(name),
                    file_address(record.run_id, name),
                    icon=":material/download:",
                    key=f"file-{name.partition('.')[0]}",
                )
    problem = st.session_state.pop("retry-problem", "")
    if problem:
        view.notice("error", "再実行できませんでした。", problem)


def _retry(run_id: str) -> None:
    """Check the error file list of this run; its outcome is shown next."""
    guard.require_operator()
    try:
        draft_id = services.current().open_jobs().retry(run_id, guard.seat())
    except HimuroError as exc:
        st.session_state["retry-problem"] = str(exc)
        return
    address.show_draft(draft_id)
