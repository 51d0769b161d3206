"""Step 2: the check of a list, whatever it is for. What it found is shown by each kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import streamlit as st

from core.errors import Code, HimuroError, Severity
from core.jobs.pending_checks import Draft, DraftState
from core.model import DetectedList, HiddenRows, Problem
from core.runs.base import AnyPlan
from pages import services
from pages.auth import guard
from pages.http.routes import file_address, problems_address
from pages.jobs import upload
from pages.widgets import address, view, words

_MAX_SHOWN = 1000
"""Problems in the table; all of them are in the download."""
_UNDECIDED = "hidden-rows-problem"
_DECISIONS = (
    ("隠れている行も含める", HiddenRows.INCLUDE),
    ("隠れている行を除く", HiddenRows.EXCLUDE),
)
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


def render(
    here: services.Services,
    draft_id: str,
    kind: str,
    outcome: Callable[[services.Services, Draft], None],
) -> None:
    """Show a check while it goes on and, by ``outcome``, when it is done.

    One that is for another ``kind`` is shown on the page of that.
    """
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
    if draft.kind != kind:
        view.notice("info", f"これは{words.kind(draft.kind)}の一覧の確認です。")
        label = f"{words.kind(draft.kind)}の画面で見る"
        address.link(address.of_kind(draft.kind), label, ":material/chevron_right:", draft=draft_id)
        return
    if draft.state is DraftState.READY and draft.run_id:
        address.show_run(draft.run_id)
        st.rerun()
    # A list that the uploader refused is not among them.
    st.subheader(f"2. 確認（一覧 {words.count(len(draft.sources))}）", anchor=False)
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
        st.button("やめる", key="redo", on_click=start_over, args=(draft,))
    elif draft.plan is None:
        view.notice("error", "確認できませんでした。", draft.message)
        error_log(draft)
        st.button("やり直す", key="redo", on_click=start_over, args=(draft,))
    else:
        outcome(here, draft)


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


def _name(found: Sequence[Problem]) -> str:
    """Return what a table of problems is called: nobody shall worry about mere notes."""
    return "お知らせ" if all(p.severity is Severity.NOTE for p in found) else "問題"


def error_log(draft: Draft) -> None:
    """Offer the error log of a check that became a run."""
    if draft.run_id:
        st.link_button(
            "エラーログ（error_log.txt）",
            file_address(draft.run_id, "error_log.txt"),
            icon=":material/download:",
            key="draft-log",
        )


def ways_on(draft: Draft, plan: AnyPlan) -> None:
    """Show the ways that every outcome has beside its own."""
    st.button("やり直す", key="redo", on_click=start_over, args=(draft,))
    if plan.problems:
        st.link_button(
            f"{_name(plan.problems)}の一覧をダウンロード（CSV）",
            problems_address(draft.draft_id),
            icon=":material/download:",
            key="problems-csv",
        )
    error_log(draft)


def what_to_do(plan: AnyPlan) -> str:
    """Return how to go on from a check that found errors."""
    if {problem.code for problem in plan.problems if problem.is_error} == {Code.ROWS_HIDDEN}:
        return "隠れている行を対象に含めるか、除くかを選んでください。もう一度確認します。"
    return "下の表の「対処」に沿って一覧を直し、「やり直す」からもう一度アップロードしてください。"


def hidden_rows(draft: Draft, plan: AnyPlan) -> None:
    """Let the operator decide about rows that Excel does not show, where there are any."""
    if trouble := st.session_state.pop(_UNDECIDED, ""):
        view.notice("error", "確認できませんでした。", trouble)
    if not any(problem.code is Code.ROWS_HIDDEN for problem in plan.problems):
        return
    with st.container(horizontal=True):
        for label, choice in _DECISIONS:
            st.button(label, key=f"hidden-{choice}", on_click=_decide, args=(draft, choice))


def _decide(draft: Draft, choice: HiddenRows) -> None:
    """Check the same lists again."""
    guard.require_operator()
    try:
        again = services.current().open_jobs().check_again(draft.draft_id, choice, guard.seat())
    except HimuroError as exc:
        st.session_state[_UNDECIDED] = str(exc)
        return
    address.show_draft(again)


def problems(found: Sequence[Problem]) -> None:
    """Show what is wrong with the lists, or what is to be known, as a table."""
    if not found:
        return
    st.markdown(f"**{_name(found)}（{words.count(len(found))}）**")
    shown = sorted(found, key=lambda problem: _ORDER[problem.severity])[:_MAX_SHOWN]
    if len(shown) < len(found):
        st.caption(f"最初の{words.count(_MAX_SHOWN)}を表示しています。すべてはCSVにあります。")
    view.table(
        words.PROBLEM_HEADER,
        map(words.problem_row, shown),
        widths=_WIDTHS,
        row_height=view.TALL,
        alt="見つかった問題",
        key="problems",
    )


def lists(detected: Sequence[DetectedList]) -> None:
    """Show how the lists were read."""
    if not detected:
        return
    st.markdown("**読み取った一覧**")
    view.table(
        ("一覧名", "文字コード", "形式", "行数"),
        ((d.source, d.encoding, words.FORM_WORDS[d.form], d.rows) for d in detected),
        widths={"文字コード": 140, "形式": 200, "行数": 100},
        formats={"行数": "{:,} 行".format},
        alt="読み取った一覧",
        key="detected",
    )


def start_over(draft: Draft) -> None:
    """Forget a check and go back to the form, which keeps what was typed."""
    guard.require_operator()
    services.current().jobs.discard(draft.draft_id)
    upload.fill_in(draft.request)
    address.start_over()
