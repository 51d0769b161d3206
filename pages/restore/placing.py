"""Placing what is readable: into which directory, what that would do, the operator's word."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import streamlit as st

from core.model import RunRecord
from core.restore.model import RestoreItem, Stage
from core.restore.preview import PlacePreview
from core.restore.status import OPEN_STAGES, READY_STAGES, RestoreStatus
from pages import services
from pages.auth import guard
from pages.widgets import view, words
from pages.widgets.confirmation import Act, confirm

_ASKED = "placing-asked"
"""Run id and directory that somebody of this session has asked about."""
_REFUSED = "placing-refused"
"""Run id and, in Japanese, why the directory that was asked about last cannot be used."""
_MAX_SHOWN = 500
_MAX_LETTERS = 1000


def render(here: services.Services, record: RunRecord, known: RestoreStatus) -> None:
    """Ask for the directory and, once the preview is there, for the operator's word."""
    guard.require_operator()
    run_id, roots = record.run_id, here.settings.restore_roots
    ready = known.count(*READY_STAGES)
    key = f"directory-{run_id}"
    if key not in st.session_state:
        st.session_state[key] = record.target or (roots[0] if roots else "")
    with st.form("place", enter_to_submit=False):
        st.text_input("配置先のフォルダー", key=key, max_chars=_MAX_LETTERS)
        with st.container(horizontal=True, vertical_alignment="center"):
            st.form_submit_button(
                "取り出せるファイルを配置する" if ready else "配置したファイルを調べる",
                key="place",
                type="primary" if ready else "secondary",
                icon=":material/drive_file_move:",
                on_click=_ask,
                args=(run_id, key),
            )
            st.text("指定できる場所: " + "、".join(f"{root} の中" for root in roots))
    asked_run, directory = st.session_state.get(_ASKED, ("", ""))
    if asked_run == run_id:
        _answer(here, run_id, directory)
    refused_run, reason = st.session_state.get(_REFUSED, ("", ""))
    if refused_run == run_id:
        view.notice("error", "このフォルダーには配置できません。", reason)


def _ask(run_id: str, key: str) -> None:
    guard.require_operator()
    directory = str(st.session_state[key])
    services.current().restores.forget_preview(run_id, directory)
    st.session_state[_ASKED] = (run_id, directory)
    st.session_state.pop(_REFUSED, None)


def _answer(here: services.Services, run_id: str, directory: str) -> None:
    found = here.restores.preview(run_id, directory)
    if found.working:
        _watch(run_id, directory)
        return
    del st.session_state[_ASKED]
    if found.message:
        st.session_state[_REFUSED] = (run_id, found.message)
    else:
        show = partial(_confirm, run_id, directory)
        confirm("ファイルを配置しますか", show, yes="配置する", width="large")


@st.fragment(run_every=0.5)
def _watch(run_id: str, directory: str) -> None:
    guard.require_operator()
    if not services.current().restores.preview(run_id, directory).working:
        st.rerun()
    view.notice("info", "配置先の空き容量と、同じ名前のファイルを調べています …")


def _confirm(run_id: str, directory: str) -> Act | None:
    """Draw what placing would do, and let the operator choose; returns what does it."""
    here = services.current()
    seen = here.restores.preview(run_id, directory).value
    if seen is None:
        st.rerun()
    above = st.container()  # its numbers depend on what is chosen below
    new = "" if seen.target.exists else "（新しく作ります）"
    view.facts((("配置先", seen.target.typed + new),))
    _carried_over(seen)
    _renamed(seen)
    if seen.unseen:
        number = words.count(len(seen.unseen))
        st.text(f"前に配置した {number}は、その場所に接続していないため、いま確認できません。")
    again = _lost(seen)
    with above:
        view.metrics(
            (
                ("配置するファイル", words.count(seen.ready + len(again))),
                ("合計サイズ", words.size(seen.ready_bytes + sum(i.size for i in again))),
                ("空き容量", words.size(seen.free_bytes)),
                ("名前が変わるファイル", words.count(len(seen.renamed))),
            )
        )
    keys = [item.key for item in again]
    place = partial(here.open_jobs().place, run_id, directory, keys, guard.seat())
    return place if seen.ready or again else None


def _carried_over(seen: PlacePreview) -> None:
    waiting = seen.status.count(*OPEN_STAGES)
    unrequested = seen.status.count(Stage.UNREQUESTED)
    expired = seen.status.count(Stage.EXPIRED)
    if not (seen.ready or seen.lost):
        view.notice("info", "いま配置するファイルはありません。")
    if waiting:
        st.text(f"準備中の {words.count(waiting)}は、次の回に持ち越します。")
    if unrequested:
        st.text(f"未要求の {words.count(unrequested)}は配置しません。先に要求してください。")
    if expired:
        st.text(f"期限切れの {words.count(expired)}は配置しません。もう一度要求してください。")


def _renamed(seen: PlacePreview) -> None:
    if not seen.renamed:
        return
    st.markdown("**同じ名前のファイルがあるため、次の名前で配置します（上書きはしません）**")
    view.table(
        ("元のパス", "配置する名前"),
        seen.renamed[:_MAX_SHOWN],
        widths={"配置する名前": 280},
        most_height=180,
        alt="名前が変わるファイル",
        key="renamed",
    )


def _lost(seen: PlacePreview) -> tuple[RestoreItem, ...]:
    """Ask what becomes of files that people have removed; returns those to place again."""
    if not seen.lost:
        return ()
    number = words.count(len(seen.lost))
    st.markdown(f"**前に配置した後で、消されたか変更されたファイル（{number}）**")
    view.table(
        ("ファイル名", "配置した場所"),
        _places(seen),
        widths={"ファイル名": 280},
        most_height=150,
        alt="消されたか変更されたファイル",
        key="lost",
    )
    wanted = st.checkbox(
        "これらも、もう一度配置する",
        key="place-lost",
    )
    st.caption(
        "変更されたファイルはそのまま残り、別の名前で配置します。"
        "読み取れる期限が過ぎているものは、もう一度要求した後に配置できます。"
    )
    return tuple(standing.item for standing in seen.lost) if wanted else ()


def _places(seen: PlacePreview) -> Iterator[tuple[str, str]]:
    for standing in seen.lost[:_MAX_SHOWN]:
        yield standing.item.name, standing.placed.place if standing.placed else ""
