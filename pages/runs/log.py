"""The error log of one run: its causes with their remedies, and its lines."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import streamlit as st

from core.errors import Severity, os_reason
from core.runs.causes import MAX_SCANNED, Cause, Causes, causes
from core.runs.error_log import LOG_FILES, MAX_LINES, MAX_SEARCHED, LogLine, excerpt
from pages import services
from pages.auth import guard
from pages.runs import asked
from pages.widgets import address, view, words

_CAUSES = ("区分", "原因", "件数", "対処", "例", "コード")
_CAUSE_WIDTHS = {"区分": 55, "原因": 210, "件数": 75, "対処": 270, "例": 400, "コード": 190}
_LINES = ("日時", "区分", "対象", "内容", "コード")
_LINE_WIDTHS = {"日時": 150, "区分": 55, "対象": 370, "コード": 190}
_OTHER = "（その他の行）"


def render(here: services.Services, run_id: str) -> None:
    """Show why files of a run failed, and its log. Nothing when there is no log."""
    guard.require_operator()
    paths = {name: path for name in LOG_FILES if (path := here.jobs.file(run_id, name))}
    if not paths:
        return
    name = _which(list(paths))
    try:
        found = causes(paths[name])
        _causes(found)
        _search(paths[name], found)
    except OSError as exc:
        view.notice("error", "エラーログを読み取れません。", f"{name}: {os_reason(exc)}")


def _which(names: list[str]) -> str:
    """Return the log that is asked for; a run may have two."""
    if len(names) == 1:
        return names[0]
    wanted = address.word("file")
    address.follow("log-file", wanted if wanted in names else names[0])
    st.segmented_control(
        "ログ",
        names,
        key="log-file",
        format_func=words.file_label,
        required=True,
        on_change=asked.changed,
        args=("file", "log-file"),
    )
    return str(st.session_state["log-file"])


def _causes(found: Causes) -> None:
    if not found.causes:
        return
    st.subheader("原因と対処", anchor=False)
    if found.cut:
        st.caption(f"ログが大きいため、最初の{words.size(MAX_SCANNED)}だけを数えています。")
    st.caption("行を押すと、その原因の行だけを下のログに表示します。")
    view.table(
        _CAUSES,
        map(_cause_row, found.causes),
        widths=_CAUSE_WIDTHS,
        row_height=view.TALL,
        chosen=partial(_chosen, [cause.code for cause in found.causes]),
        alt="原因と対処",
        key="causes",
    )


def _chosen(codes: list[str], row: int) -> None:
    guard.require_operator()
    if 0 <= row < len(codes):
        asked.put(code=codes[row])


def _cause_row(cause: Cause) -> tuple[object, ...]:
    """Return one row in the order of ``_CAUSES``."""
    first = cause.examples[0] if cause.examples else None
    known = cause.explanation
    return (
        _severity(cause.severity),
        known.what if known else (first.text if first else ""),
        words.count(cause.files),
        known.remedy if known else "",
        next((example.path for example in cause.examples if example.path), ""),
        cause.code or _OTHER,
    )


def _search(path: Path, found: Causes) -> None:
    st.subheader("エラーログ", anchor=False)
    counts = {cause.code: cause.files for cause in found.causes if cause.code}
    left, right = st.columns([2, 1])
    text, code = address.word("log"), address.word("code")
    address.follow("log-text", text)
    left.text_input(
        "ログを検索",
        key="log-text",
        max_chars=asked.MAX_LETTERS,
        placeholder="パスや内容の一部（空白で区切ると、すべてを含むもの）",
        live="600ms",
        on_change=asked.changed,
        args=("log", "log-text"),
    )
    address.follow("log-code", code if code in counts else "")
    right.selectbox(
        "コード",
        ["", *counts],
        key="log-code",
        format_func=lambda name: f"{name}（{counts[name]:,}）" if name in counts else "すべて",
        on_change=asked.changed,
        args=("code", "log-code"),
    )
    lines = excerpt(path, text, code if code in counts else "")
    notes = []
    if lines.cut:
        notes.append(f"ログが大きいため、最後の{words.size(MAX_SEARCHED)}だけを検索しました。")
    if lines.matching > len(lines.lines):
        notes.append(f"最後の{MAX_LINES:,}行を表示しています。")
    if notes:
        notes.append("すべてはダウンロードしたファイルにあります。")
    st.text(f"{lines.matching:,}行　{''.join(notes)}")
    if lines.lines:
        view.table(
            _LINES,
            map(_line_row, lines.lines),
            widths=_LINE_WIDTHS,
            row_height=view.TALL,
            alt="エラーログ",
            key="log-lines",
        )


def _line_row(line: LogLine) -> tuple[str, ...]:
    """Return one row in the order of ``_LINES``."""
    return (line.time, _severity(line.severity), line.path, line.text, line.code)


def _severity(name: str) -> str:
    return words.SEVERITY_WORDS[Severity(name)] if name in set(Severity) else ""
