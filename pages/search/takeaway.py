"""Above the table: everything that was found, or was ticked, as a file to take away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import streamlit as st
from streamlit.runtime import Runtime
from streamlit.runtime.scriptrunner import get_script_run_ctx

from core.auth.waiting_line import networks
from core.config.settings import RESTORE_NEEDS
from core.errors import HimuroError, ListError, for_strangers
from core.export.disk_quota import KEPT
from core.export.job import Export, ExportState
from core.export.queue import Asker
from core.export.writer import Form
from core.model import MAX_TYPED, Entry, ListSource, Order, RunRequest, SearchQuery
from pages import services
from pages.auth import guard, session
from pages.http.export_routes import export_address
from pages.jobs import upload
from pages.search import asked
from pages.widgets import address, view, words

_HELD = "takeaway"
"""The file that this session has asked for last."""
_TROUBLE = "takeaway-trouble"
_LABELS = {
    Form.XLSX: ("Excelで保存", ":material/table_view:"),
    Form.CSV: ("CSVで保存", ":material/csv:"),
    Form.RESTORE: ("復元の一覧を作る", ":material/restore_page:"),
}
_NAMES = {Form.XLSX: "Excel", Form.CSV: "CSV", Form.RESTORE: "復元の一覧"}
_GONE = (
    f"書き出したファイルは、{KEPT // timedelta(minutes=1)}分が過ぎたか、"
    "コンソールが再起動されたため、もうありません。もう一度書き出してください。"
)


@dataclass(frozen=True, slots=True)
class _Held:
    export_id: str
    what: SearchQuery | tuple[Entry, ...]


def render(here: services.Services, query: SearchQuery, hits: str, ticked: Sequence[Entry]) -> None:
    """Show the buttons for all hits and for ticked rows, and the file asked for last.

    ``hits``: their number in words; empty: there are none.
    """
    # In one row: the table below does not move when a row is ticked.
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if hits:
            _buttons(f"検索結果 {hits}", query, "all")
        if ticked:
            _buttons(f"選んだ {words.count(len(ticked))}", tuple(ticked), "ticked")
    if trouble := st.session_state.pop(_TROUBLE, ""):
        view.notice("error", "書き出せません。", trouble)
    held: _Held | None = st.session_state.get(_HELD)
    if held is not None:
        _file(here, held, query)


def _buttons(label: str, what: SearchQuery | tuple[Entry, ...], name: str) -> None:
    st.text(f"{label}を")
    for form, (text, icon) in _LABELS.items():
        key = f"takeaway-{name}-{form}"
        st.button(text, key=key, icon=icon, on_click=_start, args=(what, form))


def _start(what: SearchQuery | tuple[Entry, ...], form: Form) -> None:
    """Begin a file; the one before it is given up unless it is made already."""
    exports = services.current().exports
    held: _Held | None = st.session_state.pop(_HELD, None)
    try:
        if held is not None:
            exports.cancel(held.export_id)
        st.session_state[_HELD] = _Held(exports.start(what, form, _asker()), what)
    except HimuroError as exc:
        st.session_state[_TROUBLE] = for_strangers(exc)


def _asker() -> Asker:
    """Return who looks at this page: counted as failed sign-ins are, and there as long as its
    WebSocket is."""
    context = get_script_run_ctx()
    session_id = context.session_id if context else ""
    return Asker(networks(session.client_of_page()).own, lambda: _is_open(session_id))


def _is_open(session_id: str) -> bool:
    return not Runtime.exists() or Runtime.instance().is_active_session(session_id)


def _drop(export_id: str) -> None:
    services.current().exports.cancel(export_id)
    st.session_state.pop(_HELD, None)


def _file(here: services.Services, held: _Held, query: SearchQuery) -> None:
    """Show how the file stands, and of what it is."""
    export = here.exports.view(held.export_id)
    if export is None:
        del st.session_state[_HELD]
        view.notice("info", _GONE)
        return
    what = f"{_NAMES[export.form]}：{described(held.what, here)}"
    with st.container(border=True, gap="small", key="takeaway"):
        if isinstance(held.what, SearchQuery) and held.what != query:
            st.caption("いま表示している検索とは別の検索のものです。")
        if export.state is ExportState.DONE:
            _made(here, export, what)
            return
        st.text(what)
        if export.state.is_final:
            _not_made(export)
        else:
            _watch(held.export_id)


def described(what: SearchQuery | Sequence[Entry], here: services.Services) -> str:
    """Return in Japanese what a file is made of."""
    if not isinstance(what, SearchQuery):
        return f"選んだ {words.count(len(what))}"
    zone = here.settings.timezone
    since = f"{what.since.astimezone(zone):%Y/%m/%d}" if what.since else ""
    last = what.until - timedelta(microseconds=1) if what.until else None
    until = f"{last.astimezone(zone):%Y/%m/%d}" if last else ""
    least = "" if what.least_size is None else words.size(what.least_size)
    most = "" if what.most_size is None else words.size(what.most_size)
    restricted = {
        "検索語": what.words,
        "フォルダー": what.directory and what.directory + ("（直下だけ）" * what.directory_only),
        "依頼ID": what.request_id,
        "依頼者": what.requester,
        "期間": f"{since}～{until}".strip("～") and f"{since}～{until}",
        "種類": what.file_types,
        "サイズ": f"{least}～{most}".strip("～") and f"{least}～{most}",
    }
    parts = [f"{name}「{words.shortened(value)}」" for name, value in restricted.items() if value]
    order = asked.SORTS[what.order, what.descending]
    usual = (what.order, what.descending) == (Order.DATE, True)
    return "、".join([*(parts or ["すべてのファイル"]), *([] if usual else [order])])


@st.fragment(run_every=1.0)
def _watch(export_id: str) -> None:
    """Show once a second how far a file is; redraw the page when it is finished."""
    export = services.current().exports.view(export_id)
    if export is None or export.state.is_final:
        st.rerun()
    written = export.written
    fraction = written.rows / written.total if written and written.total else 0.0
    with st.container(horizontal=True, vertical_alignment="center"):
        st.progress(min(1.0, fraction), text=_standing(export))
        st.button(
            "中止する",
            key="takeaway-stop",
            icon=":material/stop_circle:",
            on_click=_drop,
            args=(export_id,),
        )


def _standing(export: Export) -> str:
    if export.state is ExportState.WAITING:
        return f"順番を待っています（前に{words.count(export.ahead)}）"
    if export.written is None:
        return "検索しています"
    return f"{export.written.rows:,} / {words.count(export.written.total)}"


def _made(here: services.Services, export: Export, what: str) -> None:
    written = export.written
    if written is None or export.finished_at is None:
        return
    facts = f"{words.count(written.rows)}、{words.size(written.size)}"
    if export.form is Form.RESTORE:
        facts = f"ファイル {words.count(written.rows)}、合計 {words.size(written.listed_bytes)}"
    until = words.time_of_day(export.finished_at + KEPT, here.settings.timezone)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.link_button(
            "ダウンロード",
            export_address(export.export_id),
            icon=":material/download:",
            type="primary",
            key="takeaway-file",
        )
        icon = ":material/settings_backup_restore:"
        operators = export.form is Form.RESTORE and written.rows and guard.is_operator()
        if operators and st.button("復元へ進む", key="takeaway-restore", icon=icon):
            _ask(export.export_id)
        st.text(f"{what}、{facts}（{until}までダウンロードできます）")
        _close(export)
    if written.note:
        st.text(written.note)


def _not_made(export: Export) -> None:
    if export.state is ExportState.FAILED:
        view.notice("error", "書き出せませんでした。", export.message)
    else:
        view.notice("info", "書き出しを中止しました。")
    _close(export)


def _close(export: Export) -> None:
    st.button(
        "閉じる", key="takeaway-close", type="tertiary", on_click=_drop, args=(export.export_id,)
    )


# To the page of restores


@st.dialog("復元へ進む", width="medium")
def _ask(export_id: str) -> None:
    """Ask for whom it is; the list is checked before anything is requested."""
    guard.require_operator()
    with st.form("takeaway-request", border=False, enter_to_submit=False):
        left, right = st.columns(2)
        request_id = left.text_input("依頼ID（必須）", max_chars=MAX_TYPED, key="takeaway-id")
        requester = right.text_input("依頼者（必須）", max_chars=MAX_TYPED, key="takeaway-who")
        comment = st.text_input("コメント（任意）", max_chars=2000, key="takeaway-comment")
        st.caption("次の画面で一覧を照合します。結果を見てから、要求するかどうかを決められます。")
        pressed = st.form_submit_button("内容を確認する", type="primary", key="takeaway-check")
    if not pressed:
        return
    request = RunRequest(
        (request_id or "").strip(), (requester or "").strip(), (comment or "").strip(), guard.seat()
    )
    try:
        draft_id = hand_over(services.current(), export_id, request)
    except HimuroError as exc:
        st.error("復元へ進めません。", icon=":material/error:")
        st.text(str(exc))
        return
    st.switch_page(address.page(address.RESTORE), query_params={"draft": draft_id})


def hand_over(here: services.Services, export_id: str, request: RunRequest) -> str:
    """Begin the check of a restore list that was made here, and return the draft's id.

    For operators alone. Raises ``HimuroError`` when something is missing.
    """
    guard.require_operator()
    here.settings.require(RESTORE_NEEDS)
    if missing := upload.missing_words(request, lists=1):
        raise ListError(f"{missing}を入力してください。")
    found = here.exports.file(export_id)
    if found is None:
        raise ListError(_GONE)
    path, name = found
    try:
        content = path.read_bytes()
    except OSError as exc:
        raise ListError(_GONE) from exc
    return here.open_jobs().check_restore([ListSource(name, content)], request)
