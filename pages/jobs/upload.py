"""Step 1: the lists, and who wants it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import streamlit as st

from core.config.settings import JOB_NEEDS, RESTORE_NEEDS
from core.jobs.queue import Jobs
from core.model import MAX_TYPED, ListSource, RunRequest
from core.resources.memory_budget import MemoryBudgetError
from pages import services, uploads
from pages.auth import guard
from pages.widgets import address

TYPES = ["csv", "txt", "tsv", "xlsx"]
_MAX_MB = 20
"""What the lists may have (``core.lists.parser``); the server itself takes a little more."""
_MAX_LETTERS = 200_000
"""Letters; more would be more than a browser may send at once (``config.toml``)."""
_TYPED = "入力したパス.txt"


@dataclass(frozen=True, slots=True)
class Form:
    """What the first step asks for."""

    heading: str
    label: str
    """Of the place for the lists."""
    needs: tuple[str, ...]
    check: Callable[[Jobs, Sequence[ListSource], RunRequest], str]
    """Begins the check and returns the draft's id."""
    instead: str = ""
    """What paths that are typed instead of a list are called; empty: there is no such way."""


ARCHIVE = Form(
    "1. 一覧をアップロードする",
    "アーカイブするファイルの一覧（必須。ここへドラッグするか、「Upload」を押して"
    "選びます。複数可、1つ20 MBまで）",
    JOB_NEEDS,
    Jobs.check,
)
RESTORE = Form(
    "1. 復元の一覧をアップロードする",
    "復元するファイルの一覧（ここへドラッグするか、「Upload」を押して選びます。"
    "複数可、1つ20 MBまで）",
    RESTORE_NEEDS,
    Jobs.check_restore,
    instead="復元するパス",
)


def render(here: services.Services, form: Form) -> None:
    """Show the form, and begin the check when it is filled in."""
    guard.require_operator()
    here.settings.require(form.needs)
    here.catalogue.check()
    generation = st.session_state.setdefault("upload-generation", 0)
    st.subheader(form.heading, anchor=False)
    with st.form("upload", enter_to_submit=False):
        lists = st.file_uploader(
            form.label,
            type=TYPES,
            accept_multiple_files=True,
            max_upload_size=_MAX_MB,
            key=f"lists-{generation}",
        )
        typed = _typed(form, generation) if form.instead else ""
        left, middle, right = st.columns([1, 1, 2])
        request_id = left.text_input("依頼ID（必須）", max_chars=MAX_TYPED, key="request-id")
        requester = middle.text_input("依頼者（必須）", max_chars=MAX_TYPED, key="requester")
        comment = right.text_input("コメント（任意）", max_chars=2000, key="comment")
        pressed = st.form_submit_button("内容を確認する", type="primary", key="check")
        st.caption("確認では何も変更しません。結果を見てから、実行するかどうかを決められます。")
    if not pressed:
        return
    request = RunRequest(
        (request_id or "").strip(), (requester or "").strip(), (comment or "").strip(), guard.seat()
    )
    sources = [ListSource(file.name, file.getvalue()) for file in lists]
    if paths := typed_paths(typed):
        sources.append(ListSource(_TYPED, paths.encode("utf-8-sig")))
    missing = missing_words(request, len(sources), form.instead)
    if missing:
        # The uploader gives the reason for a file it refused in English, and when pointed at.
        refused = (
            "" if sources else "赤い印の付いたファイルは、種類か大きさが合わないため使えません。"
        )
        why = uploads.refusal()
        st.error(f"{missing}を入力してください。{why or refused}", icon=":material/error:")
        return
    if why := uploads.refusal():
        st.error(f"送れなかった一覧があります。{why}", icon=":material/error:")
        return
    try:
        draft_id = form.check(here.open_jobs(), sources, request)
    except MemoryBudgetError as exc:
        st.error(str(exc), icon=":material/error:")
        return
    # The session lets go of the uploaded bytes; a new key, because they are not there any more.
    uploads.let_go(lists)
    st.session_state["upload-generation"] = generation + 1
    address.show_draft(draft_id)
    st.rerun()


def _typed(form: Form, generation: int) -> str:
    text = st.text_area(
        f"または、{form.instead}（1行に1つ。フォルダーを書くと、その下のすべて）",
        height=100,
        max_chars=_MAX_LETTERS,
        placeholder="\\\\サーバー名\\共有名\\フォルダー\\ファイル名",
        key=f"paths-{generation}",
    )
    return text or ""


def typed_paths(text: str) -> str:
    r"""Return typed or pasted lines as a list of paths; empty when there is none.

    Cells copied from Excel have tabs between them, as in an export of the archive list:
    directory and name are put together, what stands before and after them is left out.
    """
    lines = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split("\t")]
        start = next((n for n, cell in enumerate(cells) if cell.startswith("\\\\")), 0)
        path = "\\".join(filter(None, cells[start : start + 2]))
        if path:
            lines.append(path + "\n")
    return "".join(lines)


def missing_words(request: RunRequest, lists: int, instead: str = "") -> str:
    """Return what is not filled in, or too long, as the operator calls it; empty when nothing."""
    types = "・".join(TYPES).upper()
    list_or = f"一覧のファイル（{types}、1つ{_MAX_MB} MBまで）"
    fields = {f"{list_or}か{instead}" if instead else list_or: lists > 0}
    for name, text in (("依頼ID", request.request_id), ("依頼者", request.requester)):
        fields[f"{name}（{MAX_TYPED}文字まで）"] = 0 < len(text) <= MAX_TYPED
    return "、".join(name for name, good in fields.items() if not good)


def fill_in(request: RunRequest) -> None:
    """Put a request back into the form, so that it need not be typed again."""
    st.session_state["request-id"] = request.request_id
    st.session_state["requester"] = request.requester
    st.session_state["comment"] = request.comment
