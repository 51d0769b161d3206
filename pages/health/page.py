"""``/health``: the check-up for the administrator, and the settings that the console runs with."""

from __future__ import annotations

from typing import Literal

import streamlit as st

from core.health.background import CheckupView
from core.health.findings import Area, Finding, Status, in_order, worst
from pages import services
from pages.auth import guard
from pages.http.routes import checkup_address
from pages.widgets import view, words

_BADGES: dict[Status, tuple[str, str, Literal["green", "orange", "red"]]] = {
    Status.OK: ("正常", ":material/check_circle:", "green"),
    Status.WARNING: ("注意", ":material/warning:", "orange"),
    Status.FAILED: ("要対応", ":material/error:", "red"),
}
_HEADLINES: dict[Status, tuple[view.Level, str]] = {
    Status.OK: ("success", "すべて問題ありません。"),
    Status.WARNING: ("warning", "注意が必要な項目があります。"),
    Status.FAILED: (
        "error",
        "対応が必要な項目があります。ジョブの失敗や、アーカイブの消失につながります。",
    ),
}


@view.explained
def render() -> None:
    guard.require_administrator()
    st.title("点検", anchor=False)
    st.markdown(
        "設定、データベース、S3、共有フォルダー、ディスクを調べます。"
        "試しに作る空のファイルはすぐに消し、実行中のジョブには影響しません。"
        "長くても20秒ほどで終わります。"
    )
    now = services.checkup().view()
    st.button(
        "点検を実行",
        key="examine",
        type="primary",
        icon=":material/stethoscope:",
        on_click=_start,
        disabled=now.running,
    )
    if now.running:
        _watch()
    elif now.finished_at:
        _finished(now)
    else:
        view.notice("info", "コンソールの起動後、まだ点検していません。")
    _settings()


def _start() -> None:
    guard.require_administrator()
    services.checkup().start()


@st.fragment(run_every=0.5)
def _watch() -> None:
    """Show what has been found so far; redraw the page at the end."""
    guard.require_administrator()
    now = services.checkup().view()
    if not now.running:
        st.rerun()
    view.notice("info", "点検しています。結果は分かったものから表示されます。")
    _areas(now, everything=True)


def _finished(now: CheckupView) -> None:
    assert now.started_at is not None  # noqa: S101 - it has ended
    assert now.finished_at is not None  # noqa: S101
    level, headline = _HEADLINES[worst(now.findings)]
    view.notice(level, headline)
    counts = {s: sum(finding.status is s for finding in now.findings) for s in Status}
    view.metrics((_BADGES[s][0], words.count(number)) for s, number in counts.items())
    with st.container(horizontal=True, vertical_alignment="center"):
        seconds = (now.finished_at - now.started_at).total_seconds()
        last = words.moment(now.finished_at, services.timezone())
        st.text(f"最後の点検: {last}（{words.duration(seconds)}）")
        st.link_button(
            "結果をダウンロード（テキスト）",
            checkup_address(),
            icon=":material/download:",
            key="checkup-text",
        )
    _areas(now)


def _areas(now: CheckupView, *, everything: bool = False) -> None:
    """Show findings by area; those in which all is well are folded unless ``everything``."""
    for area in Area:
        found = [finding for finding in in_order(now.findings) if finding.area is area]
        if not found:
            continue
        state = worst(found)
        word, icon, color = _BADGES[state]
        label = f"{area.value}　:{color}[{word}]"
        with st.expander(label, icon=icon, expanded=everything or state is not Status.OK):
            for finding in found:
                _row(finding)


def _row(finding: Finding) -> None:
    badge, title, text = st.columns([1.1, 2.6, 8.3])
    word, icon, color = _BADGES[finding.status]
    badge.badge(word, icon=icon, color=color)
    title.text(finding.title)
    with text.container(gap=None):
        st.text(finding.what)
        if finding.remedy:
            st.text(f"→ {finding.remedy}")


def _settings() -> None:
    st.subheader("現在の設定", anchor=False)
    st.caption("コンソールの起動時に読み取ったものです。パスワードは表示しません。")
    rows = services.current().settings.without_secrets().items()
    view.table(
        ("設定", "値"),
        ((name, value or words.UNKNOWN) for name, value in rows),
        widths={"設定": 230},
        alt="現在の設定の一覧",
        key="settings",
    )
