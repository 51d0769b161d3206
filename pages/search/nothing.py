"""What somebody sees who has found nothing: what to try, and a button that does it."""

from __future__ import annotations

from datetime import date
from zoneinfo import ZoneInfo

import streamlit as st

from core.ports import Catalogue
from core.search.suggestions import Hint, advise
from core.search.typed_query import TypedQuery
from pages.search import asked
from pages.widgets import view, words


def render(catalogue: Catalogue, typed: TypedQuery, timezone: ZoneInfo, today: date) -> None:
    """Say that nothing was found, and what finds something."""
    with st.spinner("近いものを探しています…"):
        advice = advise(catalogue, typed, timezone, today)
    view.notice("info", "該当するファイルはありません。")
    for word in advice.absent:
        st.text(f"{words.shortened(word)} を含むものは、アーカイブ一覧のどこにもありません。")
    if advice.hints:
        st.markdown("**次の条件なら見つかります。**")
        for number, hint in enumerate(advice.hints):
            _hint(number, hint)
    st.markdown(
        "- 言葉を減らすか、短くしてみてください。\n"
        "- 空白で区切った言葉は、すべてを含むものだけが見つかります。\n"
        "- 全角と半角、大文字と小文字、ひらがなとカタカナの違いは気にしなくて構いません。\n"
        "- 依頼IDと依頼者は「絞り込み」の欄で探せます。"
    )


def _hint(number: int, hint: Hint) -> None:
    more = "以上" if hint.over else ""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            f"{words.count(hint.hits)}{more}を見る",
            key=f"hint-{number}",
            icon=":material/search:",
            on_click=asked.search,
            args=(hint.typed,),
        )
        st.text(words.shortened(hint.said))
