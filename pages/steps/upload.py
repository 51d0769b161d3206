"""Step 1: the lists, and who wants it."""

from __future__ import annotations

import streamlit as st

from core.model import MOST_TYPED, ListSource, RunRequest
from core.settings import JOB_NEEDS
from pages.common import guard, services
from pages.steps import address

TYPES = ["csv", "txt", "tsv", "xlsx"]
_MOST_MB = 20
"""What the lists may have (``core.request_list``); the server itself takes a little more."""


def render(here: services.Services) -> None:
    """Show the form, and begin the check when it is filled in."""
    guard.require_operator()
    here.settings.require(JOB_NEEDS)
    here.catalogue.check()
    generation = st.session_state.setdefault("upload-generation", 0)
    st.subheader("1. 一覧をアップロードする", anchor=False)
    with st.form("upload", enter_to_submit=False):
        lists = st.file_uploader(
            "アーカイブするファイルの一覧（必須。ここへドラッグするか、「Upload」を押して"
            "選びます。複数可、1つ20 MBまで）",
            type=TYPES,
            accept_multiple_files=True,
            max_upload_size=_MOST_MB,
            key=f"lists-{generation}",
        )
        left, middle, right = st.columns([1, 1, 2])
        request_id = left.text_input("依頼ID（必須）", max_chars=MOST_TYPED, key="request-id")
        requester = middle.text_input("依頼者（必須）", max_chars=MOST_TYPED, key="requester")
        comment = right.text_input("コメント（任意）", max_chars=2000, key="comment")
        pressed = st.form_submit_button("内容を確認する", type="primary", key="check")
        st.caption("確認では何も変更しません。結果を見てから、実行するかどうかを決められます。")
    if not pressed:
        return
    request = RunRequest(
        (request_id or "").strip(), (requester or "").strip(), (comment or "").strip(), guard.seat()
    )
    missing = missing_words(request, len(lists))
    if missing:
        # The uploader gives the reason for a file it refused in English, and when pointed at.
        refused = (
            "" if lists else "赤い印の付いたファイルは、種類か大きさが合わないため使えません。"
        )
        st.error(f"{missing}を入力してください。{refused}", icon=":material/error:")
        return
    sources = [ListSource(file.name, file.getvalue()) for file in lists]
    draft_id = here.open_jobs().check(sources, request)
    # A new key: the session lets go of the uploaded bytes.
    st.session_state["upload-generation"] = generation + 1
    address.show_draft(draft_id)
    st.rerun()


def missing_words(request: RunRequest, lists: int) -> str:
    """Return what is not filled in, or too long, as the operator calls it; empty when nothing."""
    types = "・".join(TYPES).upper()
    fields = {f"一覧のファイル（{types}、1つ{_MOST_MB} MBまで）": lists > 0}
    for name, text in (("依頼ID", request.request_id), ("依頼者", request.requester)):
        fields[f"{name}（{MOST_TYPED}文字まで）"] = 0 < len(text) <= MOST_TYPED
    return "、".join(name for name, good in fields.items() if not good)


def fill_in(request: RunRequest) -> None:
    """Put a request back into the form, so that it need not be typed again."""
    st.session_state["request-id"] = request.request_id
    st.session_state["requester"] = request.requester
    st.session_state["comment"] = request.comment
