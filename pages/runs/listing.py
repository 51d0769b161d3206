"""The list of ``/runs``: what goes on, the filters, a page of past runs."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from zoneinfo import ZoneInfo

import streamlit as st

from core.model import RunState
from core.runs.filters import STATES
from core.runs.history import DAMAGED, PastRun
from core.runs.index import Listing
from pages import services
from pages.auth import guard
from pages.jobs import progress
from pages.runs import asked
from pages.runs.asked import Asked
from pages.widgets import address, view, words

PER_PAGE = 100
_HEADER = (
    "受付",
    "種類",
    "状態",
    "依頼ID",
    "依頼者",
    "実行者",
    "対象",
    "成功",
    "失敗",
    "対象サイズ",
    "成功サイズ",
    "所要時間",
    "コメント",
)
_WIDTHS = {
    "受付": 125,
    "種類": 80,
    "状態": 150,
    "依頼ID": 118,
    "依頼者": 85,
    "実行者": 85,
    "対象": 74,
    "成功": 74,
    "失敗": 74,
    "対象サイズ": 80,
    "成功サイズ": 80,
    "所要時間": 75,
}
_NONE = -1
"""Stands for a number that a run does not have; sorted below all others."""
_FORMATS = {
    **dict.fromkeys(("対象", "成功", "失敗"), lambda n: words.UNKNOWN if n < 0 else words.count(n)),
    **dict.fromkeys(
        ("対象サイズ", "成功サイズ"), lambda n: words.UNKNOWN if n < 0 else words.size(n)
    ),
    "所要時間": lambda n: words.UNKNOWN if n < 0 else words.duration(n),
}


def render(here: services.Services) -> None:
    """Show the past runs that the address asks for."""
    guard.require_operator()
    active = here.open_jobs().active()
    if active:
        st.subheader("実行中", anchor=False)
        progress.queue(here, active)
    listing = here.jobs.listing()
    ours = {job.run_id for job in active}
    _watch_others(tuple(r.run_id for r in listing.runs if _is_running(r) and r.run_id not in ours))
    kinds = sorted({*words.KIND_WORDS, *(run.kind for run in listing.runs)})
    wanted = asked.current(kinds)
    _filters(wanted, kinds)
    found = wanted.run_filter(here.settings.timezone).select(listing.runs)
    if found:
        queued = {job.run_id for job in active if job.queued}
        _page(here, found, wanted, queued)
    elif listing.runs:
        view.notice("info", "該当する実行はありません。条件を減らしてみてください。")
        view.clear_button(asked.clear)
    else:
        view.notice("info", "実行はまだありません。")
    _remarks(listing)


def _is_running(run: PastRun) -> bool:
    return run.state == RunState.RUNNING


def _watch_others(running: tuple[str, ...]) -> None:
    """Watch runs of other processes, as long as there are any."""
    if running:
        _until_one_ends(running)


@st.fragment(run_every=3.0)
def _until_one_ends(running: tuple[str, ...]) -> None:
    """Draw the list anew when a run of another process, perhaps a command, has ended."""
    guard.require_operator()
    jobs = services.current().jobs
    runs = map(jobs.past, running)
    if any(run is None or not _is_running(run) for run in runs):
        st.rerun()


def _filters(wanted: Asked, kinds: list[str]) -> None:
    text, kind, state, person, first, last = st.columns([2.4, 1.1, 1.3, 1.3, 1.1, 1.1])
    with text:
        _text("text", "検索", wanted.text, "依頼ID・依頼者・コメント・一覧名・実行番号")
    with kind:
        _choice("kind", "種類", wanted.kind, {name: words.kind(name) for name in kinds})
    with state:
        _choice("state", "状態", wanted.state, {name: _state(name) for name in STATES})
    with person:
        _text("person", "依頼者または実行者", wanted.person, "名前の一部")
    for column, name, label, value in (
        (first, "from", "この日から", wanted.first),
        (last, "to", "この日まで", wanted.last),
    ):
        key = f"runs-{name}"
        address.follow(key, value)
        column.date_input(label, None, key=key, on_change=asked.changed, args=(name, key))


def _state(name: str) -> str:
    return words.DAMAGED if name == DAMAGED else words.STATE_WORDS[RunState(name)]


def _text(name: str, label: str, value: str, placeholder: str) -> None:
    key = f"runs-{name}"
    address.follow(key, value)
    st.text_input(
        label,
        key=key,
        max_chars=asked.MAX_LETTERS,
        placeholder=placeholder,
        live="600ms",
        on_change=asked.changed,
        args=(name, key),
    )


def _choice(name: str, label: str, value: str, options: dict[str, str]) -> None:
    key = f"runs-{name}"
    address.follow(key, value)
    st.selectbox(
        label,
        ["", *options],
        key=key,
        format_func=lambda option: options.get(option, "すべて"),
        on_change=asked.changed,
        args=(name, key),
    )


def _page(
    here: services.Services, found: tuple[PastRun, ...], wanted: Asked, queued: Collection[str]
) -> None:
    """Show one page; the last one when there are not that many."""
    pages = -(-len(found) // PER_PAGE)
    number = min(wanted.page, pages)
    start = (number - 1) * PER_PAGE
    shown = found[start : start + PER_PAGE]
    left, right = st.columns([1, 1], vertical_alignment="center")
    left.text(
        f"{words.count(len(found))}（{start + 1:,}～{start + len(shown):,}件目を表示、新しい順）"
        "　行を押すと詳しく見られます"
    )
    with right.container(horizontal=True, horizontal_alignment="right"):
        if pages > 1:
            # A key for each page: its default is what the address says.
            key = f"runs-page-{number}"
            width = view.pagination_width(pages)
            st.pagination(pages, default=number, width=width, key=key, on_change=_turn, args=(key,))
        if wanted.restricted:
            view.clear_button(asked.clear)
        st.button("最新の状態にする", key="refresh", icon=":material/refresh:", type="tertiary")
    ids = [run.run_id for run in shown]
    view.table(
        _HEADER,
        (_row(run, run.run_id in queued, here.settings.timezone) for run in shown),
        widths=_WIDTHS,
        formats=_FORMATS,
        most_height=510,
        chosen=partial(_chosen, ids),
        alt="実行の一覧",
        key="runs",
    )


def _turn(key: str) -> None:
    guard.require_operator()
    asked.put(page=str(st.session_state[key]))


def _chosen(ids: list[str], row: int) -> None:
    guard.require_operator()
    if 0 <= row < len(ids):
        asked.open_run(ids[row])


def _row(run: PastRun, queued: bool, timezone: ZoneInfo) -> tuple[object, ...]:
    """Return one row in the order of ``_HEADER``."""
    when = words.moment(run.created_at, timezone) if run.created_at else words.UNKNOWN
    record = run.record
    if record is None:
        return (when, words.kind(run.kind), words.DAMAGED, *("",) * 3, *(_NONE,) * 6, run.damage)
    state = "順番待ち" if queued else words.STATE_WORDS[record.state]
    touched = record.state is not RunState.RUNNING and not words.is_check(record)
    failed = record.failed_files if touched or record.failed_files else _NONE
    taken = words.seconds(record)
    request = record.request
    done, done_bytes = words.succeeded(record)
    return (
        when,
        words.kind(record.kind),
        state,
        request.request_id,
        request.requester,
        request.started_by,
        record.total_files,
        done if touched else _NONE,
        failed,
        record.total_bytes,
        done_bytes if touched else _NONE,
        _NONE if taken is None else max(0, round(taken)),
        request.comment,
    )


def _remarks(listing: Listing) -> None:
    """Say what is not listed, and what lies among the run folders and is none."""
    if listing.older:
        st.caption(
            f"これより古い{words.count(listing.older)}は表示していません。"
            "python -m core runs で表示できます。"
        )
    if listing.others:
        number = len(listing.others)
        st.caption(
            f"実行の記録ではないものが、実行記録のフォルダーに{words.count(number)}あります。"
        )
        st.text("、".join(listing.others[:5]) + ("、…" if number > 5 else ""))
