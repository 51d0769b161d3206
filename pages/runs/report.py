"""One run of ``/runs``: how it went, why files failed, its log and its files."""

from __future__ import annotations

import streamlit as st

from core.errors import HimuroError
from core.model import RunKind, RunState
from core.runs.history import PastRun
from pages import services
from pages.auth import guard
from pages.http.routes import file_address, zip_address
from pages.jobs import progress, result
from pages.runs import asked, log
from pages.widgets import address, view, words


def render(here: services.Services, run_id: str) -> None:
    """Show one run, whatever its state."""
    guard.require_operator()
    st.button("一覧へ戻る", key="back", icon=":material/arrow_back:", on_click=asked.leave_run)
    run = here.jobs.past(run_id)
    if run is None:
        view.notice("warning", "この実行は見つかりません。アドレスを確認してください。")
        return
    active = here.open_jobs().active()
    if any(job.run_id == run_id for job in active):
        st.subheader("実行中", anchor=False)
        progress.queue(here, active)
    elif run.record is None:
        _damaged(run)
    else:
        # The list does without the settings, this page does not.
        record = here.jobs.record(run_id) or run.record
        result.summary(record, here.settings.timezone)
        if record.state is RunState.RUNNING:
            _until_it_ends(run_id)
        elif record.kind == RunKind.RESTORE:
            label = "復元の画面で見る（配置、再要求）"
            address.link(address.RESTORE, label, ":material/chevron_right:", run=run_id)
        else:
            _retry(here, run_id)
    log.render(here, run_id)
    _files(here, run)
    if run.record is not None:
        _settings(here, run_id)


@st.fragment(run_every=3.0)
def _until_it_ends(run_id: str) -> None:
    """Draw the page anew when a run of another process has ended."""
    guard.require_operator()
    record = services.current().jobs.record(run_id)
    if record is None or record.state is not RunState.RUNNING:
        st.rerun()


def _damaged(run: PastRun) -> None:
    view.notice(
        "error",
        "この実行の記録は破損しています。ほかの実行には影響しません。",
        f"{run.run_id}: {run.damage}\n"
        "残っているファイルは、下からダウンロードできます。"
        "アーカイブできたファイルは、アーカイブ一覧で確認できます。",
    )


def _retry(here: services.Services, run_id: str) -> None:
    """Check the error file list again; what comes of it is shown on ``/archive``."""
    if not here.jobs.file(run_id, "failed_uploads.txt"):
        return
    pressed = st.button(
        "エラーファイル一覧で再実行する", key="retry", type="primary", icon=":material/replay:"
    )
    if not pressed:
        return
    try:
        draft_id = here.open_jobs().retry(run_id, guard.seat())
    except HimuroError as exc:
        view.notice("error", "再実行できませんでした。", str(exc))
        return
    st.switch_page(address.page(address.ARCHIVE), query_params={"draft": draft_id})


def _files(here: services.Services, run: PastRun) -> None:
    st.subheader("ファイル", anchor=False)
    files = here.jobs.files(run.run_id)
    if not files:
        st.text("ファイルはありません。")
        return
    if run.state == RunState.RUNNING:
        st.text("実行が終わると、ここからダウンロードできます。")
        return
    with st.container(horizontal=True):
        st.link_button(
            "すべてのファイル（zip）",
            zip_address(run.run_id),
            icon=":material/folder_zip:",
            key="all-files",
            type="primary",
        )
        for path, size in files:
            st.link_button(
                f"{words.file_label(path.name)}　{words.size(size)}",
                file_address(run.run_id, path.name),
                icon=":material/download:",
                key=f"file-{path.name.replace('.', '-')}",
            )


def _settings(here: services.Services, run_id: str) -> None:
    record = here.jobs.record(run_id)
    if record is None or not record.settings:
        return
    with st.expander("実行したときの設定"):
        view.table(
            ("設定", "値"),
            record.settings.items(),
            widths={"設定": 250},
            alt="実行したときの設定",
            key="settings",
        )
