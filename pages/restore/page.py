"""``/restore``: from a list to files in a directory, over days.

Which part is shown follows from the address (``?draft=`` while a list is checked, ``?run=``
afterwards), from the job queue and from what S3 says: a reload, or another operator, sees the
same.
"""

from __future__ import annotations

import streamlit as st

from core.model import RunKind
from core.restore.status import is_open
from pages import services
from pages.auth import guard
from pages.jobs import check, progress, recent, upload
from pages.restore import opened, overview, plan
from pages.widgets import address, view, words


@view.explained
def render() -> None:
    guard.require_operator()
    st.title("復元", anchor=False)
    if words.rehearsal:
        view.notice("info", words.rehearsal)
    here = services.current()
    jobs = here.open_jobs()
    active = jobs.active()
    run_id, draft_id = address.run(), address.draft()
    if run_id:
        if not any(job.run_id == run_id for job in active):
            opened.render(here, run_id)
    elif draft_id:
        check.render(here, draft_id, RunKind.RESTORE, plan.outcome)
    if active:
        progress.render(here, active, run_id)
    else:
        progress.announce_end(jobs, address.RESTORE)
    if run_id:
        st.button(
            "復元の一覧へ戻る",
            key="new",
            icon=":material/arrow_back:",
            on_click=address.start_over,
        )
        return
    if draft_id:
        return
    records = [
        r.record for r in jobs.listing().runs if r.record and r.record.kind == RunKind.RESTORE
    ]
    queued = {job.run_id for job in active if job.queued}
    overview.render(here, [r for r in records if is_open(r)], queued)
    address.link(
        address.ARCHIVE_LIST,
        "アーカイブ一覧で探す（選んだファイルの一覧を作り、そのままここへ進めます）",
        ":material/search:",
    )
    upload.render(here, upload.RESTORE)
    recent.render(here, (r for r in records if not is_open(r)), address.RESTORE, queued)
