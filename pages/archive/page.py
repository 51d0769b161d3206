"""``/archive``: from a list to its result, in four steps.

Which step is shown follows from the address (``?draft=`` while a list is checked, ``?run=``
afterwards) and from the job queue: a reload, or another operator, sees the same.
"""

from __future__ import annotations

import streamlit as st

from core.model import RunKind
from pages import services
from pages.archive import plan
from pages.auth import guard
from pages.jobs import check, progress, recent, result, upload
from pages.widgets import address, view


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
        check.render(here, draft_id, RunKind.ARCHIVE, plan.outcome)
    if active:
        progress.render(here, active, run_id)
    else:
        progress.announce_end(jobs, address.ARCHIVE)
    if run_id or draft_id:
        if run_id:
            st.button("新しい一覧をアップロードする", key="new", on_click=address.start_over)
    else:
        upload.render(here, upload.ARCHIVE)
    ours = jobs.newest(recent.MOST, lambda kind: kind != RunKind.RESTORE)
    recent.render(here, ours, address.ARCHIVE, {job.run_id for job in active if job.queued})
