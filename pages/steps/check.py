"""Step 2: what the check found, and the operator's word."""

from __future__ import annotations

import streamlit as st

from core.errors import HimuroError, Severity
from core.jobs import Draft, DraftState
from core.model import Plan, Problem, Standing
from pages.common import guard, services, view, words
from pages.common.routes import file_address, problems_address
from pages.steps import address, upload

_MOST_SHOWN = 1000
"""Problems in the table; all of them are in the download."""
_ORDER = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.NOTE: 2}
_WIDTHS = {
    "一覧名": 110,
    "行": 45,
    "パス": 275,
    "区分": 55,
    "内容": 275,
    "対処": 260,
    "コード": 190,
}


def render(here: services.Services, draft_id: str) -> None:
    """Show a check while it goes on and when it is done."""
    guard.require_operator()
    draft = here.jobs.draft(draft_id)
    if draft is None:
        view.notice(
            "warning",
            "この確認は残っていません。",
            "コンソールが再起動されたか、やり直されました。一覧をもう一度アップロードしてください。",
        )
        st.button("一覧をアップロードする", key="new", type="primary", on_click=address.start_over)
        return
    if draft.state is DraftState.READY and draft.run_id:
        address.show_run(draft.run_id)
        st.rerun()
    st.subheader("2. 確認", anchor=False)
    request = draft.request
    view.facts(
        (
            ("依頼ID", request.request_id),
            ("依頼者", request.requester),
            ("コメント", request.comment),
            ("一覧", "、".join(draft.sources)),
        )
    )
    if draft.state is DraftState.CHECKING:
        _watch(draft_id)
        st.button("やめる", key="redo", on_click=_start_over, args=(draft,))
    elif draft.plan is None:
        view.notice("error", "確認できませんでした。", draft.message)
        _error_log(draft)
        st.button("やり直す", key="redo", on_click=_start_over, args=(draft,))
    else:
        _outcome(draft, draft.plan)


@st.fragment(run_every=1.0)
def _watch(draft_id: str) -> None:
    guard.require_operator()
    draft = services.current().jobs.draft(draft_id)
    if draft is None or draft.state is not DraftState.CHECKING:
        st.rerun()
    doing = draft.progress
    pace = words.pace(doing, None, draft.created_at)
    st.text(doing.phase or "一覧を読んでいます")
    text = f"{doing.done_files:,} / {words.count(doing.total_files)}" if doing.total_files else ""
    st.progress(pace.fraction, text=text or "準備しています")


def _outcome(draft: Draft, plan: Plan) -> None:
    errors = sum(problem.is_error for problem in plan.problems)
    warnings = sum(problem.severity is Severity.WARNING for problem in plan.problems)
    if draft.state is DraftState.REFUSED:
        # This message is the check's own and holds nothing that anybody typed.
        view.notice("error", f"このままでは実行できません。{draft.message}。{_what_to_do(errors)}")
    elif warnings:
        view.notice("warning", "実行できます。注意の内容を確認してください。")
    else:
        view.notice("success", "誤りはありません。実行できます。")
    view.metrics(
        (
            ("対象ファイル", words.count(len(plan.items))),
            ("合計サイズ", words.size(plan.total_bytes)),
            ("新規", words.count(plan.count(Standing.NEW))),
            ("アーカイブ済み", words.count(plan.count(Standing.ARCHIVED))),
            ("変更あり", words.count(plan.count(Standing.CHANGED))),
            ("誤り", words.count(errors)),
            ("注意", words.count(warnings)),
        )
    )
    with st.container(horizontal=True):
        if draft.state is DraftState.READY and st.button(
            "アーカイブを実行する", key="archive", type="primary"
        ):
            _confirm(draft.draft_id)
        st.button("やり直す", key="redo", on_click=_start_over, args=(draft,))
        if plan.problems:
            st.link_button(
                f"{_name(plan.problems)}の一覧をダウンロード（CSV）",
                problems_address(draft.draft_id),
                icon=":material/download:",
                key="problems-csv",
            )
        _error_log(draft)
    _problems(plan.problems)
    _lists(plan)


def _what_to_do(errors: int) -> str:
    if errors:
        return (
            "下の表の「対処」に沿って一覧を直し、「やり直す」からもう一度アップロードしてください。"
        )
    return "「やり直す」から、対象のある一覧をアップロードしてください。"


def _name(problems: tuple[Problem, ...]) -> str:
    """Return what a table of problems is called: nobody shall worry about mere notes."""
    return "お知らせ" if all(p.severity is Severity.NOTE for p in problems) else "問題"


def _error_log(draft: Draft) -> None:
    if draft.run_id:
        st.link_button(
            "エラーログ（error_log.txt）",
            file_address(draft.run_id, "error_log.txt"),
            icon=":material/download:",
            key="draft-log",
        )


def _problems(problems: tuple[Problem, ...]) -> None:
    if not problems:
        return
    st.markdown(f"**{_name(problems)}（{words.count(len(problems))}）**")
    shown = sorted(problems, key=lambda problem: _ORDER[problem.severity])[:_MOST_SHOWN]
    if len(shown) < len(problems):
        st.caption(f"最初の{words.count(_MOST_SHOWN)}を表示しています。すべてはCSVにあります。")
    view.table(
        words.PROBLEM_HEADER,
        map(words.problem_row, shown),
        widths=_WIDTHS,
        row_height=view.TALL,
        alt="見つかった問題",
        key="problems",
    )


def _lists(plan: Plan) -> None:
    if not plan.detected:
        return
    st.markdown("**読み取った一覧**")
    view.table(
        ("一覧名", "文字コード", "形式", "行数"),
        ((d.source, d.encoding, words.FORM_WORDS[d.form], d.rows) for d in plan.detected),
        widths={"文字コード": 140, "形式": 200, "行数": 100},
        formats={"行数": "{:,} 行".format},
        alt="読み取った一覧",
        key="detected",
    )


def _start_over(draft: Draft) -> None:
    guard.require_operator()
    services.current().jobs.discard(draft.draft_id)
    upload.fill_in(draft.request)
    address.start_over()


@st.dialog("アーカイブを実行しますか", width="medium")
def _confirm(draft_id: str) -> None:
    guard.require_operator()
    here = services.current()
    draft = here.jobs.draft(draft_id)
    if draft is None or draft.plan is None:
        st.rerun()
    plan = draft.plan
    view.metrics(
        (
            ("対象ファイル", words.count(len(plan.items))),
            ("合計サイズ", words.size(plan.total_bytes)),
        )
    )
    view.facts((("保存先バケット", here.settings.bucket), ("依頼ID", draft.request.request_id)))
    archived = plan.count(Standing.ARCHIVED)
    if archived:
        st.text(f"うち{words.count(archived)}はアーカイブ済みのため、アップロードしません。")
    st.caption("元のファイルは残ります。実行中でも停止できます。")
    with st.container(horizontal=True, horizontal_alignment="right"):
        back = st.button("戻る", key="confirm-no")
        go = st.button("実行する", key="confirm-yes", type="primary")
    if back:
        st.rerun()
    if go:
        try:
            run_id = here.open_jobs().start(draft_id)
        except HimuroError as exc:
            view.trouble(exc)
            return
        address.show_run(run_id)
        st.rerun()
