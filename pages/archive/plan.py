"""Step 2 of an archive run: what the check found, and the operator's word."""

from __future__ import annotations

from functools import partial

import streamlit as st

from core.errors import Severity
from core.jobs.pending_checks import Draft, DraftState
from core.model import ArchiveStatus, Plan
from pages import services
from pages.jobs import check
from pages.widgets import view, words
from pages.widgets.confirmation import Act, confirm

_NOTHING = "「やり直す」から、対象のある一覧をアップロードしてください。"


def outcome(_here: services.Services, draft: Draft) -> None:
    """Show what would be archived, or why nothing can be."""
    plan = draft.plan
    if not isinstance(plan, Plan):
        return
    errors = sum(problem.is_error for problem in plan.problems)
    warnings = sum(problem.severity is Severity.WARNING for problem in plan.problems)
    if draft.state is DraftState.REFUSED:
        # This message is the check's own and holds nothing that anybody typed.
        how = check.what_to_do(plan) if errors else _NOTHING
        view.notice("error", f"このままでは実行できません。{draft.message}。{how}")
    elif warnings:
        view.notice("warning", "実行できます。注意の内容を確認してください。")
    else:
        view.notice("success", "誤りはありません。実行できます。")
    view.metrics(
        (
            ("対象ファイル", words.count(len(plan.items))),
            ("合計サイズ", words.size(plan.total_bytes)),
            ("新規", words.count(plan.count(ArchiveStatus.NEW))),
            ("アーカイブ済み", words.count(plan.count(ArchiveStatus.ARCHIVED))),
            ("変更あり", words.count(plan.count(ArchiveStatus.CHANGED))),
            ("誤り", words.count(errors)),
            ("注意", words.count(warnings)),
        )
    )
    check.hidden_rows(draft, plan)
    with st.container(horizontal=True):
        if draft.state is DraftState.READY and st.button(
            "アーカイブを実行する", key="archive", type="primary"
        ):
            show = partial(_confirm, draft.draft_id)
            confirm("アーカイブを実行しますか", show, yes="実行する")
        check.ways_on(draft, plan)
    check.problems(plan.problems)
    check.lists(plan.detected)


def _confirm(draft_id: str) -> Act:
    """Draw what is about to be archived; returns what begins the run."""
    here = services.current()
    draft = here.jobs.draft(draft_id)
    if draft is None or not isinstance(draft.plan, Plan):
        st.rerun()
    plan = draft.plan
    view.metrics(
        (
            ("対象ファイル", words.count(len(plan.items))),
            ("合計サイズ", words.size(plan.total_bytes)),
        )
    )
    view.facts((("保存先バケット", here.settings.bucket), ("依頼ID", draft.request.request_id)))
    archived = plan.count(ArchiveStatus.ARCHIVED)
    if archived:
        st.text(f"うち{words.count(archived)}はアーカイブ済みのため、アップロードしません。")
    st.caption("元のファイルは残ります。実行中でも停止できます。")
    return partial(here.open_jobs().start, draft_id)
